package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// child marks the process that runs the tests: one with network and mount namespaces of its own,
// which stands for a host. So tests change nothing of the machine, and it does not disturb them.
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

// needRoot skips a test that makes namespaces when it may not. In CI that is a failure.
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

const (
	hostAddr  = "198.51.100.2"    // the host's own, on its way to the world
	world     = "198.51.100.1"    // a public address
	database  = "10.20.0.1"       // a private one
	metadata  = "169.254.169.254" // a cloud's metadata service
	worldPort = 8080
)

// world1 are the namespaces of the internet that is up.
var world1 struct{ host, ns *os.File }

// internet joins the test's host to a namespace with the addresses above. In it TCP servers
// answer "hello" at worldPort, and what comes by UDP is what the returned socket reads.
func internet(t *testing.T) net.PacketConn {
	t.Helper()
	host, err := os.Open(threadNS)
	must(t, err)
	ns, err := create(host, func(*os.File) error { return nil })
	must(t, err)
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 1400, TxQLen: -1},
		PeerName:  "isp", PeerNamespace: netlink.NsFd(int(ns.Fd())),
	}
	must(t, netlink.LinkAdd(veth))
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	addr, err := netlink.ParseAddr(hostAddr + "/24")
	must(t, err)
	must(t, netlink.AddrAdd(veth, addr))
	must(t, netlink.LinkSetUp(veth))
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: veth.Index, Gw: net.ParseIP(world)}))
	var udp net.PacketConn
	must(t, inside(host, ns, func() error {
		isp, err := netlink.LinkByName("isp")
		if err != nil {
			return err
		}
		for _, a := range []string{world + "/24", database + "/24", metadata + "/32"} {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(isp, addr); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetUp(isp); err != nil {
			return err
		}
		l, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", worldPort))
		if err != nil {
			return err
		}
		serveHello(t, l)
		udp, err = net.ListenPacket("udp4", fmt.Sprintf("%s:%d", world, worldPort))
		return err
	}))
	must(t, settle(new(netlink.Handle), veth.Index))
	world1.host, world1.ns = host, ns
	t.Cleanup(func() {
		udp.Close()
		must(t, netlink.LinkDel(veth))
		must(t, errors.Join(ns.Close(), host.Close()))
	})
	return udp
}

// fromTheWorld sends a datagram to an address behind the host from the host's neighbour. It has
// been routed when the call returns: veths hand packets over at once.
func fromTheWorld(t *testing.T, to netip.Addr) error {
	t.Helper()
	return inside(world1.host, world1.ns, func() error {
		if err := netlink.RouteReplace(&netlink.Route{Dst: network32(to), Gw: net.ParseIP(hostAddr)}); err != nil {
			return err
		}
		c, err := net.Dial("udp4", netip.AddrPortFrom(to, worldPort).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("route me"))
		return err
	})
}

// serveHello answers every connection with "hello".
func serveHello(t *testing.T, l net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "hello")
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
}

// open opens a network that is closed with the test.
func open(t *testing.T, cfg Config) *Network {
	t.Helper()
	if cfg.Instance == "" {
		cfg.Instance = "one"
	}
	cfg.Dir = t.TempDir()
	n, err := Open(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, n.Close(context.Background())) })
	return n
}

func attach(t *testing.T, n *Network, id string) *Endpoint {
	t.Helper()
	e, err := n.Attach(t.Context(), id)
	must(t, err)
	return e
}

// hello says whether a TCP server answers sandbox id at an address, and what went wrong if not.
func hello(n *Network, id string, addr any, port int) error {
	// What is dropped answers nothing; what passes does so in a fraction of this.
	ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
	defer cancel()
	c, err := n.Dial(ctx, id, "tcp", fmt.Sprintf("%v:%d", addr, port))
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	b := make([]byte, 5)
	if _, err := c.Read(b); err != nil {
		return err
	}
	if string(b) != "hello" {
		return fmt.Errorf("read %q", b)
	}
	return nil
}

// traces are what networks leave on a host: interfaces, tables, mounts and open namespaces.
func traces(t *testing.T) string {
	t.Helper()
	var out []string
	links, err := netlink.LinkList()
	must(t, err)
	for _, l := range links {
		forwarding, _ := readSwitch(forwardingFile(l.Attrs().Name))
		out = append(out, fmt.Sprintf("link %s forwarding=%t", l.Attrs().Name, forwarding))
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
	for line := range strings.Lines(string(info)) {
		out = append(out, "mount "+strings.Fields(line)[4])
	}
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, "net:") || strings.HasPrefix(to, "socket:") {
			out = append(out, "open "+strings.SplitN(to, ":", 2)[0])
		}
	}
	return strings.Join(out, "\n")
}

func addrOf(t *testing.T, s string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(s)
	must(t, err)
	return a
}
