package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/meter"
	"lambent.dev/lambent/test/regiontest"
)

const (
	many         = 10000
	manyClients  = 8
	manyRounds   = 300
	manyFor      = 3 * time.Second
	listTarget   = 3 * time.Millisecond
	getTarget    = 3000 // a second
	manyTarget   = 200 << 20
	ledgerTarget = 5 // per cent of a warm invocation
	ledgerRounds = 3000
)

// numerous is a server with very many functions.
type numerous struct {
	create float64 // a second, by 16 clients
	get    float64 // a second, by manyClients
	took   []time.Duration
	list   []time.Duration
	rss    int64
}

// multiply fills a server up to many functions, and reads them.
func multiply(t *testing.T, r *regiontest.Region, role string) (n numerous) {
	t.Helper()
	code := regiontest.Zip(t, map[string]string{"app.py": "def handler(e, c):\n    return e\n"})
	api := r.Lambda()
	began := time.Now()
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(16)
	for i := functions; i < many; i++ {
		g.Go(func() error {
			_, err := api.CreateFunction(ctx, &lambda.CreateFunctionInput{
				FunctionName: aws.String(fmt.Sprintf("crowd-%04d", i)), Role: &role, Runtime: types.RuntimePython313,
				Handler: aws.String("app.handler"), Code: &types.FunctionCode{ZipFile: code},
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	n.create = float64(many-functions) / time.Since(began).Seconds()
	c := newClient(t, r.Config(), r.URL)
	for range manyRounds {
		took, body, err := c.get(c.signed(t, "/2015-03-31/functions/?MaxItems=50"))
		if err != nil {
			t.Fatal(err)
		}
		var page struct{ Functions []json.RawMessage }
		if err := json.Unmarshal(body, &page); err != nil || len(page.Functions) != 50 {
			t.Fatalf("%d functions in a page (%v)", len(page.Functions), err)
		}
		n.list = append(n.list, took)
	}
	n.get, n.took = getFrom(t, c)
	n.rss, _ = memory(t, r.PID())
	for i := range many { // by many clients at once, or the test's end takes minutes
		g.Go(func() error {
			_, err := api.DeleteFunction(context.Background(), &lambda.DeleteFunctionInput{FunctionName: aws.String(fmt.Sprintf("crowd-%04d", i))})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return n
}

// getFrom has clients get functions, one after the other, for a while.
func getFrom(t *testing.T, c *client) (rate float64, all []time.Duration) {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: manyClients}
	defer tr.CloseIdleConnections()
	c = &client{&http.Client{Transport: tr}, c.url, c.creds}
	requests := make([]*http.Request, 1000)
	for i := range requests {
		requests[i] = c.signed(t, fmt.Sprintf("/2015-03-31/functions/crowd-%04d", i*(many/len(requests))))
	}
	var next atomic.Int64
	took := make([][]time.Duration, manyClients)
	began := time.Now()
	var g errgroup.Group
	for i := range manyClients {
		g.Go(func() error {
			for time.Since(began) < manyFor {
				one, _, err := c.get(requests[next.Add(1)%int64(len(requests))].Clone(context.Background()))
				if err != nil {
					return err
				}
				took[i] = append(took[i], one)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, of := range took {
		all = append(all, of...)
	}
	return float64(len(all)) / time.Since(began).Seconds(), all
}

// signed is a GET request that is good for some minutes.
func (c *client) signed(t *testing.T, path string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, c.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if err := v4.NewSigner().SignHTTP(context.Background(), c.creds, req, empty, "lambda", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return req
}

// get sends a request, which may be done from any goroutine.
func (c *client) get(req *http.Request) (time.Duration, []byte, error) {
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", req.URL.Path, resp.StatusCode, body)
	}
	return time.Since(began), body, err
}

// ledger measures what an invocation pays for its two records. A server cannot be told to keep no
// ledger, so what it costs is set against a whole invocation of the same run.
func ledger(t *testing.T) (took []time.Duration) {
	t.Helper()
	l, err := meter.Open(t.Context(), meter.Config{KV: kvtest.Open(t), Dir: t.TempDir(), Node: "bench"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return l.Run(ctx) })
	rec := meter.Record{
		RequestID: "00000000-0000-0000-0000-000000000000", Account: "123456789012", Function: "f", Version: "$LATEST",
		Start: time.Now(), Duration: time.Millisecond, Billed: 1, Memory: warmMemory, EphemeralStorage: 512,
		Architecture: "x86_64", Outcome: "success",
	}
	for range ledgerRounds {
		<-time.After(100 * time.Microsecond)
		began := time.Now()
		e, err := l.Begin(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.End(e, rec); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return took
}

// ledgerShare is the ledger's part of the quickest runtime's warm invocation, in per cent.
func (r *results) ledgerShare() float64 {
	var warm time.Duration
	for _, s := range r.samples {
		if p := percentile(s.lambent, 50); s.name == "warm-hot" && (warm == 0 || p < warm) {
			warm = p
		}
	}
	return 100 * float64(percentile(r.ledger, 50)) / float64(warm)
}

// manyNote is the document's part about very many functions and the ledger.
func (r *results) manyNote() string {
	var b strings.Builder
	fmt.Fprintf(&b, `
## %d functions

| | a second | p50 ms | p99 ms |
|---|---:|---:|---:|
| CreateFunction, 16 clients | %.0f | | |
| GetFunction, %d clients | %.0f | %s | %s |
| ListFunctions, a page of 50, 1 client | | %s | %s |

- The server has %d MB resident after that, its helper process with it. Requests are signed before they are
  measured, but for CreateFunction, which is the SDK's; clients and server share the machine.

## Ledger

The two records of an invocation take %.0f us (p50, p99 %.0f us; n %d), written as the server writes them while
they are fsynced in groups: %.1f %% of the quickest runtime's warm invocation. The ledger cannot be turned off, so
it is measured by itself.
`, many, r.many.create, manyClients, r.many.get, ms(percentile(r.many.took, 50)), ms(percentile(r.many.took, 99)),
		ms(percentile(r.many.list, 50)), ms(percentile(r.many.list, 99)), r.many.rss>>20,
		us(percentile(r.ledger, 50)), us(percentile(r.ledger, 99)), len(r.ledger), r.ledgerShare())
	return b.String()
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
