package environment

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"lambent.dev/lambent/internal/lambda/environment/runtimeapi"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/workload"
)

const (
	// memoryPerCore is how many MB of memory buy one core.
	memoryPerCore = 1769
	// maxFiles and maxProcesses are AWS's limits of an environment.
	maxFiles, maxProcesses = 1024, 1024
	// lastWords is how long a runtime that has reported a failed initialisation may take to
	// print what it has to say and exit.
	lastWords = 200 * time.Millisecond
	// sampleEvery is how often a busy environment is measured.
	sampleEvery = 100 * time.Millisecond
)

// boot is one life of the environment's sandbox: it has a second one if initialisation failed.
type boot struct {
	workload Workload
	session  *runtimeapi.Session
	api      *runtimeapi.Server
	addr     netip.Addr
	pipes    []*pipe
	began    time.Time // when the code was started
	appetite appetite
	tenant   *tenant
	gone     sync.Once
	goneErr  error
}

// share is the CPU quota that memory buys, in thousandths of a core.
func share(memory int) int { return max(memory*1000/memoryPerCore, 1) }

// cores is how many CPUs code with this much memory sees.
//
// AWS: never fewer than two.
func cores(memory int) int { return max(2, (memory+memoryPerCore-1)/memoryPerCore) }

// launch starts the sandbox of the environment. On error nothing remains.
func (e *Environment) launch(ctx context.Context) (b *boot, err error) {
	b = &boot{session: runtimeapi.NewSession(), api: e.cfg.API, tenant: e.cfg.Reserve.enter()}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.remove(ctx))
		}
	}()
	spec, err := e.workloadSpec(b)
	if err != nil {
		return b, err
	}
	b.workload, err = e.cfg.Start(ctx, spec)
	b.began = time.Now()
	if err != nil {
		return b, err
	}
	b.tenant.started(b.workload)
	output := context.WithoutCancel(ctx) // the pipes live as long as the sandbox
	for _, p := range b.pipes {
		_ = p.write.Close() // the sandbox has it now; its end is the end of the output
		e.tasks.Go("environment output", func() { p.pump(output) })
	}
	e.tasks.Go("environment watch", func() { e.watch(b) })
	return b, nil
}

// workloadSpec describes the sandbox; its pipes are in b.
func (e *Environment) workloadSpec(b *boot) (workload.Spec, error) {
	limit := []*Rate{NewRate(e.cfg.LogRate)}
	if e.cfg.NodeLogs != nil {
		limit = append(limit, e.cfg.NodeLogs)
	}
	out, err := newPipe(e.stream, &lines{}, limit, e.cfg.Now)
	if err != nil {
		return workload.Spec{}, err
	}
	b.pipes = append(b.pipes, out)
	var files []*os.File
	if e.bundle.Telemetry {
		framed, err := newPipe(e.stream, &frames{}, limit, e.cfg.Now)
		if err != nil {
			return workload.Spec{}, err
		}
		b.pipes = append(b.pipes, framed)
		files = append(files, framed.write)
	}
	e.boots++
	return workload.Spec{
		ID: fmt.Sprintf("%s-%d", e.id, e.boots), Hostname: "sandbox",
		RootFS: e.bundle.RootFS, Mounts: e.bundle.Mounts, Scratch: int64(e.fn.EphemeralStorage) << 20,
		Args: e.bundle.Args, Env: e.env, Cwd: e.bundle.Cwd, UID: e.bundle.UID, GID: e.bundle.GID,
		Rlimits: []sandbox.Rlimit{
			{Type: "RLIMIT_NOFILE", Soft: maxFiles, Hard: maxFiles},
			{Type: "RLIMIT_NPROC", Soft: maxProcesses, Hard: maxProcesses},
		},
		Memory: int64(e.fn.Memory) << 20, CPUs: cores(e.fn.Memory),
		// Initialisation is boosted, as on AWS: to all the cores that the code sees. At one core,
		// the sandbox's own threads beside the code's spend it early in every period, and nearly
		// every boot stands still for 10 ms once or more.
		CPU: cores(e.fn.Memory) * 1000,
		// What is boosted takes nothing from who has paid: it starts behind (see weigh).
		Weight: weight(e.fn.Memory, false), Spare: b.tenant.spare,
		Output: out.write, Files: files, OnAddress: b.attach(e.cfg.API),
	}, nil
}

// watch makes the environment dead when its sandbox ends by itself while it waits.
func (e *Environment) watch(b *boot) {
	<-b.workload.Done()
	e.mu.Lock()
	waiting := e.boot == b && !e.busy
	e.mu.Unlock()
	if waiting {
		e.die()
	}
}

