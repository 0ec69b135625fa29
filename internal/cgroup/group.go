package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Group is one control group.
type Group struct {
	drv  driver
	name string
}

// Placement tells how a process is started inside a group. Exactly one is set.
type Placement struct {
	// Dirs are the version 1 directories a thread joins by writing "0" to their
	// file "tasks" before it forks.
	Dirs []string
	// Dir is a version 2 directory for clone3's CLONE_INTO_CGROUP.
	Dir *os.File
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// Placement returns how to start a process in the group. The caller closes Dir.
func (g *Group) Placement() (Placement, error) { return g.drv.placement(g.name) }

// SetMemory limits memory, without swap; 0 means unlimited.
func (g *Group) SetMemory(n int64) error {
	if n == 0 {
		return nil // the state of a new group
	}
	if err := g.drv.setMemory(g.name, n); err != nil {
		return fmt.Errorf("limit memory of %s: %w", g.name, err)
	}
	return nil
}

// SetWeight sets Limits.Weight, which is above 0.
func (g *Group) SetWeight(thousandths int) error {
	if err := g.drv.setWeight(g.name, thousandths); err != nil {
		return fmt.Errorf("weigh %s: %w", g.name, err)
	}
	return nil
}

// SetSpare sets Limits.Spare; 0 takes it back. It does nothing on hosts without the cpuset
// controller.
func (g *Group) SetSpare(n int) error {
	all, err := g.drv.cpus("")
	if err != nil || all == "" {
		return err
	}
	list, err := without(all, n)
	if err == nil {
		err = g.drv.setCPUs(g.name, list)
	}
	if err != nil {
		return fmt.Errorf("choose CPUs of %s: %w", g.name, err)
	}
	return nil
}

// SetCPU limits CPU time, in thousandths of a CPU; 0 means unlimited.
func (g *Group) SetCPU(milli int) error {
	quota := period * time.Duration(milli) / 1000
	if milli > 0 {
		quota = max(quota, minQuota)
	}
	if err := g.drv.setCPU(g.name, quota); err != nil {
		return fmt.Errorf("limit CPU of %s: %w", g.name, err)
	}
	return nil
}

// Freeze stops all tasks and returns when they are stopped.
func (g *Group) Freeze(ctx context.Context) error {
	err := poll(ctx, func() (bool, error) {
		// Written again each time: version 1 gives up on a task that was being
		// created and wants to be asked again.
		if err := g.drv.freeze(g.name, true); err != nil {
			return false, err
		}
		return g.drv.frozen(g.name)
	})
	if err != nil {
		return fmt.Errorf("freeze %s: %w", g.name, err)
	}
	return nil
}

// Thaw lets the tasks go on.
func (g *Group) Thaw(context.Context) error {
	if err := g.drv.freeze(g.name, false); err != nil {
		return fmt.Errorf("thaw %s: %w", g.name, err)
	}
	return nil
}

// OOMKills counts the processes that the kernel killed for want of memory.
func (g *Group) OOMKills() (int, error) { return g.drv.oomKills(g.name) }

// Stats measures the group.
func (g *Group) Stats() (Stats, error) {
	s, err := g.drv.stats(g.name)
	if err != nil {
		return Stats{}, fmt.Errorf("measure %s: %w", g.name, err)
	}
	return s, nil
}

// Processes lists the group's processes.
func (g *Group) Processes() ([]int, error) {
	b, err := os.ReadFile(filepath.Join(g.drv.procsDir(g.name), "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range bytes.Fields(b) {
		// 0 is a process outside our PID namespace.
		if pid, err := strconv.Atoi(string(f)); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Kill ends every process of the group, frozen or not: the signal is sent before the
// thaw, so that no code runs in between. It returns when the signals are sent.
func (g *Group) Kill(ctx context.Context) error {
	err := errors.Join(g.drv.kill(g.name), g.drv.freeze(g.name, false))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kill %s: %w", g.name, err)
	}
	return nil
}

// Delete kills what is left in the group and removes it. Deleting what does not exist
// does nothing. When ctx has no deadline, it gives up after ten seconds.
func (g *Group) Delete(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
	}
	dirs := g.drv.dirs(g.name)
	// A process that is being forked or exits shortly holds the directory.
	err := poll(ctx, func() (bool, error) {
		err := removeDirs(dirs)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			return false, err
		}
		return false, g.Kill(ctx)
	})
	if err != nil {
		return fmt.Errorf("delete control group %s: %w", g.name, err)
	}
	return nil
}

// killAll sends SIGKILL to the processes in the order they are listed.
func killAll(g *Group) error {
	pids, err := g.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		// A number cannot be reused between listing and signal in any way that
		// matters: the process would have to end and another start in microseconds
		// with PID space wrapping round.
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// poll calls step until it says true, at growing intervals from 50 us to 5 ms.
func poll(ctx context.Context, step func() (bool, error)) error {
	for wait := 50 * time.Microsecond; ; wait = min(wait*2, 5*time.Millisecond) {
		ok, err := step()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
