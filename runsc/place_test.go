package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPlace: after place, this process with all its threads and everything it starts
// is in the cgroup.
func TestPlace(t *testing.T) {
	if os.Getenv("PLACE") != "" { // the child below
		before := time.Now()
		args, err := place([]string{"x", cgroupFlag + os.Getenv("PLACE"), "run"})
		if err != nil || strings.Join(args, " ") != "x run" {
			t.Fatal(args, err)
		}
		t.Log("took", time.Since(before))
		out, err := exec.Command("cat", "/proc/self/cgroup").Output()
		if err != nil || !strings.Contains(string(out), "freezer:/"+filepath.Base(os.Getenv("PLACE"))) {
			t.Fatalf("%s %v", out, err)
		}
		tasks, _ := filepath.Glob("/proc/self/task/*/cgroup")
		for _, f := range tasks {
			if b, err := os.ReadFile(f); err == nil && !strings.Contains(string(b), "freezer:/"+filepath.Base(os.Getenv("PLACE"))) {
				t.Fatalf("%s: %s", f, b)
			}
		}
		return
	}
	dir, err := os.MkdirTemp("/sys/fs/cgroup/freezer", "place")
	if err != nil {
		t.Skip("no version 1 freezer: ", err)
	}
	defer os.Remove(dir)
	cmd := exec.Command(os.Args[0], "-test.run=^TestPlace$", "-test.v")
	cmd.Env = append(os.Environ(), "PLACE="+dir)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
