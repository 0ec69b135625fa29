package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/cgroup"
	"lambent.dev/lambent/internal/sandbox"
)

// Names in a sandbox's directory.
const (
	configFile = "config.json" // fixed by the OCI specification
	pidFile    = "pid"
	stateDir   = "state" // the runtime's own
	emptyDir   = "empty"
)

const (
	// maxScratch is how many scratch mounts a container can have (runsc/boot.go).
	maxScratch = 16

	// maxTasks bounds a sandbox's threads on the host. Generous: the sandbox process
	// dies when it gets no thread. RLIMIT_NPROC bounds the code.
	maxTasks = 16384

	// undoTimeout bounds what is done after a failure, when the caller's context
	// may be over and the host must be left clean all the same.
	undoTimeout = 10 * time.Second
)

// Run implements sandbox.Runtime.
func (r *Runtime) Run(ctx context.Context, spec sandbox.Spec) (_ sandbox.Sandbox, err error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if err := r.supports(spec); err != nil {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
	}
	b := &box{
		rt: r, id: spec.ID, dir: filepath.Join(r.dir, spec.ID),
		memory: spec.Memory, done: make(chan struct{}),
	}
	if err := r.reserve(b); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start sandbox %s: %w", spec.ID, err)
			err = errors.Join(err, b.abandon(ctx))
		}
	}()
	if err := b.prepare(spec); err != nil {
		return nil, err
	}
	limits := cgroup.Limits{CPU: spec.CPU, Weight: spec.Weight, Spare: spec.Spare, PIDs: maxTasks}
	if spec.Memory > 0 {
		limits.Memory = spec.Memory + r.flavor.Overhead
	}
	if b.group, err = r.groups.Create(spec.ID, limits); err != nil {
		return nil, err
	}
	if err := b.start(ctx, spec); err != nil {
		return nil, err
	}
	return b, nil
}

// supports refuses what the flavour, or this driver, cannot do.
func (r *Runtime) supports(spec sandbox.Spec) error {
	switch {
	case len(spec.Containers) > 1:
		return fmt.Errorf("%d containers: %w", len(spec.Containers), sandbox.ErrUnsupported)
	case spec.NetNS != "" && !r.flavor.Capabilities.Network:
		return fmt.Errorf("a network: %w", sandbox.ErrUnsupported)
	case scratches(spec.Containers[0]) > maxScratch:
		return fmt.Errorf("more than %d scratch mounts: %w", maxScratch, sandbox.ErrUnsupported)
	}
	return nil
}

// prepare writes the sandbox's directory.
func (b *box) prepare(spec sandbox.Spec) error {
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return err
	}
	for _, d := range []string{stateDir, emptyDir} {
		if err := os.Mkdir(filepath.Join(b.dir, d), 0o711); err != nil {
			return err
		}
	}
	for i := range scratches(spec.Containers[0]) {
		if err := os.Mkdir(filepath.Join(b.dir, emptyDir, strconv.Itoa(i)), 0o711); err != nil {
			return err
		}
	}
	data, err := json.Marshal(config(spec, b.dir))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dir, configFile), data, 0o600)
}

// start runs the runtime's "run --detach" and takes over its child.
func (b *box) start(ctx context.Context, spec sandbox.Spec) error {
	inv, err := b.invocation(spec)
	if err != nil {
		return err
	}
	defer inv.close()
	cmd := inv.command(ctx)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", b.rt.flavor.Name, err, inv.output())
	}
	if err := b.forget(); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(b.dir, pidFile))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(raw)))
	if err != nil {
		return fmt.Errorf("parse pid: %w", err)
	}
	// The process is our child now, alive or a zombie: the number is its own.
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	b.process = os.NewFile(uintptr(fd), "pidfd")
	b.rt.watchers.Go("sandbox", b.watch)
	return nil
}

// forget removes what has the code's variables, credentials among them: the configuration, and
// the copy of it in the runtime's own state. Nobody reads them again: whatever comes is done by
// control groups and signals. They were not synced, so most never were on the disk.
func (b *box) forget() error {
	if err := os.Remove(filepath.Join(b.dir, configFile)); err != nil {
		return err
	}
	dir := filepath.Join(b.dir, stateDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".state" {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
