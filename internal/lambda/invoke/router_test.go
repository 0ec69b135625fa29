package invoke_test

import (
	"context"
	"errors"
	"io"
	"regexp"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/lambda/environment/environmenttest"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
	"lambent.dev/lambent/internal/lambda/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type functions map[string]function.Function

func (f functions) Serving(account, name string) (function.Function, error) {
	fn, ok := f[account+"/"+name]
	if !ok {
		return fn, function.ErrNotFound
	}
	return fn, nil
}

var fn = function.Function{
	Account: "1", Region: "eu-test-1", Name: "f", Version: "$LATEST", State: "Active",
	Settings: function.Settings{Timeout: 3, Memory: 128, EphemeralStorage: 512},
	LogGroup: "/aws/lambda/f", Generation: "g",
}

// node is a router on a pool of real environments in fake sandboxes.
func node(tb testing.TB, program environmenttest.Program) (*invoke.Router, *environmenttest.Machine, *pool.Pool) {
	m := environmenttest.New(tb, program)
	p := pool.New(pool.Config{Starter: pool.Environments(m.Config())})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(ctx) })
	tb.Cleanup(func() { cancel(); wg.Wait() })
	pending := fn
	pending.Name, pending.State = "pending", "Pending"
	return &invoke.Router{Functions: functions{"1/f": fn, "1/pending": pending}, Pool: p}, m, p
}

func echo(r *environmenttest.Runtime) int {
	return r.Serve(func(_ string, event []byte) []byte { return event })
}

func TestInvoke(t *testing.T) {
	seen := make(chan [3]string, 1)
	r, _, _ := node(t, func(r *environmenttest.Runtime) int {
		for {
			id, event, h, ok := r.Next()
			if !ok {
				return 137
			}
			seen <- [3]string{id, h.Get("Lambda-Runtime-Invoked-Function-Arn"), h.Get("Lambda-Runtime-Trace-Id")}
			r.Respond(id, event)
		}
	})
	for _, tc := range []struct{ qualifier, payload, arn, body string }{
		{"", "", "arn:aws:lambda:eu-test-1:1:function:f", "{}"},
		{"$LATEST", `"x"`, "arn:aws:lambda:eu-test-1:1:function:f:$LATEST", `"x"`},
	} {
		res, err := r.Invoke(t.Context(), function.Invocation{Account: "1", Name: "f", Qualifier: tc.qualifier, Payload: []byte(tc.payload)})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != tc.body {
			t.Errorf("body = %q, %v", body, err)
		}
		got := <-seen
		if len(got[0]) != 36 || got[1] != tc.arn || !regexp.MustCompile(`^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0;Lineage=[0-9a-f]{8}:1$`).MatchString(got[2]) {
			t.Errorf("the runtime saw %q", got)
		}
	}
}

func TestRefusals(t *testing.T) {
	r, _, _ := node(t, echo)
	for _, tc := range []struct{ name, qualifier, want string }{
		{"missing", "", function.ErrNotFound.Error()},
		{"f", "7", "f:7: " + function.ErrNotFound.Error()},
		{"pending", "", "The operation cannot be performed at this time. The function is currently in the following state: Pending"},
	} {
		_, err := r.Invoke(t.Context(), function.Invocation{Account: "1", Name: tc.name, Qualifier: tc.qualifier})
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s:%s: %v", tc.name, tc.qualifier, err)
		}
	}
	if _, err := r.Invoke(t.Context(), function.Invocation{Account: "2", Name: "f"}); !errors.Is(err, function.ErrNotFound) {
		t.Errorf("another account's function: %v", err)
	}
}

// TestConcurrent runs many invocations at a time on real environments: each gets its own answer,
// idle environments are frozen, and dead ones cost nothing.
func TestConcurrent(t *testing.T) {
	r, m, p := node(t, echo)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				want := string(rune('a'+i)) + string(rune('a'+n))
				res, err := r.Invoke(context.Background(), function.Invocation{Account: "1", Name: "f", Payload: []byte(want)})
				if err != nil {
					t.Errorf("Invoke: %v", err)
					return
				}
				if body, _ := io.ReadAll(res.Body); string(body) != want {
					t.Errorf("got %s, want %s", body, want)
				}
			}
		})
	}
	wg.Wait()
	deadline := time.After(5 * time.Second)
	for frozen := false; !frozen; {
		select {
		case <-deadline:
			t.Fatalf("not all frozen: %+v", p.Stats())
		default:
		}
		frozen = true
		for _, w := range m.Boxes.All() {
			frozen = frozen && w.Frozen()
		}
	}
	for _, w := range m.Boxes.All() {
		_ = w.Kill(t.Context())
	}
	if _, err := r.Invoke(t.Context(), function.Invocation{Account: "1", Name: "f"}); err != nil {
		t.Errorf("after the death of all environments: %v", err)
	}
}

// BenchmarkInvoke is a warm invocation from the router down to a runtime over loopback HTTP.
func BenchmarkInvoke(b *testing.B) {
	r, _, _ := node(b, echo)
	inv := function.Invocation{Account: "1", Name: "f", Payload: []byte(`{"n":1}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Invoke(b.Context(), inv); err != nil {
			b.Fatal(err)
		}
	}
}

// instant answers at once: what is left is the front end's own time.
type instant struct{ done chan struct{} }

func (instant) Invoke(context.Context, function.Invocation) (function.Result, error) {
	return function.Result{}, nil
}
func (e instant) Done() <-chan struct{}              { return e.done }
func (instant) InitFailed() bool                     { return false }
func (instant) InitTime() time.Duration              { return time.Second }
func (instant) Resident() int64                      { return 30 << 20 }
func (instant) Scratch() int64                       { return 0 }
func (instant) RetireAt() time.Time                  { return time.Time{} }
func (instant) Idle() bool                           { return true }
func (instant) Overdue(time.Time) bool               { return false }
func (instant) Freeze(context.Context) (bool, error) { return true, nil }
func (e instant) Stop(context.Context) error         { close(e.done); return nil }

// BenchmarkFrontEnd is router and pool alone.
func BenchmarkFrontEnd(b *testing.B) {
	p := pool.New(pool.Config{Starter: pool.StarterFunc(func(context.Context, function.Function) (pool.Environment, error) {
		return instant{make(chan struct{})}, nil
	})})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(ctx) })
	r := &invoke.Router{Functions: functions{"1/f": fn}, Pool: p}
	inv := function.Invocation{Account: "1", Name: "f", Payload: []byte(`{"n":1}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Invoke(b.Context(), inv); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
}
