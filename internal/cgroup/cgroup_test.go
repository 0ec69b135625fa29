package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// open returns this host's hierarchy for a test instance.
func open(t *testing.T) *Hierarchy {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("control groups need root")
		}
		t.Skip("control groups need root")
	}
	h, err := Open(Config{Instance: fmt.Sprintf("%s-%d", strings.ToLower(t.Name()), os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.Sweep(context.Background(), nil), h.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// start runs a shell command in the group.
func start(t *testing.T, g *Group, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read go; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for _, d := range g.drv.dirs(g.name) {
		if err := write(filepath.Join(d, "cgroup.procs"), strconv.Itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(in, "go")
	return cmd
}

func create(t *testing.T, h *Hierarchy, l Limits) *Group {
	t.Helper()
	g, err := h.Create("g", l)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestFreezeKillDelete(t *testing.T) {
	h := open(t)
	g := create(t, h, Limits{})
	cmd := start(t, g, "while :; do :; done")
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(100 * time.Millisecond) // time in which a frozen loop must do nothing
	after, err := g.Stats()
	if err != nil || after.CPU != before.CPU || after.Tasks != 1 {
		t.Errorf("frozen: CPU %v, then %v, %d tasks, %v", before.CPU, after.CPU, after.Tasks, err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v", cmd.ProcessState)
	}
	for range 2 {
		if err := g.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Stats(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stats of a deleted group: %v", err)
	}
}

// TestDeleteAlive: deleting kills, even a process that keeps forking.
func TestDeleteAlive(t *testing.T) {
	h := open(t)
	g := create(t, h, Limits{PIDs: 100})
	start(t, g, "while :; do sleep 0.001 & done")
	if err := g.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names, err := h.Groups(); err != nil || len(names) > 0 {
		t.Errorf("groups %v, %v", names, err)
	}
}

func TestLimits(t *testing.T) {
	h := open(t)
	g := create(t, h, Limits{Memory: 64 << 20, CPU: 250, PIDs: 50, Weight: 250})
	// tail keeps what it reads from an endless line.
	cmd := start(t, g, "tail /dev/zero; exit 3")
	cmd.Wait()
	if n, err := g.OOMKills(); err != nil || n == 0 {
		t.Errorf("%d out-of-memory kills, %v", n, err)
	}
	if h.Version() != 1 {
		return
	}
	d := h.drv.(*v1)
	for file, want := range map[string]string{
		d.path("cpu", "g", "cpu.cfs_period_us"):        "20000",
		d.path("cpu", "g", "cpu.cfs_quota_us"):         "5000",
		d.path("cpu", "g", "cpu.shares"):               "256",
		d.path("pids", "g", "pids.max"):                "50",
		d.path("memory", "g", "memory.limit_in_bytes"): strconv.Itoa(64 << 20),
	} {
		b, err := os.ReadFile(file)
		if got := strings.TrimSpace(string(b)); err != nil || got != want {
			t.Errorf("%s: %q, want %q, %v", filepath.Base(file), got, want, err)
		}
	}
	// Up, down below the burst, away, and the kernel's minimum.
	for _, c := range []struct {
		milli int
		quota string
	}{{1000, "20000"}, {100, "2000"}, {0, "-1"}, {1, "1000"}} {
		if err := g.SetCPU(c.milli); err != nil {
			t.Errorf("%d: %v", c.milli, err)
		}
		b, err := os.ReadFile(d.path("cpu", "g", "cpu.cfs_quota_us"))
		if got := strings.TrimSpace(string(b)); err != nil || got != c.quota {
			t.Errorf("%d: quota %s, want %s, %v", c.milli, got, c.quota, err)
		}
	}
}

func TestCreate(t *testing.T) {
	h := open(t)
	create(t, h, Limits{})
	if _, err := h.Create("g", Limits{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	for _, name := range []string{"", "a/b", "..", ".x", "a:b"} {
		if _, err := h.Create(name, Limits{}); err == nil {
			t.Errorf("created %q", name)
		}
	}
	if names, err := h.Groups(); err != nil || !slices.Equal(names, []string{"g"}) {
		t.Errorf("groups %v, %v", names, err)
	}
	if err := h.Sweep(t.Context(), func(n string) bool { return n == "g" }); err != nil {
		t.Error(err)
	}
	if _, err := h.Group("g").Stats(); err != nil {
		t.Errorf("swept although kept: %v", err)
	}
}

func TestParseMountInfo(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       mounts
	}{
		{"v2", "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
			mounts{v1: map[string]string{}, v2: "/sys/fs/cgroup"}},
		{"hybrid", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" +
			"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n" +
			"35 31 0:32 / /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n" +
			"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			mounts{v1: map[string]string{
				"rw": "/sys/fs/cgroup/cpu,cpuacct", "cpu": "/sys/fs/cgroup/cpu,cpuacct",
				"cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/mem ory",
			}, v2: "/sys/fs/cgroup/unified"}},
		{"none", "21 1 0:1 / / rw - ext4 /dev/sda rw\ngarbage\n", mounts{v1: map[string]string{}}},
	} {
		got, err := parseMountInfo(strings.NewReader(c.text))
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(mounts{})); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestChoose(t *testing.T) {
	dir := t.TempDir()
	full := map[string]string{}
	for _, c := range needV1 {
		full[c] = filepath.Join(dir, c)
	}
	controllers := func(s string) string {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, "cgroup.controllers"), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct {
		name    string
		m       mounts
		version int
	}{
		{"v2", mounts{v2: controllers("cpuset cpu io memory pids\n")}, 2},
		{"hybrid", mounts{v1: full, v2: controllers("hugetlb\n")}, 1},
		{"v1", mounts{v1: full}, 1},
		{"v2 without memory", mounts{v2: controllers("cpu pids\n")}, 0},
		{"v1 without freezer", mounts{v1: map[string]string{"cpu": "/x", "memory": "/x"}}, 0},
		{"nothing", mounts{}, 0},
	} {
		h, err := choose(c.m, "lambent/i")
		switch {
		case c.version == 0 && !errors.Is(err, ErrUnavailable):
			t.Errorf("%s: %v, want ErrUnavailable", c.name, err)
		case c.version > 0 && (err != nil || h.version != c.version):
			t.Errorf("%s: %+v, %v, want version %d", c.name, h, err, c.version)
		}
	}
}

// fakeV2 is a directory with the files of version 2, as far as plain files can stand
// for them: what is written and read is tested, what the kernel does with it is not.
func fakeV2(t *testing.T) (*v2, string) {
	t.Helper()
	d := &v2{root: t.TempDir(), base: "lambent/i"}
	for _, dir := range []string{"", "lambent", "lambent/i"} {
		p := filepath.Join(d.root, dir)
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p, "cgroup.subtree_control"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.create(""); err != nil {
		t.Fatal(err)
	}
	if err := d.create("g"); err != nil {
		t.Fatal(err)
	}
	g := d.path("g", "")
	for name, text := range map[string]string{
		"memory.max": "max", "memory.swap.max": "max", "memory.oom.group": "0", "pids.max": "max",
		"cpu.max": "max 100000", "cpu.weight": "100", "cpu.max.burst": "0", "cgroup.freeze": "0", "cgroup.kill": "",
		"cgroup.events": "populated 1\nfrozen 1\n", "pids.current": "7\n",
		"memory.events": "low 0\noom 2\noom_kill 3\noom_group_kill 1\n",
		"memory.stat":   "anon 100\nfile 900\nkernel 50\nshmem 20\nslab_reclaimable 10\nslab_unreclaimable 5\n",
		"cpu.stat":      "usage_usec 1500\nuser_usec 1000\n",
	} {
		if err := os.WriteFile(filepath.Join(g, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d, g
}

func TestV2Files(t *testing.T) {
	d, dir := fakeV2(t)
	g := &Group{drv: d, name: "g"}
	for _, err := range []error{
		g.SetMemory(128 << 20), g.SetCPU(250), d.setPIDs("g", 99), d.setWeight("g", 72), g.Freeze(t.Context()), d.kill("g"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	// A shorter text over a longer one leaves its tail in a plain file, not in the
	// kernel's: compare beginnings.
	for name, want := range map[string]string{
		"memory.max": "134217728", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "99",
		"cpu.max": "5000 20000", "cpu.weight": "72", "cpu.max.burst": "5000", "cgroup.freeze": "1", "cgroup.kill": "1",
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("%s: %q, want %q, %v", name, b, want, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(d.root, "lambent", "cgroup.subtree_control"))
	if err != nil || string(b) != "+memory +cpu +pids" {
		t.Errorf("controllers %q, %v", b, err)
	}
	s, err := g.Stats()
	want := Stats{Anon: 100, Shmem: 20, Kernel: 40, CPU: 1500 * time.Microsecond, Tasks: 7}
	if err != nil || s != want {
		t.Errorf("%+v, want %+v, %v", s, want, err)
	}
	if n, err := g.OOMKills(); err != nil || n != 3 {
		t.Errorf("%d kills, %v", n, err)
	}
	p, err := g.Placement()
	if err != nil || p.Dir == nil || len(p.Dirs) > 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	p.Dir.Close()
}

func TestKernelV2(t *testing.T) {
	old := keyed("slab_unreclaimable 1\nkernel_stack 2\npagetables 4\npercpu 8\nsock 16\nsock_throttled 7\nslab_reclaimable 99\n")
	if got := kernelV2(old); got != 31 {
		t.Errorf("before 5.18: %d, want 31", got)
	}
}

func TestKeyed(t *testing.T) {
	k := keyed("rss 10\nrss_huge 20\ntotal_rss 30\nempty\nwords here\nlast 40")
	for name, want := range map[string]int64{"rss": 10, "rss_huge": 20, "total_rss": 30, "last": 40, "empty": -1, "words": -1, "r": -1, "": -1, "none": -1} {
		got, ok := k.get(name)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
	if _, ok := keyed(nil).get("rss"); ok {
		t.Error("an empty file has a number")
	}
}
