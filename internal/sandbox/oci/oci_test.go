package oci_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/cgroup"
	"lambent.dev/lambent/internal/sandbox/oci"
	"lambent.dev/lambent/internal/sandbox/oci/embedded"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// files are built once; building takes longer than most tests.
var files sandboxtest.Files

func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "crash" {
		if err := crash(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	code := 1
	func() {
		dir, err := os.MkdirTemp("", "oci")
		if err != nil {
			fmt.Println(err)
			return
		}
		defer os.RemoveAll(dir)
		if files, err = sandboxtest.Build(dir); err != nil {
			fmt.Println(err)
			return
		}
		code = m.Run()
		if code == 0 {
			if err := goleak.Find(); err != nil {
				fmt.Println(err)
				code = 1
			}
		}
	}()
	os.Exit(code)
}

// open returns a runtime over runsc, or skips where there can be none.
func open(t testing.TB, instance string) *oci.Runtime {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("CI") == "true" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("sandboxes need root")
	}
	binary, err := embedded.Find(embedded.Options{FromSource: true})
	if err != nil {
		skip("%v (build it with: make build)", err)
	}
	rt, err := oci.Open(oci.Config{Dir: t.TempDir(), Instance: instance, Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return rt
}

func groups(t testing.TB, instance string) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Open(cgroup.Config{Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestContract(t *testing.T) {
	instance := fmt.Sprintf("test-%d", os.Getpid())
	rt := open(t, instance)
	h := groups(t, instance)
	sandboxtest.Run(t, sandboxtest.Fixture{
		Runtime: rt, Program: "/probe", Files: files,
		Processes: func(id string) ([]int, error) { return h.Group(id).Processes() },
		Traces:    func() string { return traces(t, h) },
	})
}

// traces lists what sandboxes could leave behind: control groups, descriptors of this
// process, its children, mounts, and sockets where runsc falls back to.
func traces(t *testing.T, h *cgroup.Hierarchy) string {
	var b strings.Builder
	names, err := h.Groups()
	fmt.Fprintln(&b, "groups", names, err)
	fds, _ := filepath.Glob("/proc/self/fd/*")
	fmt.Fprintln(&b, "descriptors", len(fds))
	children, _ := filepath.Glob("/proc/self/task/*/children")
	for _, c := range children {
		pids, _ := os.ReadFile(c)
		b.Write(pids)
	}
	// Others mount things meanwhile; ours would be below the directory of this test.
	mounts, _ := os.ReadFile("/proc/self/mounts")
	fmt.Fprintln(&b, "mounts", strings.Count(string(mounts), "/TestContract"))
	for _, dir := range []string{"/run", "/tmp"} {
		s, _ := filepath.Glob(dir + "/runsc-*")
		fmt.Fprintln(&b, "sockets", s)
	}
	return b.String()
}
