package async

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
	"lambent.dev/lambent/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNext(t *testing.T) {
	for _, tc := range []struct {
		name                     string
		outcome                  Outcome
		failed, refused, retries int
		age                      time.Duration
		want                     Verdict
	}{
		{"done", Done, 0, 0, 2, 0, Verdict{}},
		{"deleted", Gone, 0, 0, 2, 0, Verdict{Reason: "FunctionDeleted"}},
		{"in a circle", Circular, 0, 0, 2, 0, Verdict{Reason: "RecursiveInvocation"}},
		{"first failure", FunctionError, 1, 0, 2, 0, Verdict{Retry: true, After: time.Minute}},
		{"second failure", FunctionError, 2, 0, 2, 0, Verdict{Retry: true, After: 2 * time.Minute}},
		{"third failure", FunctionError, 3, 0, 2, 0, Verdict{Reason: "RetriesExhausted"}},
		{"no retries", FunctionError, 1, 0, 0, 0, Verdict{Reason: "RetriesExhausted"}},
		{"first refusal", Refused, 0, 1, 2, 0, Verdict{Retry: true, After: time.Second}},
		{"fourth refusal", Refused, 0, 4, 0, time.Minute, Verdict{Retry: true, After: 8 * time.Second}},
		{"later", Refused, 0, 40, 2, time.Hour, Verdict{Retry: true, After: 5 * time.Minute}},
		{"too old", Refused, 0, 90, 2, MaxAge - time.Minute, Verdict{Reason: "EventAgeExceeded"}},
		{"failed too late", FunctionError, 1, 0, 2, MaxAge - time.Second, Verdict{Reason: "EventAgeExceeded"}},
	} {
		if d := cmp.Diff(tc.want, Next(tc.outcome, tc.failed, tc.refused, tc.retries, tc.age)); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

// memory is a queue in memory.
type memory struct {
	mu   sync.Mutex
	ch   chan queue.Message
	acks []string
	naks []time.Duration
	fail int // claims that are to fail
	full int // ends of claims that are to fail
}

func (m *memory) Publish(_ context.Context, msgs ...queue.Message) error {
	for _, msg := range msgs {
		m.ch <- msg
	}
	return nil
}

func (m *memory) Claim(ctx context.Context) (Claim, error) {
	m.mu.Lock()
	fail := m.fail > 0
	m.fail--
	m.mu.Unlock()
	if fail {
		return nil, errors.New("no quorum")
	}
	select {
	case msg := <-m.ch:
		return &claim{m, msg}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// settled is what became of the claims so far.
func (m *memory) settled() (acks []string, naks []time.Duration) {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acks, m.naks
}

type claim struct {
	m   *memory
	msg queue.Message
}

func (c *claim) Message() queue.Message { return c.msg }

// refused tells whether the engine takes no write at present.
func (m *memory) refused() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full--; m.full >= 0 {
		return errors.New("database is full")
	}
	return nil
}

func (c *claim) Ack(context.Context) error {
	if err := c.m.refused(); err != nil {
		return err
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.acks = append(c.m.acks, c.msg.ID)
	return nil
}
func (c *claim) Fail(_ context.Context, due time.Time) error { return c.again(due, 1) }

func (c *claim) Nak(_ context.Context, due time.Time) error { return c.again(due, 0) }

func (c *claim) again(due time.Time, failures int) error {
	if err := c.m.refused(); err != nil {
		return err
	}
	c.m.mu.Lock()
	c.m.naks = append(c.m.naks, time.Until(due))
	c.m.mu.Unlock()
	c.msg.Attempts++
	c.msg.Failures += failures
	time.AfterFunc(time.Until(due), func() { c.m.ch <- c.msg })
	return nil
}

type invoker func(inv function.Invocation) (function.Result, error)

func (f invoker) Invoke(_ context.Context, inv function.Invocation) (function.Result, error) {
	return f(inv)
}

// run runs a queue on memory in a bubble until test returns.
func run(t *testing.T, cfg Config, test func(q *Queue, m *memory)) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{ch: make(chan queue.Message, 100)}
		cfg.Messages = m
		q := New(cfg)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := q.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		test(q, m)
		cancel()
		wg.Wait()
	})
}

