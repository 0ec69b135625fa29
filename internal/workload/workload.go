// Package workload turns a description of code to run into a running sandbox with a network
// address, limits and an output, and takes all of it away again.
//
// A Machine starts workloads; a Workload is one of them. Start either returns a running
// workload or leaves nothing behind. Stop removes everything; it may be called again, from any
// goroutine, and after an error it goes on where it stopped. What a killed server left is
// removed by Machine.Sweep at the next start. All methods are safe for concurrent use.
package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"lambent.dev/lambent/internal/network"
	"lambent.dev/lambent/internal/sandbox"
)

// undoTimeout bounds the removal of one workload. Removal goes on when the caller's context has
// ended: whoever cancelled a start still wants nothing to remain.
const undoTimeout = 30 * time.Second

// Network is what a Machine needs of network.Network.
type Network interface {
	Attach(ctx context.Context, id string) (*network.Endpoint, error)
	Detach(ctx context.Context, id string) error
}

var _ Network = (*network.Network)(nil)

// Machine starts workloads on this node.
type Machine struct {
	// Sandbox runs them.
	Sandbox sandbox.Runtime
	// Network attaches them. Nil gives them none: no namespace, no address.
	Network Network
	// Now is the clock phases are timed by; default time.Now.
	Now func() time.Time
}

// Spec describes a workload of one container.
type Spec struct {
	// ID names the workload on this machine: its sandbox, its network, its files.
	ID string
	// Hostname is what the code sees; default ID.
	Hostname string
	// RootFS is the EROFS image of the root file system.
	RootFS string
	// Mounts are further images and scratch directories.
	Mounts []sandbox.Mount
	// Scratch is the size of a writable /tmp in bytes; 0 = none.
	Scratch   int64
	Args, Env []string
	Cwd       string
	UID, GID  uint32
	Rlimits   []sandbox.Rlimit
	// Memory is what the code may use, in bytes.
	Memory int64
	// CPU is the quota in thousandths of a core, 0 = none; CPUs the number of cores shown.
	CPU, CPUs int
	// Weight is the part of the CPUs against other workloads when there are not enough for all,
	// in thousandths of the usual; 0 is the usual.
	Weight int
	// Spare is how many of the host's cores, the first ones, the workload leaves to others.
	Spare int
	// Output takes standard output and standard error; Files become descriptors 3, 4, ...
	// The caller keeps both and may close them when Start has returned.
	Output *os.File
	Files  []*os.File
	// OnAddress is told the workload's address before its code runs, so that the agent knows
	// the first request that comes from it. It is not called without a network.
	OnAddress func(netip.Addr)
}

// Phases says how long the parts of a start took.
type Phases struct {
	Attach time.Duration // the network
	Boot   time.Duration // the sandbox, until its code was started
}

// Workload is a running workload. The methods of its sandbox are its own, but for Delete: that
// is Stop, which takes the network too.
type Workload struct {
	box     sandbox.Sandbox
	machine *Machine
	addr    netip.Addr
	phases  Phases

	mu      sync.Mutex
	deleted bool // the sandbox is gone
	stopped bool // and so is the network
}

// Start starts a workload. On error nothing of it remains; if that could not be had, the error
// says so and Sweep will do it.
func (m *Machine) Start(ctx context.Context, spec Spec) (w *Workload, err error) {
	w = &Workload{machine: m}
	var netns string
	if m.Network != nil {
		began := m.now()
		end, err := m.Network.Attach(ctx, spec.ID)
		if err != nil {
			return nil, fmt.Errorf("start workload %s: %w", spec.ID, err)
		}
		netns, w.addr = end.NetNS, end.Addr
		w.phases.Attach = m.now().Sub(began)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start workload %s: %w", spec.ID, errors.Join(err, m.detach(ctx, spec.ID)))
			w = nil
		}
	}()
	if w.addr.IsValid() && spec.OnAddress != nil {
		spec.OnAddress(w.addr)
	}
	began := m.now()
	w.box, err = m.Sandbox.Run(ctx, spec.sandbox(netns))
	w.phases.Boot = m.now().Sub(began)
	return w, err
}

