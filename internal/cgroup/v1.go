package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// v1 is the interface of version 1: one hierarchy per controller, or per set of
// controllers that are mounted together.
type v1 struct {
	mount map[string]string // controller -> directory of the instance
	all   []string          // the distinct ones

	cpuset string // directory of the instance there; see addCpuset
}

func newV1(points map[string]string, dir string) *v1 {
	d := &v1{mount: map[string]string{}}
	if points[cpuset] != "" {
		d.cpuset = filepath.Join(points[cpuset], dir)
	}
	for _, c := range needV1 {
		p := filepath.Join(points[c], dir)
		d.mount[c] = p
		if !slices.Contains(d.all, p) {
			d.all = append(d.all, p)
		}
	}
	return d
}

func (d *v1) path(controller, name, file string) string {
	return filepath.Join(d.mount[controller], name, file)
}

func (d *v1) dirs(name string) []string {
	out := make([]string, 0, len(d.all))
	for _, p := range d.all {
		out = append(out, filepath.Join(p, name))
	}
	return out
}

func (d *v1) procsDir(name string) string { return d.path("freezer", name, "") }

func (d *v1) create(name string) error {
	for i, p := range d.dirs(name) {
		var err error
		if name == "" {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.Mkdir(p, 0o755)
		}
		if err != nil {
			removeDirs(d.dirs(name)[:i])
			return err
		}
	}
	if name == "" && d.cpuset != "" {
		d.addCpuset()
	}
	return nil
}

// addCpuset uses that controller, too, if that works: it is one we can do without.
func (d *v1) addCpuset() {
	alone := !slices.Contains(d.all, d.cpuset)
	if err := inherit(d.cpuset); err != nil {
		if alone {
			_ = removeDirs([]string{d.cpuset})
		}
		return
	}
	d.mount[cpuset] = d.cpuset
	if alone {
		d.all = append(d.all, d.cpuset)
	}
}

// inherit makes the instance's group and gives it, its parent and all groups below the CPUs and the
// memory of the group above: in version 1 a new one has none, so that no task can enter.
func inherit(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			above, err := os.ReadFile(filepath.Join(filepath.Dir(d), file))
			if err != nil {
				return err
			}
			if err := write(filepath.Join(d, file), string(bytes.TrimSpace(above))); err != nil {
				return err
			}
		}
	}
	return write(filepath.Join(dir, "cgroup.clone_children"), "1")
}

func (d *v1) setMemory(name string, n int64) error {
	s := strconv.FormatInt(n, 10)
	if err := write(d.path("memory", name, "memory.limit_in_bytes"), s); err != nil {
		return err
	}
	// The kernel may be built without swap accounting; then swappiness has to do.
	if err := write(d.path("memory", name, "memory.memsw.limit_in_bytes"), s); err == nil || !os.IsNotExist(err) {
		return err
	}
	return write(d.path("memory", name, "memory.swappiness"), "0")
}

func (d *v1) setCPU(name string, quota time.Duration) error {
	burst := d.path("cpu", name, "cpu.cfs_burst_us")
	// A burst above the quota is refused, so it goes first and comes back last.
	hasBurst := true
	if err := write(burst, "0"); os.IsNotExist(err) {
		hasBurst = false
	} else if err != nil {
		return err
	}
	if quota == 0 {
		return write(d.path("cpu", name, "cpu.cfs_quota_us"), "-1")
	}
	if err := write(d.path("cpu", name, "cpu.cfs_period_us"), micros(period)); err != nil {
		return err
	}
	if err := write(d.path("cpu", name, "cpu.cfs_quota_us"), micros(quota)); err != nil {
		return err
	}
	if !hasBurst {
		return nil
	}
	return write(burst, micros(quota))
}

func (d *v1) setPIDs(name string, n int) error {
	return write(d.path("pids", name, "pids.max"), strconv.Itoa(n))
}

func (d *v1) setWeight(name string, thousandths int) error {
	return write(d.path("cpu", name, "cpu.shares"), strconv.Itoa(max(thousandths*1024/1000, 2)))
}

func (d *v1) cpus(name string) (string, error) {
	if d.mount[cpuset] == "" {
		return "", nil
	}
	b, err := os.ReadFile(d.path(cpuset, name, "cpuset.cpus"))
	return string(bytes.TrimSpace(b)), err
}

func (d *v1) setCPUs(name, list string) error {
	return write(d.path(cpuset, name, "cpuset.cpus"), list)
}

func (d *v1) freeze(name string, on bool) error {
	state := "THAWED"
	if on {
		state = "FROZEN"
	}
	return write(d.path("freezer", name, "freezer.state"), state)
}

func (d *v1) frozen(name string) (bool, error) {
	b, err := os.ReadFile(d.path("freezer", name, "freezer.state"))
	return string(bytes.TrimSpace(b)) == "FROZEN", err
}

func (d *v1) oomKills(name string) (int, error) {
	m, err := readKeyed(d.path("memory", name, "memory.oom_control"))
	return int(m.sum("oom_kill")), err
}

func (d *v1) stats(name string) (Stats, error) {
	m, err := readKeyed(d.path("memory", name, "memory.stat"))
	if err != nil {
		return Stats{}, err
	}
	cpu, err := readInt(d.path("cpuacct", name, "cpuacct.usage"))
	if err != nil {
		return Stats{}, err
	}
	tasks, err := readInt(d.path("pids", name, "pids.current"))
	if err != nil {
		return Stats{}, err
	}
	// Includes reclaimable slabs, which version 1 does not tell apart; a sandbox
	// that opens no host files has next to none.
	kernel, err := readInt(d.path("memory", name, "memory.kmem.usage_in_bytes"))
	if err != nil && !os.IsNotExist(err) {
		return Stats{}, err
	}
	return Stats{
		Anon:   m.sum("rss"),
		Shmem:  m.sum("shmem"),
		Kernel: kernel,
		CPU:    time.Duration(cpu),
		Tasks:  int(tasks),
	}, nil
}

func (d *v1) kill(name string) error { return killAll(&Group{drv: d, name: name}) }

func (d *v1) placement(name string) (Placement, error) {
	return Placement{Dirs: d.dirs(name)}, nil
}

// write writes a control file in one call. Control files exist or the kernel lacks
// the feature, so it never creates one.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func readInt(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", path, err)
	}
	return n, nil
}

// keyed is lines of "name number".
type keyed []byte

// readKeyed reads such a file.
func readKeyed(path string) (keyed, error) {
	b, err := os.ReadFile(path)
	return b, err
}

// get is the number of a name, and whether there is one. Nothing is parsed but what is asked for: every
// environment that runs is measured ten times a second.
func (k keyed) get(name string) (int64, bool) {
	for rest := []byte(k); len(rest) > 0; {
		line, more, _ := bytes.Cut(rest, []byte{'\n'})
		if v, ok := bytes.CutPrefix(line, []byte(name)); ok && len(v) > 0 && v[0] == ' ' {
			n, err := strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
			return n, err == nil
		}
		rest = more
	}
	return 0, false
}

// sum adds up the numbers of the names that there are.
func (k keyed) sum(names ...string) (n int64) {
	for _, name := range names {
		v, _ := k.get(name)
		n += v
	}
	return n
}

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
