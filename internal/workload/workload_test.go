package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lambent.dev/lambent/internal/network"
	"lambent.dev/lambent/internal/sandbox"
)

var address = netip.MustParseAddr("169.254.101.1")

// machineRoom is a runtime and a network that write down what is asked of them, and fail where
// they are told to.
type machineRoom struct {
	calls []string
	fail  map[string]error
	spec  sandbox.Spec
	ctx   error // of the last removal's context
	clock time.Time
}

func (r *machineRoom) call(name string) error {
	r.calls = append(r.calls, name)
	r.clock = r.clock.Add(time.Millisecond)
	return r.fail[name]
}

func (r *machineRoom) Attach(_ context.Context, id string) (*network.Endpoint, error) {
	if err := r.call("attach"); err != nil {
		return nil, err
	}
	return &network.Endpoint{ID: id, NetNS: "/ns", Addr: address}, nil
}

func (r *machineRoom) Detach(ctx context.Context, _ string) error {
	r.ctx = ctx.Err()
	return r.call("detach")
}

func (r *machineRoom) Run(_ context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	r.spec = spec
	if err := r.call("run"); err != nil {
		return nil, err
	}
	return box{room: r, id: spec.ID}, nil
}

func (r *machineRoom) Sweep(context.Context) error { return r.call("sweep") }

func (r *machineRoom) Capabilities() sandbox.Capabilities { return sandbox.Capabilities{} }

type box struct {
	sandbox.Sandbox // what these tests do not ask for
	room            *machineRoom
	id              string
}

func (b box) ID() string { return b.id }

func (b box) Delete(ctx context.Context) error {
	b.room.ctx = ctx.Err()
	return b.room.call("delete")
}

func machine(r *machineRoom) *Machine {
	return &Machine{Sandbox: r, Network: r, Now: func() time.Time { return r.clock }}
}

func want(t *testing.T, r *machineRoom, calls ...string) {
	t.Helper()
	if !slices.Equal(r.calls, calls) {
		t.Errorf("calls %v, want %v", r.calls, calls)
	}
}

func TestStartAndStop(t *testing.T) {
	r := &machineRoom{}
	w, err := machine(r).Start(t.Context(), Spec{ID: "a", OnAddress: func(a netip.Addr) {
		_ = r.call(fmt.Sprint("address ", a))
	}})
	if err != nil {
		t.Fatal(err)
	}
	if w.ID() != "a" || w.Addr() != address || w.Phases() != (Phases{Attach: time.Millisecond, Boot: time.Millisecond}) {
		t.Errorf("started %s at %s in %+v", w.ID(), w.Addr(), w.Phases())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // whoever stops a workload is often being stopped
	for range 2 {
		if err := w.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	want(t, r, "attach", "address 169.254.101.1", "run", "delete", "detach")
	if r.ctx != nil {
		t.Errorf("removed under a context that has ended: %v", r.ctx)
	}
}

func TestStartUndoes(t *testing.T) {
	broken := errors.New("broken")
	for step, calls := range map[string][]string{
		"attach": {"attach"},
		"run":    {"attach", "run", "detach"},
	} {
		r := &machineRoom{fail: map[string]error{step: broken}}
		w, err := machine(r).Start(t.Context(), Spec{ID: "a"})
		if w != nil || !errors.Is(err, broken) {
			t.Errorf("%s fails: %v, %v", step, w, err)
		}
		want(t, r, calls...)
	}
	left := errors.New("left")
	r := &machineRoom{fail: map[string]error{"run": broken, "detach": left}}
	if _, err := machine(r).Start(t.Context(), Spec{ID: "a"}); !errors.Is(err, broken) || !errors.Is(err, left) {
		t.Errorf("what is left is not said: %v", err)
	}
}

// A stop that fails is taken up where it failed: a sandbox is not deleted twice, and an address
// is not given up while its sandbox may live.
func TestStopIsTakenUp(t *testing.T) {
	broken := errors.New("broken")
	r := &machineRoom{fail: map[string]error{}}
	w, err := machine(r).Start(t.Context(), Spec{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"delete", "detach"} {
		r.fail[step] = broken
		if err := w.Stop(t.Context()); !errors.Is(err, broken) {
			t.Errorf("%s fails: %v", step, err)
		}
		delete(r.fail, step)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	want(t, r, "attach", "run", "delete", "delete", "detach", "detach")
}

func TestWithoutANetwork(t *testing.T) {
	r := &machineRoom{}
	m := &Machine{Sandbox: r}
	w, err := m.Start(t.Context(), Spec{ID: "a", OnAddress: func(netip.Addr) { t.Error("told an address") }})
	if err != nil {
		t.Fatal(err)
	}
	if w.Addr().IsValid() || r.spec.NetNS != "" {
		t.Errorf("address %s, namespace %q", w.Addr(), r.spec.NetNS)
	}
	if err := errors.Join(w.Stop(t.Context()), m.Sweep(t.Context())); err != nil {
		t.Error(err)
	}
	want(t, r, "run", "delete", "sweep")
}

func TestSpec(t *testing.T) {
	out := os.NewFile(3, "out")
	mounts := make([]sandbox.Mount, 1, 4)
	mounts[0] = sandbox.Mount{Destination: "/var/task", Image: "code"}
	spec := Spec{
		ID: "a", Hostname: "host", RootFS: "root", Mounts: mounts, Scratch: 512,
		Args: []string{"/init"}, Env: []string{"A=B"}, Cwd: "/var/task", UID: 993, GID: 990,
		Rlimits: []sandbox.Rlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1024}},
		Memory:  128, CPU: 72, CPUs: 2, Weight: 9, Output: out, Files: []*os.File{out},
	}
	got := spec.sandbox("/ns")
	expect := sandbox.Spec{
		ID: "a", Hostname: "host", NetNS: "/ns", Memory: 128, CPU: 72, CPUs: 2, Weight: 9,
		Containers: []sandbox.Container{{
			Name: "app", RootFS: "root",
			Mounts: []sandbox.Mount{mounts[0], {Destination: "/tmp", Scratch: 512}},
			Args:   spec.Args, Env: spec.Env, Cwd: "/var/task", UID: 993, GID: 990, Rlimits: spec.Rlimits,
			Stdout: out, Stderr: out, Files: spec.Files,
		}},
	}
	same := cmp.Comparer(func(a, b *os.File) bool { return a == b })
	if diff := cmp.Diff(expect, got, same); diff != "" {
		t.Error(diff)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	if extra := mounts[:2][1]; extra != (sandbox.Mount{}) {
		t.Errorf("the caller's mounts were written to: %+v", extra)
	}
}
