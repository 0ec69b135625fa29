// Package pool keeps the execution environments of this node: it gives each invocation one to
// itself, starts more when there are none free, freezes those that idle, and removes those
// that nobody uses or whose memory others need.
//
// Promises: an environment runs one invocation at a time; a waiting request takes whichever
// environment of its function is free first, its own boot or one that another request gives
// back; an environment that dies before it has an event costs no request; concurrency per
// account and boots at a time are bounded, and memory is refused by ThrottledError before the
// host runs out of it. Environments are frozen shortly after they became idle, off the path of
// any response. What is decided about memory and time is decided by pure functions (plan.go).
//
// A Pool is safe for concurrent use. Run does the housekeeping and must run for as long as
// Invoke is called; when it returns, every environment is gone.
package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lifecycle"
)

// Environment is what the pool needs of environment.Environment; see there.
type Environment interface {
	Invoke(ctx context.Context, inv function.Invocation) (function.Result, error)
	Done() <-chan struct{}
	InitFailed() bool
	InitTime() time.Duration
	Resident() int64
	Scratch() int64
	RetireAt() time.Time
	Idle() bool
	Overdue(now time.Time) bool
	Freeze(ctx context.Context) (bool, error)
	Stop(ctx context.Context) error
}

var _ Environment = (*environment.Environment)(nil)

// Starter makes environments: from nothing, or out of ones booted ahead.
type Starter interface {
	// Start returns an environment of fn, initialised or InitFailed.
	Start(ctx context.Context, fn function.Function) (Environment, error)
}

// StarterFunc is a function that starts environments.
type StarterFunc func(ctx context.Context, fn function.Function) (Environment, error)

// Start calls f.
func (f StarterFunc) Start(ctx context.Context, fn function.Function) (Environment, error) {
	return f(ctx, fn)
}

// Environments starts environments from nothing.
func Environments(cfg environment.Config) Starter {
	return StarterFunc(func(ctx context.Context, fn function.Function) (Environment, error) {
		e, err := environment.Start(ctx, cfg, environment.Spec{Function: fn})
		if err != nil {
			return nil, err
		}
		return e, nil
	})
}

// Config is what a pool needs; zero values mean the defaults.
type Config struct {
	Starter Starter
	Logger  *slog.Logger
	// Boots is how many environments start at the same time; default one for each core, at least
	// two: a start takes all of a core, and what is more delays the invocations of others.
	Boots int
	// Concurrency is how many invocations an account runs at the same time; default 1,000.
	Concurrency int
	// FreeMemory says how many bytes of the host's memory environments may still take; nil
	// means any number. It is asked at every boot.
	FreeMemory func() int64
	// DiskFull says that the host's disk, which has what environments keep in /tmp, is nearly full;
	// nil means never.
	DiskFull func() bool
	// IdleTimeout is how long an unused environment is kept; default 30 min.
	IdleTimeout time.Duration
	// FreezeAfter is how long an environment idles before it is frozen; default 10 ms.
	FreezeAfter time.Duration
}

// Overhead is the memory of an environment beyond what its code may use: the sandbox's own.
const Overhead = 32 << 20

const (
	bootTimeout = 2 * time.Minute // longer than any init; a boot that takes it is stuck
	sweepEvery  = 10 * time.Second
	diskEvery   = time.Second // how often Config.DiskFull is asked
	// littleScratch is what an idle environment may keep in /tmp on a disk that is full: a new one in
	// its place would soon have as much.
	littleScratch = 1 << 20
	// attempts is how many new environments may die under the hands of one request.
	attempts = 3
)

// ErrDraining says that the pool takes no more work.
var ErrDraining = errors.New("node is shutting down")

// Reasons of a ThrottledError, AWS's words.
const ReasonConcurrency = "ConcurrentInvocationLimitExceeded"

// ThrottledError says that an invocation exceeds a limit.
type ThrottledError struct {
	Reason     string
	RetryAfter time.Duration
}

// Error is AWS's text.
func (e *ThrottledError) Error() string { return "Rate Exceeded." }

