package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/function"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEnv is an environment whose invocations take as long as their payload says.
type fakeEnv struct {
	id       int
	fn       function.Function
	done     chan struct{}
	resident int64
	scratch  int64
	retireAt time.Time
	failed   bool
	init     time.Duration

	mu       sync.Mutex
	served   int
	busy     bool
	lingers  time.Time // not idle before
	overdue  bool
	gone     bool // the next Invoke finds it dead
	frozenAt time.Time
	freezes  int
	stopped  bool
}

func (e *fakeEnv) Invoke(ctx context.Context, inv function.Invocation) (function.Result, error) {
	e.mu.Lock()
	if e.busy {
		panic("two invocations at a time")
	}
	if e.gone || e.stopped {
		e.mu.Unlock()
		e.die()
		return function.Result{}, environment.ErrGone
	}
	if time.Now().Before(e.lingers) {
		e.mu.Unlock()
		time.Sleep(50 * time.Millisecond)
		return function.Result{}, environment.ErrBusy
	}
	e.busy, e.frozenAt = true, time.Time{}
	e.served++
	e.mu.Unlock()
	if d, err := time.ParseDuration(string(inv.Payload)); err == nil {
		time.Sleep(d)
	}
	e.mu.Lock()
	e.busy = false
	e.mu.Unlock()
	return function.Result{Version: fmt.Sprint(e.id)}, nil
}

// linger makes it go on for so long without asking for work.
func (e *fakeEnv) linger(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lingers = time.Now().Add(d)
}

func (e *fakeEnv) die() {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.done:
	default:
		close(e.done)
	}
}

func (e *fakeEnv) Done() <-chan struct{}   { return e.done }
func (e *fakeEnv) InitFailed() bool        { return e.failed }
func (e *fakeEnv) InitTime() time.Duration { return e.init }
func (e *fakeEnv) Resident() int64         { return e.resident }
func (e *fakeEnv) Scratch() int64          { return e.scratch }
func (e *fakeEnv) RetireAt() time.Time     { return e.retireAt }
func (e *fakeEnv) Idle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.busy && !time.Now().Before(e.lingers)
}
func (e *fakeEnv) set(change func(*fakeEnv)) { e.mu.Lock(); defer e.mu.Unlock(); change(e) }
func (e *fakeEnv) Overdue(time.Time) bool    { e.mu.Lock(); defer e.mu.Unlock(); return e.overdue }
func (e *fakeEnv) Freeze(context.Context) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy {
		return false, nil
	}
	e.frozenAt = time.Now()
	e.freezes++
	return true, nil
}
func (e *fakeEnv) Stop(context.Context) error {
	e.mu.Lock()
	e.stopped = true
	e.mu.Unlock()
	e.die()
	return nil
}
func (e *fakeEnv) is() (frozen, stopped bool, served int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.frozenAt.IsZero(), e.stopped, e.served
}

// host boots fake environments.
type host struct {
	*Pool
	t     *testing.T
	boots time.Duration          // how long a boot takes
	shape func(e *fakeEnv) error // changes the next environment
	mu    sync.Mutex
	envs  []*fakeEnv
	now   int // boots under way
	most  int
}

func (h *host) Start(ctx context.Context, fn function.Function) (Environment, error) {
	h.mu.Lock()
	e := &fakeEnv{id: len(h.envs), fn: fn, done: make(chan struct{}), resident: 30 << 20, init: 100 * time.Millisecond}
	h.envs = append(h.envs, e)
	h.now++
	h.most = max(h.most, h.now)
	shape := h.shape
	h.mu.Unlock()
	defer func() { h.mu.Lock(); h.now--; h.mu.Unlock() }()
	select {
	case <-time.After(h.boots):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if shape != nil {
		if err := shape(e); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (h *host) count() int { h.mu.Lock(); defer h.mu.Unlock(); return len(h.envs) }

// run gives test a pool in a bubble with its own time.
func run(t *testing.T, cfg Config, test func(h *host)) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{t: t, boots: 100 * time.Millisecond}
		cfg.Starter = h
		h.Pool = New(cfg)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := h.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		test(h)
		cancel()
		wg.Wait()
		for _, e := range h.envs {
			if e == nil {
				continue
			}
			if _, stopped, _ := e.is(); !stopped && h.shape == nil {
				t.Errorf("environment %d was not stopped", e.id)
			}
		}
		if st := h.Stats(); st != (Stats{}) {
			t.Errorf("left over: %+v", st)
		}
	})
}

var fn = function.Function{Account: "1", Name: "f", Version: "$LATEST", Settings: function.Settings{Memory: 128}, Generation: "g1"}