// initialise is the init phase.
func (e *Environment) initialise(ctx context.Context) error {
	if e.bundle.RuntimeVersion != "" { // AWS: container images have none, and no such line
		e.stream.append(ctx, LogEvent{e.cfg.Now(), initStartLine(e.bundle.RuntimeVersion, e.bundle.RuntimeARN)})
	}
	b, err := e.launch(ctx)
	if err != nil {
		return err
	}
	f, took, err := e.awaitInit(ctx, b, e.cfg.InitTimeout)
	e.initTook = took
	if err != nil {
		return errors.Join(err, b.remove(ctx))
	}
	if f.status != "" {
		e.endInit(ctx, b, "init", took, f)
		return b.remove(ctx)
	}
	return e.begin(ctx, b)
}

// begin makes b, whose runtime is initialised, the environment's sandbox.
func (e *Environment) begin(ctx context.Context, b *boot) error {
	b.tenant.run(false)
	e.sample(ctx, b, 0, true) // a crash leaves no time to measure
	e.mu.Lock()
	e.boot = b
	waiting := !e.busy
	e.mu.Unlock()
	if waiting && b.ended() {
		e.die() // between its first request and now; watch may have looked too early
	}
	return nil
}

// firstBoost is how long the first invocation goes on at the speed of initialisation: what a
// runtime loads for its first event is part of the start that a caller waits for.
const firstBoost = 100 * time.Millisecond

// boost leaves the sandbox the CPU of initialisation for firstBoost; end takes it away earlier.
func (e *Environment) boost(ctx context.Context, b *boot) (end func()) {
	var once sync.Once
	settle := func() {
		once.Do(func() {
			err := b.workload.SetCPU(ctx, share(e.fn.Memory))
			if err != nil && !errors.Is(err, sandbox.ErrExited) {
				e.log.Error("set CPU share", "error", err)
				e.die() // it must not run on without a limit
			}
		})
	}
	t := time.AfterFunc(firstBoost, settle)
	return func() {
		t.Stop()
		settle()
	}
}

// awaitInit waits until the runtime is initialised or has failed; an error means that ctx
// ended.
func (e *Environment) awaitInit(ctx context.Context, b *boot, limit time.Duration) (failure, time.Duration, error) {
	deadline := time.NewTimer(time.Until(b.began.Add(limit)))
	defer deadline.Stop()
	select {
	case <-b.session.Initialised():
	case <-b.workload.Done():
	case <-deadline.C:
	case <-ctx.Done():
		return failure{}, time.Since(b.began), ctx.Err()
	}
	took := max(time.Since(b.began), time.Microsecond)
	// Whatever woke us, the runtime's own word comes first.
	select {
	case <-b.session.Initialised():
		report := b.session.InitFailure()
		if report == nil {
			return failure{}, took, nil
		}
		e.sample(ctx, b, 0, false) // it is about to exit
		e.hear(b)
		f := failure{status: statusError, kind: report.ErrorType, body: report.Body}
		if len(report.Body) == 0 {
			f.body, f.reason = nil, "Runtime exited without providing a reason"
		}
		return f, took, nil
	default:
	}
	select {
	case <-b.workload.Done():
		return notStarted(b.workload.Exit()), took, nil
	default:
		return timedOut(limit), took, nil
	}
}

// hear gives a runtime that has reported its failure time to print it and exit.
func (e *Environment) hear(b *boot) {
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-b.workload.Done():
	case <-t.C:
	}
}

// endInit kills what failed to initialise and completes its log.
func (e *Environment) endInit(ctx context.Context, b *boot, phase string, took time.Duration, f failure) {
	e.sample(ctx, b, 0, false)
	e.kill(ctx, b)
	b.drain(ctx)
	e.stream.append(ctx, LogEvent{e.cfg.Now(), initReportLine(phase, took, f)})
}

// kill ends the sandbox's code and waits until it has ended.
func (e *Environment) kill(ctx context.Context, b *boot) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killing)
	defer cancel()
	if err := b.workload.Kill(ctx); err != nil {
		e.log.Warn("sandbox is hard to kill", "error", err)
		return // remove tries again and has the last word
	}
	select {
	case <-b.workload.Done():
	case <-ctx.Done():
	}
}

// ended reports whether the sandbox's code has ended.
func (b *boot) ended() bool {
	select {
	case <-b.workload.Done():
		return true
	default:
		return false
	}
}

// drain completes the log of what the sandbox has printed so far.
func (b *boot) drain(ctx context.Context) {
	for _, p := range b.pipes {
		p.drain(ctx)
	}
}

// catchUp puts what the sandbox has printed so far into the log.
func (b *boot) catchUp(ctx context.Context) {
	for _, p := range b.pipes {
		p.catchUp(ctx)
	}
}

// remove takes the sandbox away, its address and its pipes. Idempotent.
func (b *boot) remove(ctx context.Context) error {
	b.gone.Do(func() {
		b.session.Close()
		b.tenant.leave()
		if b.workload != nil {
			b.goneErr = b.workload.Stop(ctx)
		}
		if b.addr.IsValid() {
			b.api.Detach(b.addr, b.session)
		}
		for _, p := range b.pipes {
			p.close()
		}
	})
	return b.goneErr
}
