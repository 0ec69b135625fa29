// Package cgroup gives every sandbox a control group of its own: limits, freezing,
// measurements and the certain end of all its processes.
//
// A Hierarchy is the part of the host's control groups that one server instance owns:
// <mount>/lambent/<instance>/<name> in every hierarchy that is used. It works with
// version 1 and hybrid hosts (one hierarchy per controller) and with version 2 (one
// for all) behind the same methods. A Group is one control group of it.
//
// Nothing outside <mount>/lambent/<instance> is ever changed, except that version 2
// needs the controllers enabled on the way down. All methods may be called
// concurrently; methods of a deleted group return fs.ErrNotExist.
package cgroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// parent holds the instances of this program on the host.
	parent = "lambent"

	// period of the CPU quota. Short, so that a throttled request waits little.
	period = 20 * time.Millisecond

	// minQuota is the least that the kernel accepts for one period.
	minQuota = time.Millisecond
)

// ErrUnavailable is returned by Open on hosts without the controllers we need.
var ErrUnavailable = errors.New("control groups are not available")

// Config is what Open needs.
type Config struct {
	// Instance names the server instance.
	Instance string
	// MountInfo is the file that lists mounts; "" means /proc/self/mountinfo.
	MountInfo string
}

// Limits of a group. Zero fields are unlimited.
type Limits struct {
	Memory int64 // bytes, of memory of every kind; swap is never allowed
	CPU    int   // thousandths of a CPU
	PIDs   int   // tasks
	// Weight is the part of the CPUs that the group gets against others of the instance when
	// there are not enough for all: in thousandths of what one gets by default.
	Weight int
	// Spare is how many CPUs, the first of those that the instance may use, the group leaves to
	// others. One that would have none keeps all.
	Spare int
}

// Stats are measurements of a group.
type Stats struct {
	Anon   int64 // anonymous memory, bytes
	Shmem  int64 // shared memory and tmpfs, bytes
	Kernel int64 // kernel memory that cannot be reclaimed, bytes
	CPU    time.Duration
	Tasks  int
}

// driver is one version of the kernel's interface. Names are below the instance; the
// empty name is the instance itself.
type driver interface {
	create(name string) error
	// dirs returns the group's directory in every hierarchy.
	dirs(name string) []string
	// procsDir is the directory whose cgroup.procs lists the group's processes.
	procsDir(name string) string
	setMemory(name string, bytes int64) error
	setCPU(name string, quota time.Duration) error // 0 = none
	setPIDs(name string, n int) error
	setWeight(name string, thousandths int) error
	// cpus reads which CPUs the group may use, and setCPUs sets it; "" where the host cannot.
	cpus(name string) (string, error)
	setCPUs(name, list string) error
	freeze(name string, on bool) error
	frozen(name string) (bool, error)
	oomKills(name string) (int, error)
	stats(name string) (Stats, error)
	kill(name string) error
	placement(name string) (Placement, error)
}

// Hierarchy is an instance's part of the host's control groups.
type Hierarchy struct {
	drv     driver
	version int
}

// Open finds the host's control groups and makes the instance's own.
func Open(cfg Config) (*Hierarchy, error) {
	if cfg.Instance == "" || strings.ContainsAny(cfg.Instance, "/:") {
		return nil, fmt.Errorf("open control groups: instance %q", cfg.Instance)
	}
	path := cfg.MountInfo
	if path == "" {
		path = "/proc/self/mountinfo"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open control groups: %w", err)
	}
	defer f.Close()
	m, err := parseMountInfo(f)
	if err != nil {
		return nil, fmt.Errorf("open control groups: %w", err)
	}
	h, err := choose(m, filepath.Join(parent, cfg.Instance))
	if err != nil {
		return nil, err
	}
	if err := h.drv.create(""); err != nil {
		return nil, fmt.Errorf("create control groups of instance %s: %w", cfg.Instance, err)
	}
	return h, nil
}

// Version is 1 or 2.
func (h *Hierarchy) Version() int { return h.version }

// Create makes a group with its limits. It must not exist.
func (h *Hierarchy) Create(name string, l Limits) (_ *Group, err error) {
	if name == "" || strings.ContainsAny(name, "/:") || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("create control group: name %q", name)
	}
	if err := h.drv.create(name); err != nil {
		return nil, fmt.Errorf("create control group %s: %w", name, err)
	}
	g := &Group{drv: h.drv, name: name}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeDirs(h.drv.dirs(name)))
		}
	}()
	if err := g.SetMemory(l.Memory); err != nil {
		return nil, err
	}
	if err := g.SetCPU(l.CPU); err != nil {
		return nil, err
	}
	// The kernel's own default is another number in either version.
	if err := g.SetWeight(cmp.Or(l.Weight, 1000)); err != nil {
		return nil, err
	}
	if l.Spare > 0 {
		if err := g.SetSpare(l.Spare); err != nil {
			return nil, err
		}
	}
	if l.PIDs > 0 {
		if err := h.drv.setPIDs(name, l.PIDs); err != nil {
			return nil, fmt.Errorf("limit tasks of %s: %w", name, err)
		}
	}
	return g, nil
}

// Group returns the group of that name, which need not exist.
func (h *Hierarchy) Group(name string) *Group { return &Group{drv: h.drv, name: name} }

// Groups lists the names of the instance's groups. A group that was half deleted is
// listed too.
func (h *Hierarchy) Groups() ([]string, error) {
	names := map[string]bool{}
	for _, dir := range h.drv.dirs("") {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list control groups: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				names[e.Name()] = true
			}
		}
	}
	out := make([]string, 0, len(names))
	for n := range names {
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}

// Instances lists the instances that have control groups on this host.
func (h *Hierarchy) Instances() ([]string, error) {
	var out []string
	for _, dir := range h.drv.dirs("") {
		entries, err := os.ReadDir(filepath.Dir(dir))
		if err != nil {
			return nil, fmt.Errorf("list instances: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				out = append(out, e.Name())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Close removes the instance's own directories. It fails when groups exist.
func (h *Hierarchy) Close() error { return removeDirs(h.drv.dirs("")) }

// Sweep kills and deletes every group of the instance for which keep is false.
func (h *Hierarchy) Sweep(ctx context.Context, keep func(name string) bool) error {
	names, err := h.Groups()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		if keep == nil || !keep(n) {
			errs = append(errs, h.Group(n).Delete(ctx))
		}
	}
	return errors.Join(errs...)
}

// removeDirs removes empty groups, ignoring those that are gone.
func removeDirs(dirs []string) error {
	var errs []error
	for _, d := range dirs {
		if err := syscall.Rmdir(d); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, &os.PathError{Op: "rmdir", Path: d, Err: err})
		}
	}
	return errors.Join(errs...)
}
