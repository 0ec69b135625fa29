// Package environment is one execution environment: a sandbox with a function's code and its
// language runtime, from initialisation through any number of invocations, one at a time, to
// its end.
//
// An Environment starts (init), waits (ready), runs an invocation (busy), may be frozen while
// it waits, and is dead at last: after a time-out, a crash, or Stop. It speaks to the runtime
// through runtimeapi, writes the platform's and the function's lines to the function's log
// stream, and turns every way in which a runtime can fail into the payload AWS has for it.
//
// Promises: an event that Invoke reports as ErrGone or ErrBusy was seen by no code; everything
// a runtime printed before it answered is in the log, END and REPORT behind it, and its record in
// the ledger, before Invoke returns; an invocation has one record, whose charge is REPORT's; output, answers and memory are bounded however the function behaves; Stop
// leaves nothing. Invoke and Freeze exclude each other; one Invoke at a time is the caller's
// duty; all else may be called concurrently.
package environment

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"lambent.dev/lambent/internal/lambda/environment/runtimeapi"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/workload"
)

// Workload is what an environment needs of workload.Workload.
type Workload interface {
	Done() <-chan struct{}
	Exit() sandbox.Exit
	Freeze(ctx context.Context) error
	Thaw(ctx context.Context) error
	SetCPU(ctx context.Context, milli int) error
	SetWeight(ctx context.Context, thousandths int) error
	SetSpare(ctx context.Context, cores int) error
	Stats(ctx context.Context) (sandbox.Stats, error)
	Kill(ctx context.Context) error
	Stop(ctx context.Context) error
}

var _ Workload = (*workload.Workload)(nil)

// Workloads is Config.Start on a real machine.
func Workloads(m *workload.Machine) func(ctx context.Context, spec workload.Spec) (Workload, error) {
	return func(ctx context.Context, spec workload.Spec) (Workload, error) {
		w, err := m.Start(ctx, spec)
		if err != nil {
			return nil, err // and not a nil *workload.Workload inside an interface
		}
		return w, nil
	}
}

// Bundle is a function made ready to run: images and a command.
type Bundle struct {
	RootFS         string          // EROFS image of the runtime
	Mounts         []sandbox.Mount // the code at /var/task
	Args           []string
	Env            []string // KEY=VALUE of the image's configuration, for Config.Variables
	Cwd            string
	UID, GID       uint32
	RuntimeVersion string // for INIT_START, for example "python:3.13.v1"
	RuntimeARN     string
	Telemetry      bool   // give the runtime a framed log descriptor: number 3, as its variables say
	Release        func() // gives the images back; may be nil
}

// Credentials are those of the function's execution role.
type Credentials struct {
	AccessKeyID, Secret, Token string
	Expires                    time.Time
}

// Config is what all environments of a node share.
type Config struct {
	// Start starts a workload.
	Start func(ctx context.Context, spec workload.Spec) (Workload, error)
	// API serves the Runtime API to the sandboxes.
	API *runtimeapi.Server
	// Prepare finds or builds the images of a function.
	Prepare func(ctx context.Context, fn function.Function) (Bundle, error)
	// Credentials issues credentials of the function's role.
	Credentials func(ctx context.Context, fn function.Function) (Credentials, error)
	// Variables is the environment the runtime starts with: AWS's set, the function's own and the
	// image's; stream is the log stream's name.
	Variables func(fn function.Function, b Bundle, c Credentials, stream string) []string
	Logs      Logs
	Meter     Meter // nil: nothing is charged
	Logger    *slog.Logger
	// Now is the wall clock of log lines; default time.Now. Limits are kept by the monotonic one.
	Now func() time.Time
	// InitTimeout is the limit of initialisation; default 10 s, which is AWS's.
	InitTimeout time.Duration
	// Grace is how long Invoke waits for a runtime that has answered its last event but does not
	// ask for the next one yet: code with a small share of a core takes a while; default 500 ms.
	Grace time.Duration
	// LogRate is how many bytes per second one environment may print for long; default 4 MiB.
	LogRate int
	// NodeLogs is how much all environments of the node together may print for long; nil: no limit.
	NodeLogs *Rate
	// Reserve is the node's; nil: none.
	Reserve *Reserve
}

