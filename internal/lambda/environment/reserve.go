package environment

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

const (
	// reserved is how many cores a Reserve keeps.
	reserved = 1
	// keepReserve is how long it keeps them after they were last needed: moving every sandbox of
	// the machine is nothing to do between two answers.
	keepReserve = 10 * time.Second
)

// Reserve keeps a core of the machine for the environments that are ahead (see weigh) and the
// server, while as many others as there are cores start or compute and somebody waits for an answer
// of one that is ahead. Weights alone do not do that: whoever computes holds a core until the kernel
// looks who is waiting, and whoever forks or exits may hold it for milliseconds
// (docs/decisions/0010).
type Reserve struct {
	cores int // of the machine
	log   *slog.Logger
	wake  chan struct{}

	mu      sync.Mutex // guards what follows and all tenants
	tenants map[*tenant]struct{}
	crowd   int       // those that run and are behind
	front   int       // those that run and are ahead
	needed  time.Time // when it was last
	on      bool
}

// tenant is a boot as the Reserve sees it.
type tenant struct {
	reserve  *Reserve
	workload Workload // nil until it has started
	running  bool     // it starts or has an invocation
	ahead    bool     // written by weigh alone, which may read it without the lock
	spare    int      // cores that it was told to leave to others
}

// NewReserve is that of a machine with so many cores, of which one core has none to keep. Sandboxes
// that run already follow while Run runs.
func NewReserve(cores int, log *slog.Logger) *Reserve {
	return &Reserve{cores: cores, log: log, wake: make(chan struct{}, 1), tenants: map[*tenant]struct{}{}}
}

// enter adds a boot that is about to start, with so many cores left to others as spare says.
func (r *Reserve) enter() *tenant {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &tenant{reserve: r, running: true}
	r.tenants[t] = struct{}{}
	r.countLocked(t, 1)
	t.spare = r.spareLocked(t)
	return t
}

// started says that t is running as w.
func (t *tenant) started(w Workload) { t.change(func() { t.workload = w }) }

// run says whether t has something to do.
func (t *tenant) run(running bool) { t.change(func() { t.running = running }) }

// move says whether t is ahead.
func (t *tenant) move(ahead bool) { t.change(func() { t.ahead = ahead }) }

// leave forgets t.
func (t *tenant) leave() {
	t.change(func() {
		t.running, t.workload = false, nil
		delete(t.reserve.tenants, t)
	})
}

// change changes t, and wakes Run if that has something to do now.
func (t *tenant) change(fn func()) {
	r := t.reserve
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.on
	r.countLocked(t, -1)
	fn()
	r.countLocked(t, 1)
	if r.on != was || t.workload != nil && t.spare != r.spareLocked(t) {
		select {
		case r.wake <- struct{}{}:
		default: // it will look at everything
		}
	}
}

func (r *Reserve) countLocked(t *tenant, by int) {
	switch {
	case !t.running:
	case t.ahead:
		r.front += by
	default:
		r.crowd += by
	}
	if r.front > 0 && r.crowd >= r.cores && r.cores > reserved {
		r.needed, r.on = time.Now(), true
	}
}

// spareLocked is how many cores t should leave to others.
func (r *Reserve) spareLocked(t *tenant) int {
	if r.on && !t.ahead {
		return reserved
	}
	return 0
}

// Run moves sandboxes out of the reserve and back, until ctx ends.
func (r *Reserve) Run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		todo, over := r.due()
		for w, cores := range todo {
			err := w.SetSpare(ctx, cores)
			gone := errors.Is(err, sandbox.ErrExited) || errors.Is(err, fs.ErrNotExist)
			if err != nil && !gone && ctx.Err() == nil {
				r.log.Warn("set the cores that a sandbox leaves to others", "error", err)
			}
		}
		if t.Stop(); over > 0 {
			t.Reset(over)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-t.C:
		}
	}
}

// due is what has to change, and how long the reserve is kept from now on; zero if it is not.
func (r *Reserve) due() (todo map[Workload]int, over time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on {
		over = max(0, keepReserve-time.Since(r.needed))
		r.on = over > 0
	}
	todo = map[Workload]int{}
	for t := range r.tenants {
		if spare := r.spareLocked(t); t.workload != nil && t.spare != spare {
			t.spare = spare
			todo[t.workload] = spare
		}
	}
	return todo, over
}
