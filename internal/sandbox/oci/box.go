package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/cgroup"
	"lambent.dev/lambent/internal/sandbox"
)

// box is a sandbox.Sandbox.
type box struct {
	rt      *Runtime
	id      string
	dir     string
	memory  int64
	group   *cgroup.Group
	process *os.File // pidfd of the sandbox process; nil until it runs
	scratch scratch  // what its scratch mounts are kept in

	done chan struct{}
	exit sandbox.Exit // written before done is closed

	mu      sync.Mutex // serialises freezing and ending
	ending  bool       // killed: freezing again would keep it alive
	deleted bool
}

var _ sandbox.Sandbox = (*box)(nil)

// ID implements sandbox.Sandbox.
func (b *box) ID() string { return b.id }

// Done implements sandbox.Sandbox.
func (b *box) Done() <-chan struct{} { return b.done }

// Exit implements sandbox.Sandbox.
func (b *box) Exit() sandbox.Exit {
	select {
	case <-b.done:
		return b.exit
	default:
		return sandbox.Exit{}
	}
}

// watch waits for the sandbox process, reaps it and records how it ended. It waits in
// the poller: thousands of sandboxes cost no threads.
func (b *box) watch() {
	var info unix.Siginfo
	status, err := waitPidfd(b.process, &info)
	oom, oomErr := b.group.OOMKills()
	if oomErr == nil && oom > 0 {
		b.exit.OOM = true
	}
	switch {
	case err != nil:
		b.rt.log.Error("waiting for a sandbox", "sandbox", b.id, "error", err)
		b.exit.Code = 255
	case status.signal != 0:
		b.exit.Signal, b.exit.Code = status.signal, 128+status.signal
	default:
		b.exit.Code = status.code
		// The sandbox process reports a signal that ended the code as shells do. A
		// command that exits with such a status itself cannot be told apart.
		if s := status.code - 128; s > 0 && s <= maxSignal {
			b.exit.Signal = s
		}
	}
	close(b.done)
}

const maxSignal = 64

// Freeze implements sandbox.Sandbox.
func (b *box) Freeze(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended() || b.ending {
		return sandbox.ErrExited
	}
	if err := b.group.Freeze(ctx); err != nil {
		// Half frozen helps nobody.
		return errors.Join(err, b.group.Thaw(context.WithoutCancel(ctx)))
	}
	return nil
}

// Thaw implements sandbox.Sandbox.
func (b *box) Thaw(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended() {
		return nil
	}
	return b.group.Thaw(ctx)
}

// SetCPU implements sandbox.Sandbox.
func (b *box) SetCPU(_ context.Context, milli int) error {
	return b.set("thousandths of a CPU", milli, 0, b.group.SetCPU)
}

// SetWeight implements sandbox.Sandbox.
func (b *box) SetWeight(_ context.Context, thousandths int) error {
	return b.set("thousandths of weight", thousandths, 1, b.group.SetWeight)
}

// SetSpare implements sandbox.Sandbox.
func (b *box) SetSpare(_ context.Context, cores int) error {
	return b.set("spared cores", cores, 0, b.group.SetSpare)
}

// set applies a number of something, which is least or more.
func (b *box) set(what string, n, least int, apply func(int) error) error {
	if n < least {
		return fmt.Errorf("%w: %d %s", sandbox.ErrInvalid, n, what)
	}
	if b.ended() {
		return sandbox.ErrExited
	}
	return apply(n)
}

// Stats implements sandbox.Sandbox.
func (b *box) Stats(context.Context) (sandbox.Stats, error) {
	if b.ended() {
		return sandbox.Stats{}, sandbox.ErrExited
	}
	s, err := b.group.Stats()
	if err != nil {
		return sandbox.Stats{}, err
	}
	return sandbox.Stats{MemoryBytes: b.used(s), CPUTime: s.CPU, ScratchBytes: b.scratch.size()}, nil
}

// used is the code's share of the group's memory. The code's own pages are shared
// memory to the host; the sandbox process's own are anonymous, and grow with what it
// does for the code.
func (b *box) used(s cgroup.Stats) int64 {
	n := s.Shmem + max(0, s.Anon+s.Kernel-b.rt.flavor.Base)
	if b.memory > 0 {
		n = min(n, b.memory)
	}
	return n
}

// Kill implements sandbox.Sandbox.
func (b *box) Kill(ctx context.Context) error {
	if err := b.kill(ctx); err != nil {
		return err
	}
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill sandbox %s: %w", b.id, ctx.Err())
	}
}

func (b *box) kill(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended() {
		return nil
	}
	b.ending = true
	return b.group.Kill(ctx)
}

// Delete implements sandbox.Sandbox.
func (b *box) Delete(ctx context.Context) error {
	if err := b.Kill(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deleted {
		return nil
	}
	if err := b.remove(ctx); err != nil {
		return fmt.Errorf("delete sandbox %s: %w", b.id, err)
	}
	return nil
}

// remove takes away what is left once the sandbox process is gone.
func (b *box) remove(ctx context.Context) error {
	if b.group != nil {
		if err := b.group.Delete(ctx); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	if b.process != nil {
		b.process.Close()
	}
	b.scratch.close()
	b.deleted = true
	b.rt.release(b)
	return nil
}

// abandon undoes a start that failed at any point.
func (b *box) abandon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if b.process != nil {
		return b.Delete(ctx)
	}
	if b.group != nil {
		orphans := b.orphans()
		err := b.group.Delete(ctx)
		for _, f := range orphans {
			reap(ctx, f)
		}
		if err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ending = true
	err := b.remove(ctx)
	close(b.done)
	return err
}

// orphans opens the processes in the group, which are our children once the runtime
// that started them is gone.
func (b *box) orphans() []*os.File {
	pids, err := b.group.Processes()
	if err != nil {
		return nil
	}
	var out []*os.File
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK); err == nil {
			out = append(out, os.NewFile(uintptr(fd), "pidfd"))
		}
	}
	return out
}

func (b *box) ended() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}
