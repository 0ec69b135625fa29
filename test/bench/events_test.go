package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/regiontest"
)

const (
	eventsTarget  = 3000 // a second, at the most clients
	eventsFor     = 5 * time.Second
	eventsFlying  = 64 // of one function, at most
	eventsSettled = 2 * time.Minute
)

var eventsClients = []int{1, 8, 32}

// accepted is how events were accepted from so many clients.
type accepted struct {
	clients int
	rate    float64       // a second
	cpu     time.Duration // of the server, for one
	took    []time.Duration
}

// TestEvents measures the acceptance of events alone.
func TestEvents(t *testing.T) {
	if os.Getenv("LAMBENT_BENCH") == "" {
		t.Skip("LAMBENT_BENCH is not set: run this by `make bench`")
	}
	for _, a := range events(t) {
		t.Log(a)
	}
}

func (a accepted) String() string {
	return fmt.Sprintf("%d clients: %.0f events/s, %s ms of the server's CPU time each, p50 %s ms, p99 %s ms", a.clients, a.rate, ms(a.cpu), ms(percentile(a.took, 50)), ms(percentile(a.took, 99)))
}

// eventsNote is the document's part about events.
func eventsNote(all []accepted) string {
	var b strings.Builder
	b.WriteString(`
## Events

| clients | events a second | p50 ms | p99 ms | server's CPU ms each |
|---:|---:|---:|---:|---:|
`)
	for _, a := range all {
		fmt.Fprintf(&b, "| %d | %.0f | %s | %s | %s |\n", a.clients, a.rate, ms(percentile(a.took, 50)), ms(percentile(a.took, 99)), ms(a.cpu))
	}
	fmt.Fprintf(&b, `
- Invocations of type Event, each answered when it is on disk. Every client waits for its answer before it
  sends the next one, over a kept connection, for %s; clients and server share the machine. %d events
  of the function run all the while and sleep, so that nothing else is taken from the queue.
- Events that arrive while a transaction is under way share the next one and its fsync: one client pays for
  a whole transaction, 32 are bounded by processors (HTTP, signature, the engine's own work).
`, eventsFor, eventsFlying)
	return b.String()
}

// events measures on a server of its own how many events it accepts. As many as may run at a time run
// all the while and do nothing, so that what is measured is the way into the queue.
func events(t *testing.T) (all []accepted) {
	r := regiontest.New(t, need(t, "LAMBENT_E2E"), need(t, "LAMBENT_RUNTIMES"), filepath.Join(t.TempDir(), "state"))
	r.Up()
	role := r.Role("bench")
	name := "bench-events"
	r.Create(lambda.CreateFunctionInput{
		FunctionName: &name, Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"),
		MemorySize: aws.Int32(coldMemory), Timeout: aws.Int32(900),
	}, map[string]string{"app.py": "import time\ndef handler(e, c):\n    time.sleep(880)\n"})
	c := newClient(t, r.Config(), r.URL)
	for range eventsFlying {
		if err := accept(c.http, c.event(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	flying(t, r, name)
	for _, n := range eventsClients {
		all = append(all, acceptFrom(t, r, c, name, n))
	}
	// What waits goes with its function, and nobody waits for what runs.
	if _, err := r.Lambda().DeleteFunction(context.Background(), &lambda.DeleteFunctionInput{FunctionName: &name}); err != nil {
		t.Fatal(err)
	}
	r.Stop(syscall.SIGKILL)
	r.Up()
	return all
}

// event is the request that sends an event; it may be sent any number of times.
func (c *client) event(t *testing.T, name string) *http.Request {
	t.Helper()
	return c.request(t, name, "X-Amz-Invocation-Type", "Event")
}

// flying waits until as many events run as may.
func flying(t *testing.T, r *regiontest.Region, name string) {
	t.Helper()
	logs := cloudwatchlogs.NewFromConfig(r.Config())
	late := time.After(eventsSettled)
	for began := 0; began < eventsFlying; {
		select {
		case <-late:
			t.Fatalf("%d of %d events run", began, eventsFlying)
		case <-time.After(500 * time.Millisecond):
		}
		began = 0
		p := cloudwatchlogs.NewFilterLogEventsPaginator(logs, &cloudwatchlogs.FilterLogEventsInput{
			LogGroupName: aws.String("/aws/lambda/" + name), FilterPattern: aws.String("START"),
		})
		for p.HasMorePages() {
			page, err := p.NextPage(context.Background())
			if err != nil {
				break // no line yet
			}
			began += len(page.Events)
		}
	}
}

// accept sends an event and wants it accepted.
func accept(h *http.Client, req *http.Request) error {
	again := req.Clone(context.Background())
	again.Body = io.NopCloser(strings.NewReader(payload))
	resp, err := h.Do(again)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("event: %d %s (%v)", resp.StatusCode, bytes.TrimSpace(body), err)
	}
	return nil
}

// acceptFrom has so many clients send events, one after the other, for a while.
func acceptFrom(t *testing.T, r *regiontest.Region, c *client, name string, clients int) accepted {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: clients}
	defer tr.CloseIdleConnections()
	h := &http.Client{Transport: tr}
	took := make([][]time.Duration, clients)
	var all sync.WaitGroup
	began, used := time.Now(), cpuTime(t, r.PID())
	for i := range clients {
		req := c.event(t, name)
		all.Go(func() {
			for time.Since(began) < eventsFor {
				sent := time.Now()
				if err := accept(h, req); err != nil {
					t.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(sent))
			}
		})
	}
	all.Wait()
	a := accepted{clients: clients, took: slices.Concat(took...)}
	a.rate = float64(len(a.took)) / time.Since(began).Seconds()
	a.cpu = (cpuTime(t, r.PID()) - used) / time.Duration(max(len(a.took), 1))
	return a
}

// cpuTime is what a process has used so far. On a machine that does other things too it says more than
// the rate does.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// After the name, which may have spaces in it, utime and stime are the 12th and 13th.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond // 100 a second
}
