package async_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

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

// TestDurable runs an event through the real queue on a real engine: refused once, then run.
func TestDurable(t *testing.T) {
	store, client, _ := kvtest.Start(t, t.TempDir())
	q, err := queue.Open(t.Context(), queue.Config{Store: store, Client: client, Name: "async", Shards: 2, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan function.Invocation, 8)
	tries := 0
	events := async.New(async.Config{Messages: async.On(q), Invoker: invoker(func(inv function.Invocation) (function.Result, error) {
		if tries++; tries == 1 {
			return function.Result{}, &invoke.ThrottledError{Reason: "ConcurrentInvocationLimitExceeded"}
		}
		ran <- inv
		return function.Result{}, nil
	})})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := q.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("queue: %v", err)
		}
	})
	wg.Go(func() {
		if err := events.Run(ctx); err != nil {
			t.Errorf("events: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
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
