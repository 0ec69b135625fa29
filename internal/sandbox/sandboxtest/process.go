package sandboxtest

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lambent.dev/lambent/internal/sandbox"
)

// process tests what a command gets and gives.
func (s suite) process() []test {
	return []test{
		{"Output", s.output},
		{"Stderr", s.stderr},
		{"ExitCode", s.exitCode},
		{"NoStreams", s.noStreams},
		{"StreamsByName", s.streamsByName},
		{"Environment", s.environment},
		{"Files", s.files},
		{"NoSuchCommand", s.noSuchCommand},
		{"Invalid", s.invalid},
	}
}

func (s suite) output(t *testing.T) {
	b := s.start(t, s.spec(t, "print", "hello", "wörld"))
	b.expect("hello wörld")
	if e := b.wait(); e != (sandbox.Exit{}) {
		t.Errorf("exit %+v, want a clean one", e)
	}
	if rest, err := io.ReadAll(b.out); err != nil || len(rest) > 0 {
		t.Errorf("more output: %q, %v", rest, err)
	}
}

func (s suite) stderr(t *testing.T) {
	spec := s.spec(t, "stderr", "trouble")
	r, w := pair(t)
	spec.Containers[0].Stderr = w
	b := s.start(t, spec)
	w.Close()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "trouble\n" {
		t.Errorf("standard error %q, %v", got, err)
	}
	if out, _ := io.ReadAll(b.out); len(out) > 0 {
		t.Errorf("standard output %q", out)
	}
}

func (s suite) exitCode(t *testing.T) {
	if e := s.start(t, s.spec(t, "exit", "7")).wait(); e != (sandbox.Exit{Code: 7}) {
		t.Errorf("exit %+v, want code 7", e)
	}
}

// noStreams: nil streams are the null device.
func (s suite) noStreams(t *testing.T) {
	spec := s.spec(t, "cat", "0", "1")
	sb, err := s.Runtime.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{Sandbox: sb, t: t}
	if e := b.wait(); e != (sandbox.Exit{}) {
		t.Errorf("exit %+v", e)
	}
	if err := sb.Delete(t.Context()); err != nil {
		t.Error(err)
	}
}

// streamsByName: /dev/stdout can be opened, whoever owns the pipe.
func (s suite) streamsByName(t *testing.T) {
	b := s.start(t, s.spec(t, "reopen"))
	for _, name := range []string{"/dev/stdout", "/dev/stderr", "/proc/self/fd/1"} {
		b.expect(name)
	}
}

func (s suite) environment(t *testing.T) {
	env := []string{"HOME=/nowhere", "A=1", "EMPTY=", "SPACES=a b  c", "EQUALS=a=b"}
	got := s.reported(t, func(spec *sandbox.Spec) {
		spec.Hostname = "169-254-1-2"
		spec.Containers[0].Env = env
		spec.Containers[0].Cwd = "/tmp"
		spec.Containers[0].Args = append(spec.Containers[0].Args, "", "a b", "*")
	})
	slices.Sort(env) // the order is not part of the contract
	slices.Sort(got.Env)
	if d := cmp.Diff(env, got.Env); d != "" {
		t.Error("environment:", d)
	}
	if d := cmp.Diff([]string{"report", "", "a b", "*"}, got.Args[1:]); d != "" {
		t.Error("arguments:", d)
	}
	if got.Cwd != "/tmp" {
		t.Errorf("working directory %q", got.Cwd)
	}
	if s.Runtime.Capabilities().Isolated && !slices.Equal(got.FDs, []int{0, 1, 2}) {
		t.Errorf("descriptors %v, want 0 1 2", got.FDs)
	}
	if s.Runtime.Capabilities().Isolated && got.Hostname != "169-254-1-2" {
		t.Errorf("host name %q", got.Hostname)
	}
}

// files: Files become 3, 4, ...
func (s suite) files(t *testing.T) {
	spec := s.spec(t, "cat", "4", "3")
	outR, outW := pair(t)
	inR, inW := pair(t)
	spec.Containers[0].Files = []*os.File{outW, inR}
	b := s.start(t, spec)
	outW.Close()
	inR.Close()
	if _, err := io.WriteString(inW, strings.Repeat("x", 100_000)); err != nil {
		t.Error(err)
	}
	inW.Close()
	got, err := io.ReadAll(outR)
	if err != nil || len(got) != 100_000 {
		t.Errorf("%d bytes through the sandbox, %v", len(got), err)
	}
	if e := b.wait(); e != (sandbox.Exit{}) {
		t.Errorf("exit %+v", e)
	}
}

// noSuchCommand: an error from Run, and nothing left (see traceless).
func (s suite) noSuchCommand(t *testing.T) {
	spec := s.spec(t)
	spec.Containers[0].Args = []string{"/does/not/exist"}
	if sb, err := s.Runtime.Run(t.Context(), spec); err == nil {
		t.Error("Run of a command that does not exist succeeded")
		sb.Delete(t.Context())
	}
}

func (s suite) invalid(t *testing.T) {
	for name, change := range map[string]func(*sandbox.Spec){
		"id":       func(s *sandbox.Spec) { s.ID = "../x" },
		"command":  func(s *sandbox.Spec) { s.Containers[0].Args = nil },
		"relative": func(s *sandbox.Spec) { s.Containers[0].Cwd = "tmp" },
		"mount":    func(s *sandbox.Spec) { s.Containers[0].Mounts = []sandbox.Mount{{Destination: "/tmp"}} },
		"rlimit": func(s *sandbox.Spec) {
			s.Containers[0].Rlimits = []sandbox.Rlimit{{Type: "RLIMIT_NOFILE", Soft: 2, Hard: 1}}
		},
	} {
		spec := s.spec(t, "print")
		change(&spec)
		if _, err := s.Runtime.Run(t.Context(), spec); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}
