package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// child marks the process that runs the tests: one with network and mount namespaces of its own.
const child = "LAMBENT_TEST_HOST"

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(child) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), child+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(cmd.ProcessState.ExitCode())
	}
	goleak.VerifyTestMain(m)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test makes network namespaces and must run as root")
	}
	t.Skip("this test makes network namespaces; run it as root")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const probe = "198.51.100.1:443"

// world is a namespace beyond this test's host, with a TCP listener at probe.
func world(t *testing.T) {
	t.Helper()
	done := make(chan error)
	ready := make(chan net.Listener)
	go func() { // the thread stays in the namespace and ends with the goroutine
		done <- func() error {
			runtime.LockOSThread()
			host, err := netns.Get()
			if err != nil {
				return err
			}
			defer host.Close()
			ns, err := netns.New()
			if err != nil {
				return err
			}
			defer ns.Close()
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "isp", TxQLen: -1}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(host))}
			if err := netlink.LinkAdd(veth); err != nil {
				return err
			}
			addr, err := netlink.ParseAddr("198.51.100.1/24")
			if err != nil {
				return err
			}
			if err := errors.Join(netlink.AddrAdd(veth, addr), netlink.LinkSetUp(veth)); err != nil {
				return err
			}
			l, err := net.Listen("tcp4", probe)
			if err != nil {
				return err
			}
			ready <- l
			for {
				c, err := l.Accept()
				if err != nil {
					return netlink.LinkDel(veth)
				}
				c.Close()
			}
		}()
	}()
	select {
	case err := <-done:
		t.Fatal(err)
	case l := <-ready:
		t.Cleanup(func() {
			l.Close()
			must(t, <-done)
		})
	}
	for _, name := range []string{"lo", "eth0"} {
		link, err := netlink.LinkByName(name)
		must(t, err)
		if name == "eth0" {
			addr, err := netlink.ParseAddr("198.51.100.2/24")
			must(t, err)
			must(t, netlink.AddrReplace(link, addr))
		}
		must(t, netlink.LinkSetUp(link))
	}
}