func TestRunsOnce(t *testing.T) {
	var got []function.Invocation
	inv := function.Invocation{
		Account: "1", Name: "f", RequestID: "id", Payload: []byte("{}"), ClientContext: "cc", Trace: "t", InvokedARN: "arn", Caller: "c",
	}
	var m *memory
	run(t, Config{Invoker: invoker(func(i function.Invocation) (function.Result, error) {
		got = append(got, i)
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.acks) > 0 {
			t.Error("acknowledged before it ran")
		}
		return function.Result{Error: "Unhandled"}, nil
	})}, func(q *Queue, mem *memory) {
		m = mem
		if err := q.Publish(t.Context(), inv); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if acks, naks := m.settled(); len(acks) != 1 || len(naks) != 0 {
			t.Errorf("acks %v, naks %v", acks, naks)
		}
	})
	inv.Async = true
	for i := range got {
		if got[i].Received.IsZero() {
			t.Error("no time of receipt")
		}
		got[i].Received = time.Time{}
	}
	if d := cmp.Diff([]function.Invocation{inv}, got); d != "" {
		t.Error(d)
	}
}

func TestRefusalsBackOff(t *testing.T) {
	tries := 0
	run(t, Config{Invoker: invoker(func(function.Invocation) (function.Result, error) {
		if tries++; tries < 4 {
			return function.Result{}, &invoke.ThrottledError{Reason: "ConcurrentInvocationLimitExceeded"}
		}
		return function.Result{}, nil
	})}, func(q *Queue, m *memory) {
		if err := q.Publish(t.Context(), function.Invocation{Account: "1", Name: "f"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		acks, naks := m.settled()
		if d := cmp.Diff([]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, naks); d != "" || len(acks) != 1 {
			t.Errorf("acks %v, naks %s", acks, d)
		}
	})
}

func TestRetriesAndDrops(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want []time.Duration
	}{
		{"function error", nil, []time.Duration{time.Minute, 2 * time.Minute}},
		{"deleted", function.ErrNotFound, nil},
		{"in a circle", invoke.ErrRecursive, nil},
		{"failed", &invoke.StateError{State: "Failed"}, nil},
	} {
		run(t, Config{Retries: 2, Invoker: invoker(func(function.Invocation) (function.Result, error) {
			return function.Result{Error: "Unhandled"}, tc.err
		})}, func(q *Queue, m *memory) {
			if err := q.Publish(t.Context(), function.Invocation{Account: "1", Name: "f"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			acks, naks := m.settled()
			if d := cmp.Diff(tc.want, naks); d != "" || len(acks) != 1 {
				t.Errorf("%s: acks %v, naks %s", tc.name, acks, d)
			}
		})
	}
}

// TestMixed: refusals take no retry from those that function errors have, and the other way round.
func TestMixed(t *testing.T) {
	tries := 0
	ids := map[string]bool{}
	run(t, Config{Retries: 2, Invoker: invoker(func(inv function.Invocation) (function.Result, error) {
		ids[inv.RequestID] = true
		switch tries++; tries {
		case 1, 2, 4, 6:
			return function.Result{}, &invoke.ThrottledError{Reason: "ConcurrentInvocationLimitExceeded"}
		}
		return function.Result{Error: "Unhandled"}, nil
	})}, func(q *Queue, m *memory) {
		if err := q.Publish(t.Context(), function.Invocation{Account: "1", Name: "f"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		acks, naks := m.settled()
		want := []time.Duration{time.Second, 2 * time.Second, time.Minute, 4 * time.Second, 2 * time.Minute, 8 * time.Second}
		if d := cmp.Diff(want, naks); d != "" || len(acks) != 1 || len(ids) != 1 {
			t.Errorf("acks %v, request ids %v, naks %s", acks, ids, d)
		}
		if s := q.Stats(); s != (Stats{Retried: 6, Dropped: 1}) {
			t.Errorf("Stats: %+v", s)
		}
	})
}

// TestAge: a fault that does not go away is retried for six hours and no longer.
func TestAge(t *testing.T) {
	tries := 0
	run(t, Config{Invoker: invoker(func(function.Invocation) (function.Result, error) {
		tries++
		return function.Result{}, errors.New("no sandbox")
	})}, func(q *Queue, m *memory) {
		began := time.Now()
		if err := q.Publish(t.Context(), function.Invocation{Account: "1", Name: "f"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(7 * time.Hour)
		if acks, _ := m.settled(); len(acks) != 1 || tries < 70 || tries > 85 {
			t.Errorf("%d tries, acks %v after %v", tries, acks, time.Since(began))
		}
	})
}

// TestClaimFails: trouble of the queue delays events and ends nothing.
func TestClaimFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{ch: make(chan queue.Message, 1), fail: 3}
		q := New(Config{Messages: m, InFlight: 1, Invoker: invoker(func(function.Invocation) (function.Result, error) {
			return function.Result{}, nil
		})})
		if err := q.Publish(t.Context(), function.Invocation{Account: "1", Name: "f"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = q.Run(ctx) })
		time.Sleep(4 * time.Second)
		if acks, _ := m.settled(); len(acks) != 1 {
			t.Errorf("acks %v", acks)
		}
		cancel()
		wg.Wait()
	})
}

// TestSettleFails: an engine that takes no writes for a while delays what becomes of an event, and
// costs no attempt.
func TestSettleFails(t *testing.T) {
	tries := 0
	run(t, Config{Retries: 2, Invoker: invoker(func(function.Invocation) (function.Result, error) {
		if tries++; tries == 1 {
			return function.Result{Error: "Unhandled"}, nil
		}
		return function.Result{}, nil
	})}, func(q *Queue, m *memory) {
		m.full = 5
		if err := q.Publish(t.Context(), function.Invocation{Account: "1", Name: "f"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		m.mu.Lock()
		m.full = 3
		m.mu.Unlock()
		time.Sleep(time.Hour)
		if acks, naks := m.settled(); tries != 2 || len(acks) != 1 || !cmp.Equal(naks, []time.Duration{time.Minute}) {
			t.Errorf("%d attempts, acks %v, naks %v", tries, acks, naks)
		}
	})
}

// TestStopWaits: an event that runs is settled before Run returns.
func TestStopWaits(t *testing.T) {
	run(t, Config{Drain: 2 * time.Minute, Invoker: invoker(func(function.Invocation) (function.Result, error) {
		time.Sleep(time.Minute)
		return function.Result{}, nil
	})}, func(q *Queue, m *memory) {
		if err := q.Publish(t.Context(), function.Invocation{Account: "1", Name: "f"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		t.Cleanup(func() {
			if len(m.acks) != 1 {
				t.Errorf("acks %v", m.acks)
			}
		})
	})
}

// TestStopAbandons: an event that runs for too long is left to the next start, whatever becomes of
// it when its environment goes.
func TestStopAbandons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{ch: make(chan queue.Message, 1)}
		q := New(Config{Messages: m, Drain: time.Minute, Invoker: invoker(func(function.Invocation) (function.Result, error) {
			time.Sleep(10 * time.Minute)
			return function.Result{Error: "Unhandled"}, nil
		})})
		ctx, cancel := context.WithCancel(t.Context())
		if err := q.Publish(ctx, function.Invocation{Account: "1", Name: "f"}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := q.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		cancel()
		wg.Wait()
		if took := time.Since(began); took != time.Minute {
			t.Errorf("Run ended after %v", took)
		}
		q.Wait()
		if acks, naks := m.settled(); len(acks)+len(naks) != 0 {
			t.Errorf("settled: acks %v, naks %v", acks, naks)
		}
	})
}
