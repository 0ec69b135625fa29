package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// v2 is the unified hierarchy.
type v2 struct {
	root string // mount point
	base string // the instance, relative to root

	cpuset bool // the host has the controller
}

func (d *v2) path(name, file string) string {
	return filepath.Join(d.root, d.base, name, file)
}

func (d *v2) dirs(name string) []string { return []string{d.path(name, "")} }

func (d *v2) procsDir(name string) string { return d.path(name, "") }

func (d *v2) create(name string) error {
	if name != "" {
		return os.Mkdir(d.path(name, ""), 0o755)
	}
	// Controllers are enabled for children by each directory above them.
	dir := d.root
	for _, part := range strings.Split(filepath.ToSlash(d.base), "/") {
		if err := d.enable(dir); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return d.enable(dir)
}

// enable turns on the controllers that we need for the groups in dir, and cpuset if that works.
func (d *v2) enable(dir string) error {
	if err := turnOn(dir, needV2); err != nil {
		return err
	}
	d.cpuset = d.cpuset && turnOn(dir, []string{cpuset}) == nil
	return nil
}

func turnOn(dir string, controllers []string) error {
	var want []string
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	have := " " + strings.TrimSpace(string(b)) + " "
	for _, c := range controllers {
		if !strings.Contains(have, " "+c+" ") {
			want = append(want, "+"+c)
		}
	}
	if len(want) == 0 {
		return nil
	}
	err = write(filepath.Join(dir, "cgroup.subtree_control"), strings.Join(want, " "))
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: %s has processes of its own, so that the kernel enables no controllers below it; start the server in a child of it", ErrUnavailable, dir)
	}
	return err
}

func (d *v2) setMemory(name string, n int64) error {
	if err := write(d.path(name, "memory.max"), strconv.FormatInt(n, 10)); err != nil {
		return err
	}
	// One process without memory means the sandbox is lost: end it as a whole.
	if err := write(d.path(name, "memory.oom.group"), "1"); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := write(d.path(name, "memory.swap.max"), "0"); err != nil && !os.IsNotExist(err) {
		return err // no swap accounting, no file
	}
	return nil
}

func (d *v2) setCPU(name string, quota time.Duration) error {
	burst := d.path(name, "cpu.max.burst")
	hasBurst := true
	if err := write(burst, "0"); os.IsNotExist(err) {
		hasBurst = false
	} else if err != nil {
		return err
	}
	if quota == 0 {
		return write(d.path(name, "cpu.max"), "max "+micros(period))
	}
	if err := write(d.path(name, "cpu.max"), micros(quota)+" "+micros(period)); err != nil {
		return err
	}
	if !hasBurst {
		return nil
	}
	return write(burst, micros(quota))
}

func (d *v2) setPIDs(name string, n int) error {
	return write(d.path(name, "pids.max"), strconv.Itoa(n))
}

func (d *v2) setWeight(name string, thousandths int) error {
	return write(d.path(name, "cpu.weight"), strconv.Itoa(min(max(thousandths, 1), 10000)))
}

func (d *v2) cpus(name string) (string, error) {
	if !d.cpuset {
		return "", nil
	}
	b, err := os.ReadFile(d.path(name, "cpuset.cpus.effective"))
	return strings.TrimSpace(string(b)), err
}

func (d *v2) setCPUs(name, list string) error {
	return write(d.path(name, "cpuset.cpus"), list)
}

func (d *v2) freeze(name string, on bool) error {
	v := "0"
	if on {
		v = "1"
	}
	return write(d.path(name, "cgroup.freeze"), v)
}

func (d *v2) frozen(name string) (bool, error) {
	m, err := readKeyed(d.path(name, "cgroup.events"))
	return m.sum("frozen") == 1, err
}

func (d *v2) oomKills(name string) (int, error) {
	m, err := readKeyed(d.path(name, "memory.events"))
	return int(m.sum("oom_kill")), err
}

func (d *v2) stats(name string) (Stats, error) {
	m, err := readKeyed(d.path(name, "memory.stat"))
	if err != nil {
		return Stats{}, err
	}
	cpu, err := readKeyed(d.path(name, "cpu.stat"))
	if err != nil {
		return Stats{}, err
	}
	tasks, err := readInt(d.path(name, "pids.current"))
	if err != nil {
		return Stats{}, err
	}
	return Stats{
		Anon:   m.sum("anon"),
		Shmem:  m.sum("shmem"),
		Kernel: kernelV2(m),
		CPU:    time.Duration(cpu.sum("usage_usec")) * time.Microsecond,
		Tasks:  int(tasks),
	}, nil
}

// kernelV2 is unreclaimable kernel memory. "kernel" is the whole since Linux 5.18;
// before, its parts have to be added.
func kernelV2(m keyed) int64 {
	if k, ok := m.get("kernel"); ok {
		return max(0, k-m.sum("slab_reclaimable"))
	}
	return m.sum("slab_unreclaimable", "kernel_stack", "pagetables", "percpu", "sock")
}

func (d *v2) kill(name string) error {
	// Since Linux 5.14, and it reaches processes that are being forked.
	if err := write(d.path(name, "cgroup.kill"), "1"); !os.IsNotExist(err) {
		return err
	}
	return killAll(&Group{drv: d, name: name})
}

func (d *v2) placement(name string) (Placement, error) {
	f, err := os.OpenFile(d.path(name, ""), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return Placement{}, err
	}
	return Placement{Dir: f}, nil
}