func find(t *testing.T, all []Finding, name string) Finding {
	t.Helper()
	for _, f := range all {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no finding %q among %v", name, all)
	return Finding{}
}

func traces(t *testing.T) string {
	t.Helper()
	var out []string
	links, err := netlink.LinkList()
	must(t, err)
	for _, l := range links {
		out = append(out, "link "+l.Attrs().Name)
	}
	conn, err := nftables.New()
	must(t, err)
	tables, err := conn.ListTables()
	must(t, err)
	for _, table := range tables {
		out = append(out, "table "+table.Name)
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	return strings.Join(append(out, string(info)), "\n")
}

func TestCheck(t *testing.T) {
	needRoot(t)
	world(t)
	before := traces(t)
	all := Check(t.Context(), Config{
		StateDir: filepath.Join(t.TempDir(), "state"), Listen: "127.0.0.1:4566", Probe: probe, DNS: []string{"127.0.0.1:1"},
		Runtimes: func(context.Context) ([]string, error) { return []string{"python3.13"}, nil },
		Extra:    []Examination{func(context.Context) []Finding { return []Finding{ok("extra", "asked")} }},
	})
	if diff := cmp.Diff(before, traces(t)); diff != "" {
		t.Errorf("left (-before +after):\n%s", diff)
	}
	for _, f := range all {
		if f.Name == "" || f.Detail == "" || (f.Status == OK) != (f.Fix == "") {
			t.Errorf("finding is not whole: %+v", f)
		}
	}
	for _, name := range []string{"kernel", "control groups", "network", "egress of sandboxes", "port", "runtimes", "extra"} {
		if f := find(t, all, name); f.Status != OK {
			t.Errorf("%+v", f)
		}
	}
	if f := find(t, all, "DNS in sandboxes"); f.Status != Warn {
		t.Errorf("with a resolver that is not there: %+v", f)
	}
	must(t, Require())
}

// A firewall whose policy for forwarded packets is to drop, like Docker's and ufw's, is named
// with the commands that let sandboxes through.
func TestFirewall(t *testing.T) {
	needRoot(t)
	world(t)
	conn, err := nftables.New()
	must(t, err)
	policy := nftables.ChainPolicyDrop
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"})
	conn.AddChain(&nftables.Chain{
		Table: table, Name: "FORWARD", Type: nftables.ChainTypeFilter, Policy: &policy,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	must(t, conn.Flush())
	t.Cleanup(func() {
		conn.DelTable(table)
		must(t, conn.Flush())
	})
	f := find(t, networks(t.Context(), Config{Probe: probe, DNS: []string{"127.0.0.1:1"}}), "egress of sandboxes")
	if f.Status != Fail || !strings.Contains(f.Detail, "ip filter FORWARD") || !strings.Contains(f.Fix, `nft insert rule ip filter FORWARD iifname '"lmb*"' accept`) {
		t.Errorf("%+v", f)
	}
}

// A machine without a way out is told apart from one whose sandboxes have none.
func TestNoWayOut(t *testing.T) {
	needRoot(t)
	f := find(t, networks(t.Context(), Config{Probe: "203.0.113.1:443", DNS: []string{"127.0.0.1:1"}}), "egress of sandboxes")
	if f.Status != Warn || !strings.Contains(f.Detail, "this machine itself") {
		t.Errorf("%+v", f)
	}
}

func TestPrivileges(t *testing.T) {
	all := uint64(1)<<41 - 1
	if got := privileges(all, nil); len(got) != 1 || got[0].Status != OK {
		t.Errorf("with all: %+v", got)
	}
	got := privileges(all&^(1<<unix.CAP_SYS_ADMIN)&^(1<<unix.CAP_SYS_RESOURCE), nil)
	if len(got) != 2 || got[0].Status != Fail || !strings.Contains(got[0].Detail, "CAP_SYS_ADMIN") || got[1].Status != Warn {
		t.Errorf("without two: %+v", got)
	}
	if got := privileges(0, nil); len(got) != len(capabilities) {
		t.Errorf("with none: %+v", got)
	}
}

func TestKernel(t *testing.T) {
	for release, want := range map[string]Status{
		"6.18.5": OK, "5.10.0-30-amd64": OK, "5.9.16": Fail, "4.18.0-553.el8": Fail, "6": Warn, "": Warn,
	} {
		if got := kernel(release); got.Status != want {
			t.Errorf("%s: %+v", release, got)
		}
	}
}

func TestDisk(t *testing.T) {
	const gib = 1 << 30
	for _, test := range []struct {
		free, all uint64
		want      Status
	}{{100 * gib, 200 * gib, OK}, {5 * gib, 50 * gib, Warn}, {gib / 2, 4 * gib, Fail}, {40 * gib, 1000 * gib, Fail}} {
		if got := space("/state", test.free, test.all); got.Status != test.want {
			t.Errorf("%d of %d: %+v", test.free, test.all, got)
		}
	}
	for took, want := range map[time.Duration]Status{
		time.Microsecond: Warn, time.Millisecond: OK, 30 * time.Millisecond: Warn,
	} {
		if got := syncs("/state", took); got.Status != want {
			t.Errorf("%v: %+v", took, got)
		}
	}
	dir := t.TempDir()
	stateDir(filepath.Join(dir, "not", "yet"))
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestSharedMemory(t *testing.T) {
	for dir, want := range map[string]Status{"/dev/shm": OK, "/proc": Warn, filepath.Join(t.TempDir(), "none"): Warn} {
		if got := sharedMemory(dir); got.Status != want || (got.Fix == "") != (want == OK) {
			t.Errorf("%s: %+v", dir, got)
		}
	}
}

func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meminfo")
	for content, want := range map[string]Status{
		"MemTotal: 1 kB\nMemAvailable: 8388608 kB\n": OK,
		"MemAvailable:     1024 kB\n":                Warn,
		"nothing\n":                                  Warn,
	} {
		must(t, os.WriteFile(path, []byte(content), 0o600))
		if got := memory(path); got.Status != want {
			t.Errorf("%q: %+v", content, got)
		}
	}
}

func TestPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	cfg := Config{Listen: l.Addr().String(), StateDir: t.TempDir()}
	if got := port(cfg); got.Status != Fail || !strings.Contains(got.Fix, "ss -ltnp") {
		t.Errorf("in use: %+v", got)
	}
	lock, err := os.Create(filepath.Join(cfg.StateDir, "lock"))
	must(t, err)
	defer lock.Close()
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	if got := port(cfg); got.Status != OK {
		t.Errorf("in use by a server: %+v", got)
	}
	must(t, l.Close())
	if got := port(cfg); got.Status != OK || !strings.Contains(got.Detail, "free") {
		t.Errorf("free: %+v", got)
	}
}

func TestRuntimes(t *testing.T) {
	for _, test := range []struct {
		ids  []string
		err  error
		want Status
	}{{[]string{"nodejs22.x"}, nil, OK}, {nil, nil, Warn}, {nil, errors.New("broken"), Fail}} {
		got := runtimes(t.Context(), func(context.Context) ([]string, error) { return test.ids, test.err })
		if len(got) != 1 || got[0].Status != test.want {
			t.Errorf("%v, %v: %+v", test.ids, test.err, got)
		}
	}
	if got := runtimes(t.Context(), nil); got != nil {
		t.Errorf("not asked: %+v", got)
	}
}

func TestOutput(t *testing.T) {
	all := []Finding{ok("kernel", "Linux %s", "6.18"), bad("port", Fail, errors.New("in\nuse"), "ss -ltnp <x>")}
	var table, text bytes.Buffer
	must(t, Table(&table, all))
	want := "ok    kernel  Linux 6.18\nfail  port    in use\n              try: ss -ltnp <x>\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Error(diff)
	}
	must(t, JSON(&text, all))
	var back []Finding
	must(t, json.Unmarshal(text.Bytes(), &back))
	if diff := cmp.Diff(all, back); diff != "" {
		t.Error(diff)
	}
	for want, findings := range map[Status][]Finding{
		OK: {{Status: OK}}, Warn: {{Status: OK}, {Status: Warn}, {Status: OK}}, Fail: {{Status: Fail}, {Status: Warn}},
	} {
		if got := Worst(findings); got != want {
			t.Errorf("worst of %v is %s", findings, got)
		}
	}
	if Worst(nil) != OK {
		t.Error("nothing is wrong with nothing")
	}
}