// Sweep removes what earlier runs of this server instance left: sandboxes first, since a
// network whose sandbox lives cannot be taken from it cleanly. The network is swept by
// network.Open.
func (m *Machine) Sweep(ctx context.Context) error {
	if err := m.Sandbox.Sweep(ctx); err != nil {
		return fmt.Errorf("sweep sandboxes: %w", err)
	}
	return nil
}

// detach undoes Attach, under a context of its own (see undoTimeout).
func (m *Machine) detach(ctx context.Context, id string) error {
	if m.Network == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return m.Network.Detach(ctx, id)
}

func (m *Machine) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

// sandbox is the spec in the sandbox runtime's words.
func (s Spec) sandbox(netns string) sandbox.Spec {
	hostname := s.Hostname
	if hostname == "" {
		hostname = s.ID
	}
	mounts := s.Mounts
	if s.Scratch > 0 {
		mounts = append(mounts[:len(mounts):len(mounts)], sandbox.Mount{Destination: "/tmp", Scratch: s.Scratch})
	}
	return sandbox.Spec{
		ID: s.ID, Hostname: hostname, NetNS: netns,
		Memory: s.Memory, CPUs: s.CPUs, CPU: s.CPU, Weight: s.Weight, Spare: s.Spare,
		Containers: []sandbox.Container{{
			Name: "app", RootFS: s.RootFS, Mounts: mounts,
			Args: s.Args, Env: s.Env, Cwd: s.Cwd, UID: s.UID, GID: s.GID, Rlimits: s.Rlimits,
			Stdout: s.Output, Stderr: s.Output, Files: s.Files,
		}},
	}
}

// ID is the workload's id on this machine.
func (w *Workload) ID() string { return w.box.ID() }

// Addr is the workload's address, invalid without a network.
func (w *Workload) Addr() netip.Addr { return w.addr }

// Phases says how long the parts of the start took.
func (w *Workload) Phases() Phases { return w.phases }

// Done is closed when the code or its sandbox has ended.
func (w *Workload) Done() <-chan struct{} { return w.box.Done() }

// Exit says how it ended; valid after Done.
func (w *Workload) Exit() sandbox.Exit { return w.box.Exit() }

// Freeze stops all of the workload's threads where they are.
func (w *Workload) Freeze(ctx context.Context) error { return w.box.Freeze(ctx) }

// Thaw lets them go on.
func (w *Workload) Thaw(ctx context.Context) error { return w.box.Thaw(ctx) }

// SetCPU sets the quota in thousandths of a core; 0 = none.
func (w *Workload) SetCPU(ctx context.Context, milli int) error { return w.box.SetCPU(ctx, milli) }

// SetWeight sets Spec.Weight.
func (w *Workload) SetWeight(ctx context.Context, thousandths int) error {
	return w.box.SetWeight(ctx, thousandths)
}

// SetSpare sets Spec.Spare.
func (w *Workload) SetSpare(ctx context.Context, cores int) error { return w.box.SetSpare(ctx, cores) }

// Stats says what the workload uses.
func (w *Workload) Stats(ctx context.Context) (sandbox.Stats, error) { return w.box.Stats(ctx) }

// Kill ends the code at once; Done follows. Stop is still to be called.
func (w *Workload) Kill(ctx context.Context) error { return w.box.Kill(ctx) }

// Stop kills what still runs and removes every trace of the workload. The address is given up
// last: as long as the sandbox lives no other may get it.
func (w *Workload) Stop(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if !w.deleted {
		if err := w.box.Delete(ctx); err != nil {
			return fmt.Errorf("stop workload %s: %w", w.ID(), err)
		}
		w.deleted = true
	}
	if w.machine.Network != nil {
		if err := w.machine.Network.Detach(ctx, w.ID()); err != nil {
			return fmt.Errorf("stop workload %s: %w", w.ID(), err)
		}
	}
	w.stopped = true
	return nil
}
