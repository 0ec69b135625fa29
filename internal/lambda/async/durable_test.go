package async_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lambda/async"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
	"lambent.dev/lambent/internal/queue"
)

type invoker func(inv function.Invocation) (function.Result, error)

func (f invoker) Invoke(_ context.Context, inv function.Invocation) (function.Result, error) {
	return f(inv)
}

// bed is events on a real queue on a real engine.
type bed struct {
	*async.Queue
	messages *queue.Queue
	stop     func()
}

// on runs events on an engine until the test ends, or stop is called. now is their clock.
func on(t *testing.T, store *kv.Store, client *clientv3.Client, now func() time.Time, invoke invoker) *bed {
	t.Helper()
	q, err := queue.Open(t.Context(), queue.Config{
		Store: store, Client: client, Name: "async", Shards: 2, Node: "n1", Now: now, Claims: async.PerFunction,
	})
	if err != nil {
		t.Fatal(err)
	}
	events := async.New(async.Config{Messages: async.On(q), Invoker: invoke, Now: now, Retries: 2})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := q.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("queue: %v", err)
		}
	})
	// Events end first: what they have begun is still theirs to settle.
	own, end := context.WithCancel(context.Background())
	var claims sync.WaitGroup
	claims.Go(func() {
		if err := events.Run(own); err != nil {
			t.Errorf("events: %v", err)
		}
	})
	b := &bed{Queue: events, messages: q, stop: sync.OnceFunc(func() { end(); claims.Wait(); cancel(); wg.Wait() })}
	t.Cleanup(b.stop)
	return b
}

// TestDurable runs an event through the real queue on a real engine: refused once, then run.
func TestDurable(t *testing.T) {
	store, client, _ := kvtest.Start(t, t.TempDir())
	ran := make(chan function.Invocation, 8)
	tries := 0
	events := on(t, store, client, time.Now, func(inv function.Invocation) (function.Result, error) {
		if tries++; tries == 1 {
			return function.Result{}, &invoke.ThrottledError{Reason: "ConcurrentInvocationLimitExceeded"}
		}
		ran <- inv
		return function.Result{}, nil
	})
	q := events.messages
	if err := events.Publish(t.Context(), function.Invocation{Account: "1", Name: "f", RequestID: "id", Payload: []byte(`{"n":1}`)}); err != nil {
		t.Fatal(err)
	}
	select {
	case inv := <-ran:
		if inv.RequestID != "id" || string(inv.Payload) != `{"n":1}` || !inv.Async {
			t.Errorf("ran %+v", inv)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the event did not run")
	}
	gone := time.After(10 * time.Second)
	for q.Stats().Depth != 0 {
		select {
		case <-gone:
			t.Fatalf("not acknowledged: %+v", q.Stats())
		default:
		}
	}
}

// TestCountsSurvive: neither a refusal nor another start gives an event more attempts after function
// errors than it has.
func TestCountsSurvive(t *testing.T) {
	store, client, _ := kvtest.Start(t, t.TempDir())
	var clock atomic.Int64
	now := func() time.Time { return time.Unix(1_800_000_000, 0).Add(time.Duration(clock.Load())) }
	tried := make(chan string, 8)
	outcomes := []error{nil, errors.New("no sandbox"), nil, nil} // nil: the function fails
	var attempt int
	try := func(inv function.Invocation) (function.Result, error) {
		err := outcomes[attempt]
		attempt++
		tried <- inv.RequestID
		return function.Result{Error: "Unhandled"}, err
	}
	events := on(t, store, client, now, try)
	if err := events.Publish(t.Context(), function.Invocation{Account: "1", Name: "f", RequestID: "id"}); err != nil {
		t.Fatal(err)
	}
	for range outcomes {
		select {
		case id := <-tried:
			if id != "id" {
				t.Errorf("attempted as %s", id)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("attempt %d does not come: %+v", attempt+1, events.messages.Stats())
		}
		events.stop()
		clock.Add(int64(2 * time.Minute))
		events = on(t, store, client, now, try)
	}
	until(t, func() bool { return events.messages.Stats().Depth == 0 })
	if attempt != len(outcomes) {
		t.Errorf("%d attempts", attempt)
	}
}

// TestBurst: 10,000 events of one slow function delay those of no other.
func TestBurst(t *testing.T) {
	store, client, _ := kvtest.Start(t, t.TempDir())
	held := make(chan struct{})
	var slow, most, ran atomic.Int64
	fast := make(chan time.Time, 8)
	events := on(t, store, client, time.Now, func(inv function.Invocation) (function.Result, error) {
		if inv.Name == "fast" {
			fast <- time.Now()
			return function.Result{}, nil
		}
		for n := slow.Add(1); n > most.Load(); {
			most.Store(n)
		}
		<-held
		slow.Add(-1)
		ran.Add(1)
		return function.Result{}, nil
	})
	const burst = 10_000
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			for range burst / 50 {
				if err := events.Publish(t.Context(), function.Invocation{Account: "1", Name: "slow"}); err != nil {
					t.Errorf("Publish: %v", err)
				}
			}
		})
	}
	clients.Wait()
	until(t, func() bool { return slow.Load() == async.PerFunction })
	for range 5 {
		began := time.Now()
		if err := events.Publish(t.Context(), function.Invocation{Account: "1", Name: "fast"}); err != nil {
			t.Fatal(err)
		}
		select {
		case at := <-fast:
			if took := at.Sub(began); took > 2*time.Second {
				t.Errorf("an event of another function ran after %v", took)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("an event of another function does not run")
		}
	}
	close(held)
	until(t, func() bool { return events.messages.Stats().Depth == 0 })
	if ran.Load() < burst || most.Load() > async.PerFunction {
		t.Errorf("%d of %d events ran, at most %d at a time", ran.Load(), burst, most.Load())
	}
}

// TestDeleted: the events of a function go in the transaction that deletes it, those that wait for a
// retry and those that run, and the events of one made again under its name stay.
func TestDeleted(t *testing.T) {
	store, client, _ := kvtest.Start(t, t.TempDir())
	held, began := make(chan struct{}), make(chan string, 8)
	events := on(t, store, client, time.Now, func(inv function.Invocation) (function.Result, error) {
		began <- inv.RequestID
		if inv.RequestID == "waits" {
			return function.Result{Error: "Unhandled"}, nil
		}
		<-held
		return function.Result{Error: "Unhandled"}, nil
	})
	for id, fn := range map[string]string{"waits": "old", "runs": "old", "new": "new"} {
		if err := events.Publish(t.Context(), function.Invocation{Account: "1", Name: "f", FunctionID: fn, RequestID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		<-began
	}
	until(t, func() bool { s := events.messages.Stats(); return s.Claimed == 2 && s.Ready == 0 })
	if _, err := store.Txn(t.Context(), events.messages.PurgeOp("1", async.Group("f", "old"))); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return events.messages.Stats().Depth == 1 })
	close(held)
	until(t, func() bool { s := events.messages.Stats(); return s.Depth == 1 && s.Claimed == 0 })
}

// until waits for what other goroutines do.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	late := time.After(2 * time.Minute) // with the race detector, on a busy machine
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late:
			t.Fatal("it does not come to that")
		case <-tick.C:
		}
	}
}
