// Package sandboxtest is the contract of package sandbox as tests: every
// implementation runs the same suite, and what an implementation's Capabilities deny
// is left out by name.
//
// The suite starts a small program, probe, in sandboxes, built and put into EROFS
// images by Build.
package sandboxtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/erofs"
	"lambent.dev/lambent/internal/sandbox"
)

// Fixture is what the suite needs of an implementation.
type Fixture struct {
	Runtime sandbox.Runtime
	// Program is the path of the probe as Args[0].
	Program string
	// Files are the images made by Build.
	Files Files
	// Processes lists the host processes of a sandbox; nil if it cannot be known.
	Processes func(id string) ([]int, error)
	// Traces describes what is left of sandboxes on the host, empty when nothing is.
	// It is compared before and after each test.
	Traces func() string
}

// Files are the images that the suite uses.
type Files struct {
	Probe string // the program on the host
	Root  string // EROFS image with /probe and mount points
	Extra string // EROFS image with the file hello
}

// Build compiles the probe and writes the images into dir.
func Build(dir string) (Files, error) {
	f := Files{
		Probe: filepath.Join(dir, "probe"),
		Root:  filepath.Join(dir, "root.erofs"),
		Extra: filepath.Join(dir, "extra.erofs"),
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", f.Probe, "lambent.dev/lambent/internal/sandbox/sandboxtest/probe")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return Files{}, fmt.Errorf("build probe: %w: %s", err, out)
	}
	program, err := os.Open(f.Probe)
	if err != nil {
		return Files{}, err
	}
	defer program.Close()
	err = image(dir, f.Root, func(b *erofs.Builder) error {
		for _, d := range []string{"proc", "dev", "sys", "tmp", "opt", "var/task", "scratch"} {
			if err := b.Add(erofs.Entry{Path: d, Mode: fs.ModeDir | 0o755}, nil); err != nil {
				return err
			}
		}
		return b.Add(erofs.Entry{Path: "probe", Mode: 0o755}, program)
	})
	if err != nil {
		return Files{}, err
	}
	return f, image(dir, f.Extra, func(b *erofs.Builder) error {
		return b.Add(erofs.Entry{Path: "hello", Mode: 0o644}, strings.NewReader("from an image\n"))
	})
}

func image(dir, path string, fill func(*erofs.Builder) error) error {
	b, err := erofs.New(dir, erofs.Limits{})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := fill(b); err != nil {
		return err
	}
	return b.WriteFile(path)
}

// Run runs the suite.
func Run(t *testing.T, f Fixture) {
	s := suite{f}
	caps := f.Runtime.Capabilities()
	groups := []struct {
		name  string
		on    bool
		tests []test
	}{
		{"Process", true, s.process()},
		{"Lifecycle", true, s.lifecycle()},
		{"Isolation", caps.Isolated, s.isolation()},
		{"Memory", caps.MemoryLimit, s.memory()},
		{"CPU", caps.CPUQuota, s.cpu()},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			if !g.on {
				t.Skip("not among this runtime's capabilities")
			}
			for _, c := range g.tests {
				t.Run(c.name, func(t *testing.T) { s.traceless(t, c.run) })
			}
		})
	}
}

type test struct {
	name string
	run  func(*testing.T)
}

type suite struct{ Fixture }

// traceless runs a test and fails it when it leaves anything on the host.
func (s suite) traceless(t *testing.T, run func(*testing.T)) {
	t.Helper()
	if s.Traces == nil {
		run(t)
		return
	}
	before := s.Traces()
	t.Run("run", run)
	if after := s.Traces(); after != before {
		t.Errorf("traces on the host:\n%s\nbefore:\n%s", after, before)
	}
}

// box is a sandbox under test with the read end of its output.
type box struct {
	sandbox.Sandbox
	t   *testing.T
	out *bufio.Reader
}

// spec returns a sandbox that runs the probe.
func (s suite) spec(t *testing.T, args ...string) sandbox.Spec {
	return sandbox.Spec{
		ID:     strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(filepath.Base(filepath.Dir(t.Name())))),
		Memory: 256 << 20,
		CPUs:   2,
		Containers: []sandbox.Container{{
			RootFS: s.Files.Root, Args: append([]string{s.Program}, args...),
			UID: 993, GID: 990,
		}},
	}
}

// start runs a sandbox with standard output and error in one pipe, deleted with the
// test.
func (s suite) start(t *testing.T, spec sandbox.Spec) *box {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	defer w.Close()
	spec.Containers = slices.Clone(spec.Containers)
	c := &spec.Containers[0]
	if c.Stdout == nil {
		c.Stdout = w
	}
	if c.Stderr == nil {
		c.Stderr = w
	}
	sb, err := s.Runtime.Run(t.Context(), spec)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	t.Cleanup(func() {
		if err := sb.Delete(context.Background()); err != nil {
			t.Errorf("Delete: %v", err)
		}
	})
	r.SetReadDeadline(time.Now().Add(time.Minute))
	return &box{Sandbox: sb, t: t, out: bufio.NewReader(r)}
}

// line reads one line of output; it is empty at the end.
func (b *box) line() string {
	b.t.Helper()
	l, _ := b.out.ReadString('\n')
	return strings.TrimSuffix(l, "\n")
}

// expect reads a line that must be want.
func (b *box) expect(want string) {
	b.t.Helper()
	if got := b.line(); got != want {
		b.t.Fatalf("output %q, want %q", got, want)
	}
}

// wait returns how the sandbox ended.
func (b *box) wait() sandbox.Exit {
	b.t.Helper()
	select {
	case <-b.Done():
	case <-time.After(time.Minute):
		b.t.Fatal("the sandbox did not end")
	}
	return b.Exit()
}

// report is what the probe reports; see probe.Report.
type report struct {
	Args, Env, Mounts []string
	Cwd, Hostname     string
	RootWrite         string
	PID, UID, GID     int
	Groups, FDs       []int
	MemTotal          int64
	CPUs              int
	NoFile, NProc     struct{ Cur, Max uint64 }
	Status            map[string]string
}

// reported runs the probe's report in a sandbox.
func (s suite) reported(t *testing.T, change func(*sandbox.Spec)) report {
	t.Helper()
	spec := s.spec(t, "report")
	if change != nil {
		change(&spec)
	}
	b := s.start(t, spec)
	var r report
	line := b.line()
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("report %q: %v", line, err)
	}
	if e := b.wait(); e != (sandbox.Exit{}) {
		t.Fatalf("exit %+v", e)
	}
	return r
}

// pair returns a pipe closed with the test.
func pair(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