// Spec says which environment to start.
type Spec struct {
	Function function.Function
}

var (
	// ErrGone says that the environment is dead and no code has seen the event.
	ErrGone = errors.New("execution environment is gone")
	// ErrBusy says that the runtime does not ask for an event yet; no code has seen this one.
	ErrBusy = errors.New("execution environment is still busy")
)

// retireBefore is how long before its credentials end an environment takes no more work; the
// longest invocation comes on top.
const retireBefore = 5 * time.Minute

const (
	// teardown bounds removal, which goes on when the caller has given up.
	teardown = 30 * time.Second
	// killing bounds how long an answer waits for the end of a sandbox that is killed.
	killing = 2 * time.Second
)

// Environment is an execution environment.
type Environment struct {
	cfg     Config
	fn      function.Function
	id      string
	stream  *stream
	bundle  Bundle
	env     []string
	expires time.Time
	log     *slog.Logger
	done    chan struct{} // closed when dead

	initTook time.Duration // of the init phase, successful or not
	resident atomic.Int64  // last measured memory
	scratch  atomic.Int64  // last measured bytes of /tmp on the host's disk
	maxUsed  atomic.Int64  // highest measured memory
	started  time.Time     // what sampled counts from, by the monotonic clock
	sampled  atomic.Int64  // when it was measured, in nanoseconds; negative before the first time

	unbilled atomic.Bool // the ledger has refused a record

	stopped sync.Once
	tasks   lifecycle.Tasks

	freezing sync.Mutex // held while freezing, thawing and becoming busy; before mu
	frozen   bool       // guarded by freezing

	mu      sync.Mutex // guards what follows; held for moments only
	boot    *boot      // nil after a failed initialisation
	boots   int
	used    bool // an invocation has been here: it is no longer cold
	busy    bool
	dead    bool
	overdue time.Time // when the last answered invocation's time is up
}

// Start prepares and initialises an environment. It returns when the runtime asks for its first
// event, or when initialisation has failed in the function's own way: Invoke then tries once
// more under the function's time limit, as AWS does. An error is the platform's failure and
// leaves nothing behind.
func Start(ctx context.Context, cfg Config, spec Spec) (e *Environment, err error) {
	cfg.Now = orNow(cfg.Now)
	cfg.InitTimeout = cmp.Or(cfg.InitTimeout, 10*time.Second)
	cfg.Grace = cmp.Or(cfg.Grace, 500*time.Millisecond)
	cfg.LogRate = cmp.Or(cfg.LogRate, 4<<20)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Reserve == nil {
		cfg.Reserve = NewReserve(1, cfg.Logger)
	}
	fn := spec.Function
	e = &Environment{cfg: cfg, fn: fn, id: "env-" + randomHex(6), started: time.Now(), done: make(chan struct{})}
	e.sampled.Store(-1)
	e.log = cfg.Logger.With("function", fn.Name, "environment", e.id)
	e.stream = &stream{
		logs: cfg.Logs, account: fn.Account, group: fn.LogGroup, log: e.log,
		name: fmt.Sprintf("%s/[%s]%s", cfg.Now().UTC().Format("2006/01/02"), fn.Version, randomHex(16)),
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start environment of %s: %w", fn.Name, err), e.Stop(ctx))
			e = nil
		}
	}()
	if e.bundle, err = cfg.Prepare(ctx, fn); err != nil {
		return e, err
	}
	credentials, err := cfg.Credentials(ctx, fn)
	if err != nil {
		return e, fmt.Errorf("issue credentials: %w", err)
	}
	e.expires = credentials.Expires
	e.env = cfg.Variables(fn, e.bundle, credentials, e.stream.name)
	return e, e.initialise(ctx)
}

func orNow(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// ID names the environment on this node.
func (e *Environment) ID() string { return e.id }

// LogStream is the name of the stream it writes to.
func (e *Environment) LogStream() string { return e.stream.name }

// Done is closed when the environment is dead. Stop is still to be called.
func (e *Environment) Done() <-chan struct{} { return e.done }

// InitFailed reports whether initialisation has failed and the next Invoke will repeat it.
func (e *Environment) InitFailed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.boot == nil && !e.dead
}

