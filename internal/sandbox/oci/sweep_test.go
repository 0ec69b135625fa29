package oci_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/oci"
	"lambent.dev/lambent/internal/sandbox/oci/embedded"
)

// crash stands for a server that is killed with sandboxes: a running one and a frozen
// one.
func crash(dir, instance, root string) error {
	binary, err := embedded.Find(embedded.Options{FromSource: true})
	if err != nil {
		return err
	}
	rt, err := oci.Open(oci.Config{Dir: dir, Instance: instance, Binary: binary})
	if err != nil {
		return err
	}
	for _, id := range []string{"running", "frozen"} {
		sb, err := rt.Run(context.Background(), sandbox.Spec{ID: id, Memory: 128 << 20, Containers: []sandbox.Container{{
			RootFS: root, Args: []string{"/probe", "spin"},
			Mounts: []sandbox.Mount{{Destination: "/tmp", Scratch: 16 << 20}},
		}}})
		if err != nil {
			return err
		}
		if id == "frozen" {
			if err := sb.Freeze(context.Background()); err != nil {
				return err
			}
		}
	}
	fmt.Println("ready")
	select {}
}

// TestSweepAfterCrash: the next start of an instance removes what a killed server has
// left, and nothing of another instance.
func TestSweepAfterCrash(t *testing.T) {
	instance := fmt.Sprintf("crash-%d", os.Getpid())
	other := open(t, instance+"-other")
	spared, err := other.Run(t.Context(), sandbox.Spec{ID: "running", Containers: []sandbox.Container{{
		RootFS: files.Root, Args: []string{"/probe", "sleep"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "crash", dir, instance, files.Root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Process.Kill(); err != nil || line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	cmd.Wait()

	h := groups(t, instance)
	var pids []int
	for _, id := range []string{"running", "frozen"} {
		p, err := h.Group(id).Processes()
		if err != nil || len(p) == 0 {
			t.Fatalf("%s: processes %v, %v", id, p, err)
		}
		pids = append(pids, p...)
	}
	binary, err := embedded.Find(embedded.Options{FromSource: true})
	if err != nil {
		t.Fatal(err)
	}
	rt, err := oci.Open(oci.Config{Dir: dir, Instance: instance, Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("process %d is alive", pid)
		}
	}
	if names, err := h.Groups(); err != nil || len(names) > 0 {
		t.Errorf("groups %v, %v", names, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, instance, "[^.]*")); err != nil || len(left) > 0 {
		t.Errorf("files %v, %v", left, err)
	}
	select {
	case <-spared.Done():
		t.Error("another instance's sandbox ended")
	default:
	}
	// The instance works again, under the same ids.
	sb, err := rt.Run(t.Context(), sandbox.Spec{ID: "frozen", Containers: []sandbox.Container{{
		RootFS: files.Root, Args: []string{"/probe", "exit", "0"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	<-sb.Done()
	if err := rt.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// gone reports whether a process has ended; a zombie has.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || syscall.Kill(pid, 0) != nil
}
