// Package fake runs sandboxes as plain processes of the host, for tests of what is
// above package sandbox. It isolates nothing and must never be part of a release.
//
// It keeps the contract's behaviour over time - start, output, descriptors, exit,
// freezing, killing, deleting - and ignores what Capabilities denies: images, mounts,
// network, memory, CPU quota, user ids. A command is started in a process group of its
// own, and the group is what is frozen and killed.
package fake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/sandbox"
)

// Runtime is a sandbox.Runtime. The zero value is ready.
type Runtime struct {
	// Command maps a specification to what is started on the host; nil means the
	// first container's Args, whose first element is then a path of the host.
	Command func(sandbox.Spec) []string

	watchers lifecycle.Tasks
	mu       sync.Mutex
	live     map[string]*process
}

var _ sandbox.Runtime = (*Runtime)(nil)

// Capabilities implements sandbox.Runtime.
func (r *Runtime) Capabilities() sandbox.Capabilities { return sandbox.Capabilities{} }

// Sweep implements sandbox.Runtime. Nothing outlives a fake.
func (r *Runtime) Sweep(context.Context) error { return nil }

// Run implements sandbox.Runtime.
func (r *Runtime) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if len(spec.Containers) > 1 {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, sandbox.ErrUnsupported)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
	}
	p := &process{rt: r, spec: spec, done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.live[spec.ID]; ok {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, os.ErrExist)
	}
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
	}
	if r.live == nil {
		r.live = map[string]*process{}
	}
	r.live[spec.ID] = p
	r.watchers.Go("sandbox", p.watch)
	return p, nil
}

// Close deletes all sandboxes.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	var all []*process
	for _, p := range r.live {
		all = append(all, p)
	}
	r.mu.Unlock()
	var errs []error
	for _, p := range all {
		errs = append(errs, p.Delete(ctx))
	}
	r.watchers.Wait()
	return errors.Join(errs...)
}

// process is a sandbox.Sandbox.
type process struct {
	rt   *Runtime
	spec sandbox.Spec
	cmd  *exec.Cmd
	done chan struct{}
	exit sandbox.Exit
	mu   sync.Mutex // serialises freezing and killing
	dead bool       // killed: not to be frozen again
}

func (p *process) start() error {
	c := p.spec.Containers[0]
	args := c.Args
	if p.rt.Command != nil {
		args = p.rt.Command(p.spec)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = append([]string{}, c.Env...)
	cmd.Dir = c.Cwd
	cmd.ExtraFiles = c.Files
	// A typed nil would not be the null device.
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd = cmd
	return cmd.Start()
}

func (p *process) watch() {
	_ = p.cmd.Wait() // the state says it all
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		p.exit.Signal = int(status.Signal())
		p.exit.Code = 128 + p.exit.Signal
	} else {
		p.exit.Code = status.ExitStatus()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	p.signal(syscall.SIGKILL) // what the command has left behind
	close(p.done)
}

// signal sends to the whole group.
func (p *process) signal(s syscall.Signal) error {
	err := syscall.Kill(-p.cmd.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// ID implements sandbox.Sandbox.
func (p *process) ID() string { return p.spec.ID }

// Done implements sandbox.Sandbox.
func (p *process) Done() <-chan struct{} { return p.done }

// Exit implements sandbox.Sandbox.
func (p *process) Exit() sandbox.Exit {
	if !p.ended() {
		return sandbox.Exit{}
	}
	return p.exit
}

// Freeze implements sandbox.Sandbox.
func (p *process) Freeze(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return sandbox.ErrExited
	}
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for !p.stopped() {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.signal(syscall.SIGCONT))
		case <-time.After(100 * time.Microsecond):
		}
	}
	return nil
}

// stopped reports whether the command is stopped, or gone.
func (p *process) stopped() bool {
	fields := p.stat()
	return fields == nil || fields[0] == "T" || fields[0] == "Z"
}

// stat returns the fields of /proc/<pid>/stat from the state on.
func (p *process) stat() []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return nil
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	if !ok {
		return nil
	}
	return strings.Fields(rest)
}

// Thaw implements sandbox.Sandbox.
func (p *process) Thaw(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return nil
	}
	return p.signal(syscall.SIGCONT)
}

// SetCPU implements sandbox.Sandbox; it changes nothing.
func (p *process) SetCPU(_ context.Context, milli int) error { return p.set(milli, 0) }

// SetWeight implements sandbox.Sandbox; it changes nothing.
func (p *process) SetWeight(_ context.Context, thousandths int) error { return p.set(thousandths, 1) }

// SetSpare implements sandbox.Sandbox; it changes nothing.
func (p *process) SetSpare(_ context.Context, cores int) error { return p.set(cores, 0) }

// set is the answer to a number that has to be least or more.
func (p *process) set(n, least int) error {
	switch {
	case n < least:
		return sandbox.ErrInvalid
	case p.ended():
		return sandbox.ErrExited
	}
	return nil
}

// Stats implements sandbox.Sandbox, for the command's first process.
func (p *process) Stats(context.Context) (sandbox.Stats, error) {
	const utime, stime, rss = 11, 12, 21 // after the state, see proc(5)
	f := p.stat()
	if p.ended() || len(f) <= rss {
		return sandbox.Stats{}, sandbox.ErrExited
	}
	number := func(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
	const tick = 10 * time.Millisecond // USER_HZ is 100
	s := sandbox.Stats{
		CPUTime:     time.Duration(number(f[utime])+number(f[stime])) * tick,
		MemoryBytes: number(f[rss]) * int64(os.Getpagesize()),
	}
	if m := p.spec.Memory; m > 0 {
		s.MemoryBytes = min(s.MemoryBytes, m)
	}
	return s, nil
}

// Kill implements sandbox.Sandbox. SIGKILL needs no thaw.
func (p *process) Kill(ctx context.Context) error {
	p.mu.Lock()
	dead := p.dead
	p.dead = true
	var err error
	if !dead {
		err = p.signal(syscall.SIGKILL)
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill sandbox %s: %w", p.spec.ID, ctx.Err())
	}
}

// Delete implements sandbox.Sandbox.
func (p *process) Delete(ctx context.Context) error {
	if err := p.Kill(ctx); err != nil {
		return err
	}
	p.rt.mu.Lock()
	defer p.rt.mu.Unlock()
	if p.rt.live[p.spec.ID] == p {
		delete(p.rt.live, p.spec.ID)
	}
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