// invoke returns the id of the environment that served an invocation of length d.
func (h *host) invoke(fn function.Function, d time.Duration) string {
	h.t.Helper()
	r, err := h.Invoke(context.Background(), fn, function.Invocation{Payload: []byte(d.String())})
	if err != nil {
		h.t.Errorf("Invoke: %v", err)
	}
	return r.Version
}

func TestReuseAndScaleOut(t *testing.T) {
	run(t, Config{}, func(h *host) {
		began := time.Now()
		for range 3 {
			if id := h.invoke(fn, 0); id != "0" {
				t.Errorf("served by %s", id)
			}
		}
		if d := time.Since(began); d != 100*time.Millisecond {
			t.Errorf("one cold and two warm invocations took %v", d)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { h.invoke(fn, time.Second) })
		}
		wg.Wait()
		if h.count() != 5 {
			t.Errorf("%d environments for 5 at a time", h.count())
		}
		// The most recently used comes first, so that the others become old.
		last := h.invoke(fn, 0)
		for range 10 {
			if id := h.invoke(fn, time.Millisecond); id != last {
				t.Errorf("served by %s, not %s", id, last)
			}
		}
	})
}

// TestFirstFree: a waiting request takes what another gives back while its own boot goes on.
func TestFirstFree(t *testing.T) {
	run(t, Config{}, func(h *host) {
		h.invoke(fn, 0)
		h.boots = 10 * time.Second
		var wg sync.WaitGroup
		wg.Go(func() { h.invoke(fn, time.Second) })
		synctest.Wait()
		began := time.Now()
		if id := h.invoke(fn, 0); id != "0" || time.Since(began) != time.Second {
			t.Errorf("served by %s after %v", id, time.Since(began))
		}
		wg.Wait()
		if st := h.Stats(); st.Booting != 1 {
			t.Errorf("stats = %+v", st)
		}
		time.Sleep(10 * time.Second)
		if st := h.Stats(); st.Environments != 2 || st.Booting != 0 {
			t.Errorf("the boot that nobody waited for: %+v", st)
		}
	})
}

func TestConcurrencyLimit(t *testing.T) {
	run(t, Config{Concurrency: 2}, func(h *host) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { h.invoke(fn, time.Second) })
		}
		synctest.Wait()
		_, err := h.Invoke(context.Background(), fn, function.Invocation{})
		var throttle *ThrottledError
		if !errors.As(err, &throttle) || throttle.Reason != "ConcurrentInvocationLimitExceeded" || err.Error() != "Rate Exceeded." {
			t.Errorf("err = %v", err)
		}
		other := fn
		other.Account = "2"
		h.invoke(other, 0)
		wg.Wait()
		h.invoke(fn, 0)
	})
}

func TestMemory(t *testing.T) {
	var freeMB int64 = 400
	cfg := Config{FreeMemory: func() int64 { return freeMB << 20 }}
	run(t, cfg, func(h *host) {
		a, b := fn, fn
		a.Name, b.Name = "a", "b"
		h.invoke(a, 0)
		h.invoke(b, 0)
		h.invoke(b, 0) // worth more: used more often
		freeMB = 120   // 160 are needed: one must go
		time.Sleep(time.Second)
		c := fn
		c.Name = "c"
		h.invoke(c, 0)
		for i, want := range []bool{true, false, false} {
			if _, stopped, _ := h.envs[i].is(); stopped != want {
				t.Errorf("environment %d: stopped = %v", i, stopped)
			}
		}
		freeMB = 10 // even the idle ones' memory would not do
		time.Sleep(time.Second)
		d := fn
		d.Name, d.Memory = "d", 1024
		_, err := h.Invoke(context.Background(), d, function.Invocation{})
		var throttle *ThrottledError
		if !errors.As(err, &throttle) {
			t.Errorf("err = %v", err)
		}
		if st := h.Stats(); st.Environments != 2 {
			t.Errorf("evicted for nothing: %+v", st)
		}
	})
}

// TestMemoryOfWarmOnes: what a frozen environment may grow by counts when it is used again.
func TestMemoryOfWarmOnes(t *testing.T) {
	var freeMB int64 = 1000
	run(t, Config{FreeMemory: func() int64 { return freeMB << 20 }}, func(h *host) {
		big, other := fn, fn
		big.Name, big.Memory, other.Name = "big", 512, "other"
		h.invoke(big, 0)
		h.invoke(other, 0)
		time.Sleep(time.Second)
		freeMB = 450 // big may grow by 482: the other one must go
		h.invoke(big, 0)
		synctest.Wait()
		if _, stopped, _ := h.envs[1].is(); !stopped || h.count() != 2 {
			t.Errorf("stopped = %v, %d environments", stopped, h.count())
		}
		freeMB = 100
		time.Sleep(time.Second)
		_, err := h.Invoke(context.Background(), big, function.Invocation{})
		var throttle *ThrottledError
		if !errors.As(err, &throttle) {
			t.Errorf("err = %v", err)
		}
		freeMB = 1000
		time.Sleep(time.Second)
		if id := h.invoke(big, 0); id != "0" {
			t.Errorf("served by %s", id)
		}
		if h.promised != 0 {
			t.Errorf("%d bytes promised to nobody", h.promised)
		}
	})
}

