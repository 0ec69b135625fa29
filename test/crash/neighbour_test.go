package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/test/leak"
	"lambent.dev/lambent/test/regiontest"
)

// neighbour counts its invocations, is slow, listens, or tries to reach addresses.
const neighbour = `
import fcntl, json, os, socket, struct, threading, time

count = 0

def own():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("169.254.100.1", 9))
    return s.getsockname()[0]

def serve(l, secret):
    while True:
        c, _ = l.accept()
        c.sendall(secret.encode())
        c.close()

def handler(e, c):
    global count
    count += 1
    if e["do"] == "count": return count
    if e["do"] == "slow":
        time.sleep(e["seconds"])
        return e["say"]
    if e["do"] == "listen":
        l = socket.socket()
        l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        l.bind(("0.0.0.0", 7777))
        l.listen()
        threading.Thread(target=serve, args=(l, e["say"]), daemon=True).start()
        print("address", own(), flush=True)
        time.sleep(e["seconds"])
        return own()
    out = {}
    def reach(host, port):
        s = socket.socket()
        s.settimeout(3)
        try:
            s.connect((host, port))
            out["%s:%d" % (host, port)] = "connected"
            out["%s:%d" % (host, port)] = s.recv(100).decode("latin-1")
        except Exception as err:
            pass
        s.close()
    mine = own()
    threads = [threading.Thread(target=reach, args=(h, p)) for h, p in e["targets"] if h != mine]
    for t in threads: t.start()
    for t in threads: t.join()
    return out
`

// TestTwoServers runs two regions on one host. The death of one, and the sweep of its next start,
// do nothing to the other; their functions and their credentials do not meet.
func TestTwoServers(t *testing.T) {
	a, b := fresh(t), fresh(t)
	for _, r := range []*regiontest.Region{a, b} {
		r.Up("--log-level", "debug")
		in := python("neighbour", r.Role("neighbour"))
		in.MemorySize = aws.Int32(256)
		r.Create(in, source(neighbour))
	}
	for _, want := range []string{"1", "2"} {
		if got := invoke(t, b.Lambda(), "neighbour", `{"do":"count"}`); got.body != want {
			t.Fatalf("count: %+v, want %s", got, want)
		}
	}
	invoke(t, a.Lambda(), "neighbour", `{"do":"count"}`)
	t.Run("meet", func(t *testing.T) { strangers(t, a, b); strangers(t, b, a) })

	slow, running := inBackground(b.Lambda(), "neighbour", `{"do":"slow","seconds":6,"say":"well"}`), owned(t, b)
	a.Stop(syscall.SIGKILL)
	waitFor(t, 2*time.Second, "the killed server's sandboxes are gone", func() bool { return len(sandboxes(t, a)) == 0 })
	a.Up()
	if got := invoke(t, a.Lambda(), "neighbour", `{"do":"count"}`); got.body != "1" {
		t.Errorf("the killed server's function, again: %+v", got)
	}
	if gone := running.Since(owned(t, b)); len(gone) != 0 {
		t.Errorf("the other server lost %s", strings.Join(gone, "\n"))
	}
	if got := <-slow; got != (answer{body: `"well"`}) {
		t.Errorf("the other server's invocation: %+v", got)
	}
	// Twice counted, visited, listened, was slow: the sixth. A runtime that was late to ask for its
	// next event, on a loaded machine, has got a second environment beside it, as it should.
	got := invoke(t, b.Lambda(), "neighbour", `{"do":"count"}`)
	if n := len(sandboxes(t, b)); n == 0 || n == 1 && got.body != "6" {
		t.Errorf("the other server's warm environment of %d counts %+v, want 6", n, got)
	}
}

// strangers has a function of one region listen, and one of the other try to reach it, its agent
// and its region.
func strangers(t *testing.T, listener, visitor *regiontest.Region) {
	t.Helper()
	const secret = "from next door"
	done := inBackground(listener.Lambda(), "neighbour", fmt.Sprintf(`{"do":"listen","seconds":5,"say":%q}`, secret))
	_, port, err := net.SplitHostPort(strings.TrimPrefix(listener.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	var targets [][2]any
	links, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if ip, _, _ := net.ParseCIDR(l.String()); ip.To4() != nil && !ip.IsLoopback() {
			next := slices.Clone(ip.To4()) // the other end of a server's link to the host
			next[3]++
			for _, host := range []string{ip.String(), next.String()} {
				targets = append(targets, [2]any{host, 7777}, [2]any{host, json.Number(port)}, [2]any{host, 9001}, [2]any{host, 4566})
			}
		}
	}
	for i := range 8 { // sandboxes of a region have addresses in a row
		targets = append(targets, [2]any{fmt.Sprintf("169.254.101.%d", i), 7777}, [2]any{fmt.Sprintf("169.254.128.%d", i), 7777})
	}
	payload, err := json.Marshal(map[string]any{"do": "reach", "targets": targets})
	if err != nil {
		t.Fatal(err)
	}
	if got := invoke(t, visitor.Lambda(), "neighbour", string(payload)); got != (answer{body: "{}"}) {
		t.Errorf("a function reached its neighbours: %+v", got)
	}
	if got := <-done; got.fault != "" {
		t.Errorf("the listener: %+v", got)
	}
	elsewhere := lambda.NewFromConfig(visitor.Config(), func(o *lambda.Options) { o.BaseEndpoint, o.Retryer = &listener.URL, aws.NopRetryer{} })
	_, err = elsewhere.ListFunctions(context.Background(), &lambda.ListFunctionsInput{})
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != "UnrecognizedClientException" {
		t.Errorf("the neighbour's root key: %v", err)
	}
}

// inBackground invokes a function; its end comes by the channel.
func inBackground(c *lambda.Client, name, payload string) <-chan answer {
	done := make(chan answer, 1)
	lifecycle.Go("invoke", func() {
		out, err := c.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: &name, Payload: []byte(payload)})
		if err != nil {
			done <- answer{fault: err.Error()}
			return
		}
		done <- answer{string(out.Payload), aws.ToString(out.FunctionError)}
	})
	return done
}

func owned(t *testing.T, r *regiontest.Region) leak.Items {
	t.Helper()
	items, err := leak.Owned(r.State)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// processes are the region's processes of which the command line has a word, by id.
func processes(t *testing.T, r *regiontest.Region, word string) (pids []int) {
	t.Helper()
	for item := range owned(t, r) {
		var pid int
		if rest, ok := strings.CutPrefix(item, "process "); ok && strings.Contains(rest, word) {
			if _, err := fmt.Sscan(rest, &pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func sandboxes(t *testing.T, r *regiontest.Region) []int { return processes(t, r, "runsc") }
