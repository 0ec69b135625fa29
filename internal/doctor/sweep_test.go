package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"lambent.dev/lambent/internal/cgroup"
)

// TestSweepVisitors: what an examination left whose process was killed goes with the next one;
// that of a process which lives stays.
func TestSweepVisitors(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("control groups need root")
		}
		t.Skip("control groups need root")
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dead := fmt.Sprintf("%s%d-test", visitorPrefix, gone.Process.Pid)
	alive := fmt.Sprintf("%s%d-test", visitorPrefix, os.Getpid())
	var left *cgroup.Hierarchy
	for _, name := range []string{dead, alive} {
		h, err := cgroup.Open(cgroup.Config{Instance: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Create("probe", cgroup.Limits{PIDs: 16}); err != nil {
			t.Fatal(err)
		}
		left = h
	}
	t.Cleanup(func() {
		if err := left.Sweep(context.Background(), nil); err != nil {
			t.Error(err)
		}
		if err := left.Close(); err != nil {
			t.Error(err)
		}
	})
	if f := controlGroups(t.Context()); Worst(f) != OK {
		t.Fatal(f)
	}
	names, err := left.Instances()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(names, dead) || !slices.Contains(names, alive) {
		t.Errorf("left: %v", names)
	}
}