func throttled() error {
	return &ThrottledError{Reason: ReasonConcurrency, RetryAfter: time.Second}
}

// Pool is the environments of a node.
type Pool struct {
	cfg   Config
	log   *slog.Logger
	tasks lifecycle.Tasks
	wake  chan struct{} // capacity 1: the housekeeper has something new to look at

	mu       sync.Mutex
	groups   map[key]*group
	slots    map[*slot]struct{} // all environments, those of replaced groups too
	queue    []*group           // groups that want a boot, in turn
	boots    int                // boots under way
	booting  map[*boot]struct{}
	active   map[string]int // invocations by account
	promised int64          // bytes that busy and starting environments may still take
	free     int64          // what cfg.FreeMemory said, and what was evicted since
	freeRead time.Time
	watched  []*slot // for the housekeeper: idle ones to freeze, busy ones to settle
	clock    float64 // of the greedy-dual priorities
	draining bool
	closed   bool
	quiet    chan struct{} // closed when draining and nothing is active; nil before Drain
}

// New returns an empty pool.
func New(cfg Config) *Pool {
	if cfg.DiskFull == nil {
		cfg.DiskFull = func() bool { return false }
	}
	cfg.Boots = cmp.Or(cfg.Boots, max(2, runtime.NumCPU()))
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 1000)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 30*time.Minute)
	cfg.FreezeAfter = cmp.Or(cfg.FreezeAfter, 10*time.Millisecond)
	return &Pool{
		cfg: cfg, log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), wake: make(chan struct{}, 1),
		groups: map[key]*group{}, slots: map[*slot]struct{}{}, booting: map[*boot]struct{}{}, active: map[string]int{},
	}
}

// Invoke runs an invocation of fn in an environment of its own.
func (p *Pool) Invoke(ctx context.Context, fn function.Function, inv function.Invocation) (function.Result, error) {
	if err := p.enter(fn.Account); err != nil {
		return function.Result{}, err
	}
	defer p.leave(fn.Account)
	died := 0
	for {
		s, err := p.take(ctx, fn)
		if err != nil {
			return function.Result{}, err
		}
		r, err := s.env.Invoke(ctx, inv)
		p.give(s, err)
		switch {
		case errors.Is(err, environment.ErrBusy):
			continue
		case errors.Is(err, environment.ErrGone):
			// One that has served dies when it likes; those that are new mean a fault.
			if !s.served {
				died++
			}
			if died < attempts {
				continue
			}
			return r, fmt.Errorf("%d environments in a row: %w", died, err)
		default:
			return r, err
		}
	}
}

// enter counts an invocation in.
func (p *Pool) enter(account string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.draining:
		return ErrDraining
	case p.active[account] >= p.cfg.Concurrency:
		return throttled()
	}
	p.active[account]++
	return nil
}

func (p *Pool) leave(account string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active[account]--; p.active[account] == 0 {
		delete(p.active, account)
	}
	p.quietLocked()
}

func (p *Pool) quietLocked() {
	if p.quiet != nil && len(p.active) == 0 {
		close(p.quiet)
		p.quiet = nil
	}
}

// Retire ends the environments of a function but for those of generation keep (all of them if
// it is empty): idle ones now, busy ones after their invocation. Call it when a function was
// changed or deleted.
func (p *Pool) Retire(account, name, keep string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, g := range p.groups {
		if k.account != account || k.name != name || k.generation == keep && keep != "" {
			continue
		}
		// Who comes later gets a new group; requests that wait here are served.
		delete(p.groups, k)
		g.retired = true
		for s := range g.slots {
			if s.state != busy {
				p.removeLocked(s, "function changed")
			}
		}
	}
}

// Drain stops taking invocations and waits until those under way have ended, or ctx.
func (p *Pool) Drain(ctx context.Context) error {
	p.mu.Lock()
	p.draining = true
	if p.quiet == nil {
		p.quiet = make(chan struct{})
	}
	quiet := p.quiet
	p.quietLocked()
	p.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
