package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithout(t *testing.T) {
	for _, c := range []struct {
		list string
		n    int
		want string // "" = an error
	}{
		{"0-3", 0, "0-3"},
		{"0-3", 1, "1-3"},
		{"0-3", 3, "3"},
		{"0,2-3,8", 1, "2-3,8"},
		{"0,2-3,8", 2, "3,8"},
		{"0-1,8-9", 3, "9"},
		{"0-1", 2, "0-1"}, // none would be left
		{"0", 1, "0"},
		{"", 1, ""},
		{"a-b", 1, ""},
		{"3-1", 1, ""},
		{"1-", 1, ""},
	} {
		got, err := without(c.list, c.n)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q without %d: %q, want %q, %v", c.list, c.n, got, c.want, err)
		}
	}
}

// TestSpare looks at what the kernel says of a process in the group.
func TestSpare(t *testing.T) {
	h := open(t)
	all, err := h.drv.cpus("")
	if err != nil {
		t.Fatal(err)
	}
	if all == "" {
		t.Skip("this host has no cpuset controller")
	}
	most, err := without(all, 1)
	if err != nil {
		t.Fatal(err)
	}
	g := create(t, h, Limits{Spare: 1})
	pid := start(t, g, "while :; do sleep 1; done").Process.Pid
	for _, c := range []struct {
		spare int
		want  string
	}{{1, most}, {0, all}, {1, most}, {10_000, all}} {
		if err := g.SetSpare(c.spare); err != nil {
			t.Error(err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(string(status), "Cpus_allowed_list:")
		got, _, _ = strings.Cut(strings.TrimSpace(got), "\n")
		if got != c.want {
			t.Errorf("%d spared: CPUs %s, want %s of %s", c.spare, got, c.want, all)
		}
	}
}

// TestSpareV2: in version 2, as in version 1 without the controller, nothing but the group's own file
// is written.
func TestSpareV2(t *testing.T) {
	d, dir := fakeV2(t)
	g := &Group{drv: d, name: "g"}
	if err := g.SetSpare(1); err != nil {
		t.Errorf("without the controller: %v", err)
	}
	d.cpuset = true
	for _, file := range []string{filepath.Join(filepath.Dir(dir), "cpuset.cpus.effective"), filepath.Join(dir, "cpuset.cpus")} {
		if err := os.WriteFile(file, []byte("0-7\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.SetSpare(2); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "cpuset.cpus"))
	if err != nil || !strings.HasPrefix(string(b), "2-7") {
		t.Errorf("%q, %v", b, err)
	}
	if err := d.enable(d.root); err != nil {
		t.Error(err)
	}
	b, err = os.ReadFile(filepath.Join(d.root, "cgroup.subtree_control"))
	if err != nil || !strings.Contains(string(b), "+cpuset") {
		t.Errorf("controllers %q, %v", b, err)
	}
}

// TestSpareV1: a cpuset hierarchy that does not work is as none.
func TestSpareV1(t *testing.T) {
	points := map[string]string{cpuset: t.TempDir()}
	for _, c := range needV1 {
		points[c] = t.TempDir()
	}
	d := newV1(points, "lambent/i")
	if err := d.create(""); err != nil {
		t.Fatal(err)
	}
	if err := (&Group{drv: d, name: "g"}).SetSpare(1); err != nil {
		t.Error(err)
	}
	if len(d.dirs("g")) != len(needV1) {
		t.Errorf("groups in %v", d.dirs("g"))
	}
	if _, err := os.Stat(filepath.Join(points[cpuset], "lambent", "i")); !os.IsNotExist(err) {
		t.Errorf("it left its directory: %v", err)
	}
}