func TestFreezeWhenIdle(t *testing.T) {
	run(t, Config{}, func(h *host) {
		h.invoke(fn, 0)
		e := h.envs[0]
		for range 20 { // back to back: never frozen
			time.Sleep(5 * time.Millisecond)
			h.invoke(fn, 0)
		}
		e.mu.Lock()
		if e.freezes != 0 {
			t.Errorf("%d freezes between back-to-back invocations", e.freezes)
		}
		e.mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if frozen, _, _ := e.is(); !frozen {
			t.Error("not frozen 20 ms after its last invocation")
		}
		if st := h.Stats(); st.Frozen != 1 || st.Idle != 1 {
			t.Errorf("stats = %+v", st)
		}
		h.invoke(fn, 0)
		if frozen, _, _ := e.is(); frozen {
			t.Error("still frozen")
		}
	})
}

func TestIdleTimeoutAndRetireAt(t *testing.T) {
	run(t, Config{IdleTimeout: time.Minute}, func(h *host) {
		h.invoke(fn, 0)
		time.Sleep(50 * time.Second)
		h.invoke(fn, 0)
		time.Sleep(50 * time.Second)
		if st := h.Stats(); st.Environments != 1 {
			t.Errorf("removed too early: %+v", st)
		}
		time.Sleep(21 * time.Second)
		if st := h.Stats(); st.Environments != 0 {
			t.Errorf("not removed: %+v", st)
		}
		h.invoke(fn, 0)
		h.envs[1].retireAt = time.Now().Add(time.Second)
		time.Sleep(time.Second)
		if id := h.invoke(fn, 0); id != "2" {
			t.Errorf("served by %s, whose credentials end", id)
		}
	})
}

// TestDeath: an environment that dies while it waits costs no request.
func TestDeath(t *testing.T) {
	run(t, Config{}, func(h *host) {
		h.invoke(fn, 0)
		h.envs[0].die()
		synctest.Wait()
		if st := h.Stats(); st.Environments != 0 {
			t.Errorf("not noticed: %+v", st)
		}
		if id := h.invoke(fn, 0); id != "1" {
			t.Errorf("served by %s", id)
		}
		h.envs[1].set(func(e *fakeEnv) { e.gone = true }) // noticed only when the request is already there
		if id := h.invoke(fn, 0); id != "2" {
			t.Errorf("served by %s", id)
		}
		h.shape = func(e *fakeEnv) error { e.gone = true; return nil }
		h.envs[2].set(func(e *fakeEnv) { e.gone = true })
		if _, err := h.Invoke(context.Background(), fn, function.Invocation{}); !errors.Is(err, environment.ErrGone) {
			t.Errorf("err = %v", err)
		}
		if h.count() != 6 {
			t.Errorf("%d environments, not 3 new attempts", h.count())
		}
	})
}

// TestDeadAtStart: an environment that is dead when its boot returns leaves nobody waiting.
func TestDeadAtStart(t *testing.T) {
	run(t, Config{}, func(h *host) {
		h.shape = func(e *fakeEnv) error { e.gone = true; e.die(); return nil }
		if _, err := h.Invoke(context.Background(), fn, function.Invocation{}); !errors.Is(err, environment.ErrGone) || h.count() != 3 {
			t.Errorf("err = %v after %d environments", err, h.count())
		}
	})
}

