package workload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/erofs"
	"lambent.dev/lambent/internal/network"
	"lambent.dev/lambent/internal/sandbox/oci"
	"lambent.dev/lambent/internal/sandbox/oci/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// realMachine is a machine with a network and gVisor, or none where there can be none.
func realMachine(t *testing.T) (*Machine, *network.Network) {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("CI") == "true" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("sandboxes and networks need root")
	}
	binary, err := embedded.Find(embedded.Options{FromSource: true})
	if err != nil {
		skip("%v (build it with: make build)", err)
	}
	instance := fmt.Sprintf("test-workload-%d", os.Getpid())
	net, err := network.Open(t.Context(), network.Config{Instance: instance, Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, net.Close(context.Background())) })
	runtime, err := oci.Open(oci.Config{Dir: t.TempDir(), Instance: instance, Binary: binary})
	must(t, err)
	t.Cleanup(func() { must(t, runtime.Close(context.Background())) })
	return &Machine{Sandbox: runtime, Network: net}, net
}

// probeImage is an image with the probe in it.
func probeImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "probe")
	cmd := exec.Command("go", "build", "-trimpath", "-o", program, "./probe")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.Open(program)
	must(t, err)
	defer f.Close()
	b, err := erofs.New(dir, erofs.Limits{})
	must(t, err)
	defer b.Close()
	for _, d := range []string{"proc", "dev", "sys", "tmp"} {
		must(t, b.Add(erofs.Entry{Path: d, Mode: fs.ModeDir | 0o755}, nil))
	}
	must(t, b.Add(erofs.Entry{Path: "probe", Mode: 0o755}, f))
	path := filepath.Join(dir, "image")
	must(t, b.WriteFile(path))
	return path
}

// Code in a real sandbox finds its agent, is known by its address, reaches nothing closed, and
// keeps its connection while it is frozen.
func TestSandboxOnTheNetwork(t *testing.T) {
	m, n := realMachine(t)
	image := probeImage(t)
	agent, err := n.Listen(9001)
	must(t, err)
	defer agent.Close()
	other, err := net.Listen("tcp4", "0.0.0.0:0") // on every address of the host
	must(t, err)
	defer other.Close()
	port := other.Addr().(*net.TCPAddr).Port
	closed := []string{"169.254.169.254:80", fmt.Sprintf("169.254.100.1:%d", port)}
	addrs, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addrs {
		if ip := a.(*net.IPNet).IP.To4(); ip != nil && !ip.IsLoopback() {
			closed = append(closed, fmt.Sprintf("%s:%d", ip, port))
		}
	}

	var told netip.Addr
	w, err := m.Start(t.Context(), Spec{
		ID: "probe", RootFS: image, Memory: 128 << 20, CPUs: 2,
		Args: append([]string{"/probe", "169.254.100.1:9001"}, closed...), Output: os.Stderr,
		OnAddress: func(a netip.Addr) { told = a },
	})
	must(t, err)
	t.Cleanup(func() { must(t, w.Stop(context.Background())) })
	t.Logf("%+v", w.Phases())
	c, err := agent.Accept()
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	if from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); from != w.Addr() || told != w.Addr() {
		t.Errorf("%s connects; OnAddress was told %s", from, told)
	}
	lines := bufio.NewScanner(c)
	for _, addr := range closed {
		if lines.Scan(); lines.Text() != addr+" closed" {
			t.Errorf("got %q, %v", lines.Text(), lines.Err())
		}
	}
	must(t, w.Freeze(t.Context()))
	_, err = fmt.Fprintln(c, "while you were frozen")
	must(t, err)
	must(t, w.Thaw(t.Context()))
	if lines.Scan(); lines.Text() != "while you were frozen" {
		t.Errorf("got %q, %v", lines.Text(), lines.Err())
	}
	must(t, w.Stop(t.Context()))
	if _, err := n.Dial(t.Context(), "probe", "tcp4", "169.254.100.1:9001"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the network outlives the sandbox: %v", err)
	}
}