// InitTime is how long initialisation took.
func (e *Environment) InitTime() time.Duration { return e.initTook }

// Resident is the memory that the environment was last seen to use.
func (e *Environment) Resident() int64 { return e.resident.Load() }

// Scratch is how many bytes of the host's disk its /tmp took when it was last measured.
func (e *Environment) Scratch() int64 { return e.scratch.Load() }

// RetireAt is from when on the environment should take no more work, since its credentials
// might end during it.
func (e *Environment) RetireAt() time.Time {
	if e.expires.IsZero() {
		return time.Time{}
	}
	return e.expires.Add(-retireBefore - e.limit())
}

// Idle reports whether the runtime asks for an event.
func (e *Environment) Idle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.dead && !e.busy && e.boot != nil && e.boot.session.Idle()
}

// Overdue reports whether the runtime has answered but not asked for the next event within the
// time limit of the invocation: it should be stopped.
func (e *Environment) Overdue(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.busy && e.boot != nil && !e.overdue.IsZero() && now.After(e.overdue) && !e.boot.session.Idle()
}

// Freeze stops an idle environment's threads until the next Invoke. It does nothing, and says
// so by false, when the environment is not idle.
func (e *Environment) Freeze(ctx context.Context) (bool, error) {
	e.freezing.Lock()
	defer e.freezing.Unlock()
	if e.frozen {
		return true, nil
	}
	if !e.Idle() {
		return false, nil
	}
	// Nobody can make it busy meanwhile: that needs the lock, too.
	if err := e.current().workload.Freeze(ctx); err != nil {
		return false, fmt.Errorf("freeze environment %s: %w", e.id, err)
	}
	e.frozen = true
	return true, nil
}

// current is the environment's sandbox, nil after a failed initialisation.
func (e *Environment) current() *boot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.boot
}

// Stop kills the environment and removes every trace of it, within teardown; an error says what
// is left then. Idempotent; a later call waits for the first.
func (e *Environment) Stop(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardown)
	defer cancel()
	e.stopped.Do(func() {
		e.die()
		if b := e.current(); b != nil {
			err = b.remove(ctx)
		}
		if late := e.wait(ctx); late != nil {
			err = errors.Join(err, late)
			return // whatever still runs may need its images
		}
		if e.bundle.Release != nil {
			e.bundle.Release()
		}
	})
	return err
}

// wait waits for what the environment still does: it reads output until the sandbox has closed it.
func (e *Environment) wait(ctx context.Context) error {
	done := make(chan struct{})
	lifecycle.Go("environment end", func() { e.tasks.Wait(); close(done) }) // ends with the tasks, late or not
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of environment %s: %w", e.id, ctx.Err())
	}
}

// die marks the environment dead.
func (e *Environment) die() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.dead {
		e.dead = true
		close(e.done)
	}
}

// limit is the function's time limit.
func (e *Environment) limit() time.Duration { return time.Duration(e.fn.Timeout) * time.Second }

// sample measures what the environment uses, unless that was done a moment ago:
// amid an invocation or between two.
func (e *Environment) sample(ctx context.Context, b *boot, within time.Duration, between bool) {
	now := int64(time.Since(e.started))
	if last := e.sampled.Load(); last >= 0 && now-last < int64(within) {
		return
	}
	e.sampled.Store(now)
	stats, err := b.workload.Stats(ctx)
	if err != nil {
		return // it is being killed; the last figure stands
	}
	e.weigh(ctx, b, stats.CPUTime, between)
	e.resident.Store(stats.MemoryBytes)
	e.scratch.Store(stats.ScratchBytes)
	for {
		highest := e.maxUsed.Load()
		if stats.MemoryBytes <= highest || e.maxUsed.CompareAndSwap(highest, stats.MemoryBytes) {
			return
		}
	}
}

// attach lets the Runtime API know the boot's address.
func (b *boot) attach(api *runtimeapi.Server) func(netip.Addr) {
	return func(a netip.Addr) {
		b.addr = a
		api.Attach(a, b.session)
	}
}