func TestLingering(t *testing.T) {
	run(t, Config{}, func(h *host) {
		h.invoke(fn, 0)
		h.envs[0].linger(time.Second)
		began := time.Now()
		if id := h.invoke(fn, 0); id != "1" || time.Since(began) != 150*time.Millisecond {
			t.Errorf("served by %s after %v", id, time.Since(began))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := h.Stats(); st.Frozen != 2 {
			t.Errorf("stats = %+v", st)
		}
		h.envs[0].linger(time.Hour)
		h.envs[0].set(func(e *fakeEnv) { e.overdue = true })
		h.envs[1].set(func(e *fakeEnv) { e.gone = true })
		h.invoke(fn, 0)
		time.Sleep(time.Second)
		if _, stopped, _ := h.envs[0].is(); !stopped {
			t.Error("an environment that never asks for work again lives on")
		}
	})
}

func TestBootErrors(t *testing.T) {
	run(t, Config{}, func(h *host) {
		boom := errors.New("boom")
		h.shape = func(*fakeEnv) error { return boom }
		if _, err := h.Invoke(context.Background(), fn, function.Invocation{}); !errors.Is(err, boom) {
			t.Errorf("err = %v", err)
		}
		// A failed initialisation is for the request that waits; without one it is dropped.
		h.shape = func(e *fakeEnv) error { e.failed = true; return nil }
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := h.Invoke(ctx, fn, function.Invocation{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		time.Sleep(time.Second)
		if st := h.Stats(); st != (Stats{}) {
			t.Errorf("stats = %+v", st)
		}
		if _, err := h.Invoke(context.Background(), fn, function.Invocation{}); err != nil {
			t.Errorf("err = %v", err)
		}
	})
}

func TestRetire(t *testing.T) {
	run(t, Config{}, func(h *host) {
		var wg sync.WaitGroup
		h.invoke(fn, 0)
		wg.Go(func() { h.invoke(fn, time.Second) })
		synctest.Wait()
		wg.Go(func() { h.invoke(fn, 0) }) // waits for a boot of the old configuration
		synctest.Wait()
		next := fn
		next.Generation = "g2"
		h.Retire(fn.Account, fn.Name, next.Generation)
		if id := h.invoke(next, 0); h.envs[2].fn.Generation != "g2" || id != "2" {
			t.Errorf("served by %s", id)
		}
		wg.Wait()
		time.Sleep(10 * time.Millisecond)
		for i, want := range []bool{true, true, false} {
			if _, stopped, _ := h.envs[i].is(); stopped != want {
				t.Errorf("environment %d: stopped = %v", i, stopped)
			}
		}
		h.Retire(next.Account, next.Name, "")
		synctest.Wait()
		if st := h.Stats(); st.Environments != 0 {
			t.Errorf("stats = %+v", st)
		}
	})
}

func TestDrain(t *testing.T) {
	run(t, Config{}, func(h *host) {
		var wg sync.WaitGroup
		wg.Go(func() { h.invoke(fn, time.Second) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if err := h.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
		if _, err := h.Invoke(context.Background(), fn, function.Invocation{}); !errors.Is(err, ErrDraining) {
			t.Errorf("Invoke: %v", err)
		}
		if err := h.Drain(context.Background()); err != nil {
			t.Errorf("Drain: %v", err)
		}
		wg.Wait()
	})
}

// TestShutdownRefusesWaiters: nobody hangs when Run ends.
func TestShutdownRefusesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{t: t, boots: time.Hour}
		h.Pool = New(Config{Starter: h, Boots: 1})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = h.Run(ctx) })
		for range 3 {
			wg.Go(func() {
				if _, err := h.Invoke(context.Background(), fn, function.Invocation{}); !errors.Is(err, ErrDraining) {
					t.Errorf("Invoke: %v", err)
				}
			})
		}
		synctest.Wait()
		h.Retire(fn.Account, fn.Name, "")
		cancel()
		wg.Wait()
	})
}

func TestAdmit(t *testing.T) {
	idle := []Candidate{{100, 3}, {50, 1}, {70, 2}}
	for _, tc := range []struct {
		free, promised, need int64
		evict                []int
		ok                   bool
	}{
		{free: 200, promised: 50, need: 150, ok: true},
		{free: 200, promised: 50, need: 151, evict: []int{1}, ok: true},
		{free: 200, promised: 50, need: 201, evict: []int{1, 2}, ok: true},
		{free: 200, promised: 50, need: 370, evict: []int{1, 2, 0}, ok: true},
		{free: 200, promised: 50, need: 371},
		{free: -100, need: 10, evict: []int{1, 2}, ok: true},
	} {
		evict, ok := Admit(tc.free, tc.promised, tc.need, idle)
		if d := cmp.Diff(tc.evict, evict); d != "" || ok != tc.ok {
			t.Errorf("Admit(%d, %d, %d) = %v, %v", tc.free, tc.promised, tc.need, evict, ok)
		}
	}
}

func TestPriority(t *testing.T) {
	const mb = 1 << 20
	base := Priority(0, 2, time.Second, 50*mb)
	for name, more := range map[string]float64{
		"used more":      Priority(0, 3, time.Second, 50*mb),
		"dearer to boot": Priority(0, 2, 2*time.Second, 50*mb),
		"smaller":        Priority(0, 2, time.Second, 40*mb),
		"later":          Priority(1, 2, time.Second, 50*mb),
	} {
		if more <= base {
			t.Errorf("%s: %v <= %v", name, more, base)
		}
	}
}
