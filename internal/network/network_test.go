package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func listenAgent(t *testing.T, n *Network, port int) {
	t.Helper()
	l, err := n.Listen(port)
	must(t, err)
	serveHello(t, l)
}

// listenHost serves hello on an address of the host.
func listenHost(t *testing.T, addr string, port int) {
	t.Helper()
	l, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", addr, port))
	must(t, err)
	serveHello(t, l)
}

// TestReach is what a sandbox reaches and what not.
func TestReach(t *testing.T) {
	needRoot(t)
	internet(t)
	n := open(t, Config{})
	other := open(t, Config{Instance: "two"})
	attach(t, n, "a")
	b := attach(t, n, "b")
	attach(t, other, "a")
	listenAgent(t, n, 9001)
	listenAgent(t, n, 4566)
	listenAgent(t, other, 9001)
	// A port of the node namespace that is not the agent's: opened without letting sandboxes in.
	must(t, inside(n.host, n.ns, func() error {
		l, err := net.Listen("tcp4", "0.0.0.0:2379")
		if err == nil {
			serveHello(t, l)
		}
		return err
	}))
	must(t, inside(n.host, n.boxes["b"].ns, func() error {
		l, err := net.Listen("tcp4", "0.0.0.0:80")
		if err == nil {
			serveHello(t, l)
		}
		return err
	}))
	listenHost(t, "0.0.0.0", 2379)

	for _, test := range []struct {
		name string
		addr any
		port int
		open bool
	}{
		{"runtime API", Agent, 9001, true},
		{"region's API", Agent, 4566, true},
		{"public address", world, worldPort, true},
		{"other port of the agent", Agent, 2379, false},
		{"other sandbox", b.Addr, 80, false},
		{"host's loopback", "127.0.0.1", 2379, false},
		{"host's address", hostAddr, 2379, false},
		{"host's end of the pair", n.pair.host, 2379, false},
		{"node's end of the pair", n.pair.node, 2379, false},
		{"node's end, agent's port", n.pair.node, 9001, false},
		{"host's end of another instance", other.pair.host, 2379, false},
		{"node's end of another instance", other.pair.node, 9001, false},
		{"metadata service", metadata, worldPort, false},
		{"private address", database, worldPort, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := hello(n, "a", test.addr, test.port)
			if test.open != (err == nil) {
				t.Errorf("reach %v:%d: %v", test.addr, test.port, err)
			}
		})
	}
}

// The addresses that TestReach finds closed answer the host: what it tests is the rules.
func TestClosedAddressesAnswerTheHost(t *testing.T) {
	needRoot(t)
	internet(t)
	must(t, netlink.RouteAdd(&netlink.Route{Dst: network32(addrOf(t, metadata)), Gw: net.ParseIP(world)}))
	for _, addr := range []string{world, metadata, database} {
		c, err := net.Dial("tcp", net.JoinHostPort(addr, fmt.Sprint(worldPort)))
		must(t, err)
		c.Close()
	}
}

func TestEgressAllow(t *testing.T) {
	needRoot(t)
	internet(t)
	n := open(t, Config{EgressAllow: []string{fmt.Sprintf("10.20.0.0/24:%d", worldPort)}})
	attach(t, n, "a")
	if err := hello(n, "a", database, worldPort); err != nil {
		t.Errorf("opened range: %v", err)
	}
	shut := open(t, Config{Instance: "two", EgressAllow: []string{"10.20.0.0/24:1-79", "10.20.0.7"}})
	attach(t, shut, "a")
	if err := hello(shut, "a", database, worldPort); err == nil {
		t.Error("another port of an opened range is open")
	}
}

// A new datagram with another source than the sandbox's own goes nowhere; the same with its own
// arrives.
func TestSpoofedSource(t *testing.T) {
	needRoot(t)
	udp := internet(t)
	n := open(t, Config{})
	a, b := attach(t, n, "a"), attach(t, n, "b")
	for _, source := range []netip.Addr{b.Addr, n.pair.node, addrOf(t, hostAddr), addrOf(t, "203.0.113.9"), Agent, a.Addr} {
		must(t, sendRaw(n, "a", source, addrOf(t, world), []byte(source.String())))
	}
	must(t, udp.SetReadDeadline(time.Now().Add(5*time.Second)))
	got := make([]byte, 64)
	k, _, err := udp.ReadFrom(got)
	must(t, err)
	if string(got[:k]) != a.Addr.String() {
		t.Errorf("a datagram from %s arrived, sent by %s", got[:k], a.Addr)
	}
}

// sendRaw sends a datagram with a chosen source from sandbox id.
func sendRaw(n *Network, id string, from, to netip.Addr, body []byte) error {
	packet := make([]byte, 28, 28+len(body))
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(packet[12:], from.AsSlice())
	copy(packet[16:], to.AsSlice())
	packet[20], packet[21] = 0x30, 0x39
	packet[22], packet[23] = worldPort>>8, worldPort&0xff
	packet[25] = byte(8 + len(body))
	packet = append(packet, body...)
	return inside(n.host, n.boxes[id].ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.As4()})
	})
}

// A sandbox that speaks IPv6 by itself, as one with a network stack of its own can, is heard by
// nobody: the node's end has no IPv6 address, and if it had, rules would drop it.
func TestIPv6(t *testing.T) {
	needRoot(t)
	n := open(t, Config{})
	a := attach(t, n, "a")
	link := boxLink(a.Addr)
	must(t, inside(n.host, n.ns, func() error {
		addrs, err := netlink.AddrList(nil, unix.AF_INET6)
		if len(addrs) > 0 {
			t.Errorf("the node namespace has IPv6 addresses: %v", addrs)
		}
		return err
	}))
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("this kernel has no IPv6")
	}
	addIPv6 := func(link, own, peer string, mac net.HardwareAddr) error {
		for _, scope := range []string{"all", link} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("0"), 0o644); err != nil {
				return err
			}
		}
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(own + "/64")
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		return netlink.NeighAdd(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: unix.NUD_PERMANENT, IP: net.ParseIP(peer), HardwareAddr: mac})
	}
	must(t, inside(n.host, n.boxes["a"].ns, func() error { return addIPv6("eth0", "fd00::2", "fd00::1", agentMAC) }))
	must(t, inside(n.host, n.ns, func() error {
		if err := addIPv6(link, "fd00::1", "fd00::2", boxMAC); err != nil {
			return err
		}
		l, err := net.Listen("tcp6", "[fd00::1]:9001")
		if err == nil {
			serveHello(t, l)
		}
		return err
	}))
	// The limit is met by the dialler's deadline or by its context's, whichever is first.
	var limit net.Error
	if err := hello(n, "a", "[fd00::1]", 9001); !errors.As(err, &limit) || !limit.Timeout() {
		t.Errorf("the node answers by IPv6: %v", err)
	}
}

// A frozen sandbox answers no ARP; neither end asks.
func TestNeighboursArePermanent(t *testing.T) {
	needRoot(t)
	n := open(t, Config{})
	attach(t, n, "a")
	listenAgent(t, n, 9001)
	must(t, hello(n, "a", Agent, 9001))
	for _, ns := range []*os.File{n.ns, n.boxes["a"].ns} {
		must(t, inside(n.host, ns, func() error {
			list, err := netlink.NeighList(0, unix.AF_INET)
			permanent := 0
			for _, e := range list {
				if e.State == unix.NUD_PERMANENT {
					permanent++
				}
			}
			if permanent != 1 {
				t.Errorf("%d permanent neighbours of %v", permanent, list)
			}
			return err
		}))
	}
}

func TestAttachIsExclusive(t *testing.T) {
	needRoot(t)
	n := open(t, Config{})
	a := attach(t, n, "a")
	if _, err := n.Attach(t.Context(), "a"); !errors.Is(err, ErrAttached) {
		t.Errorf("attached twice: %v", err)
	}
	must(t, n.Detach(t.Context(), "a"))
	must(t, n.Detach(t.Context(), "a"))
	if again := attach(t, n, "a"); again.Addr == a.Addr {
		t.Errorf("%s did not rest", a.Addr)
	}
	must(t, n.Close(t.Context()))
	if _, err := n.Attach(t.Context(), "b"); !errors.Is(err, ErrClosed) {
		t.Errorf("attached to a closed network: %v", err)
	}
	if _, err := n.Listen(9001); !errors.Is(err, ErrClosed) {
		t.Errorf("listened on a closed network: %v", err)
	}
}

// Sandboxes come and go at once, and nothing remains of them, nor of the network.
func TestLeavesNothing(t *testing.T) {
	needRoot(t)
	internet(t)
	before := traces(t)
	n := open(t, Config{})
	attach(t, n, "stays")
	opened := traces(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10 {
				id := fmt.Sprintf("%d-%d", w, i)
				if _, err := n.Attach(t.Context(), id); err != nil {
					t.Error(err)
				}
				if err := n.Detach(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(opened, traces(t)); diff != "" {
		t.Errorf("sandboxes left something (-before +after):\n%s", diff)
	}
	must(t, inside(n.host, n.ns, func() error {
		links, err := netlink.LinkList()
		if len(links) != 3 { // lo, up0 and the one that stays
			t.Errorf("node namespace has %d links", len(links))
		}
		return err
	}))
	elements, err := n.rules.conn.GetSetElements(n.rules.peers)
	must(t, err)
	if len(elements) != 1 {
		t.Errorf("node namespace knows %d peers", len(elements))
	}
	must(t, n.Close(t.Context()))
	if diff := cmp.Diff(before, traces(t)); diff != "" {
		t.Errorf("the network left something (-before +after):\n%s", diff)
	}
}

// What a killed server leaves is swept by its instance's name alone; another instance, which
// guards the same interface, goes on.
func TestSweep(t *testing.T) {
	needRoot(t)
	internet(t)
	before := traces(t)
	two := open(t, Config{Instance: "two"})
	attach(t, two, "a")
	mine := traces(t)
	one := open(t, Config{Instance: "one"})
	attach(t, one, "a")
	must(t, hello(one, "a", world, worldPort))
	must(t, one.release()) // as the kernel does for a process that was killed
	one.closed = true
	if traces(t) == mine {
		t.Fatal("a killed server leaves nothing: this test tests nothing")
	}
	must(t, Sweep(t.Context(), "one"))
	must(t, Sweep(t.Context(), "one"))
	if diff := cmp.Diff(mine, traces(t)); diff != "" {
		t.Errorf("sweeping one instance (-before +after):\n%s", diff)
	}
	if err := hello(two, "a", world, worldPort); err != nil {
		t.Errorf("the other instance lost its way: %v", err)
	}
	must(t, two.Close(t.Context()))
	if diff := cmp.Diff(before, traces(t)); diff != "" {
		t.Errorf("closing the last (-before +after):\n%s", diff)
	}
}

func TestOpenSweepsAnEarlierRun(t *testing.T) {
	needRoot(t)
	internet(t)
	before := traces(t)
	dir := t.TempDir()
	killed, err := Open(t.Context(), Config{Instance: "one", Dir: dir})
	must(t, err)
	attach(t, killed, "a")
	must(t, killed.release())
	n, err := Open(t.Context(), Config{Instance: "one", Dir: dir})
	must(t, err)
	attach(t, n, "a")
	must(t, hello(n, "a", world, worldPort))
	must(t, n.Close(t.Context()))
	if diff := cmp.Diff(before, traces(t)); diff != "" {
		t.Errorf("left (-before +after):\n%s", diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{Instance: ""}, {Instance: "a/b"}, {Instance: "UPPER"},
		{Instance: "a", EgressAllow: []string{"10.0.0.0/33"}},
		{Instance: "a", DNS: []string{"resolver.example"}},
	} {
		if n, err := Open(t.Context(), cfg); err == nil {
			n.Close(context.Background())
			t.Errorf("opened %+v", cfg)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	n, err := Open(b.Context(), Config{Instance: "bench", Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close(context.Background())
	for i := 0; b.Loop(); i++ {
		if _, err := n.Attach(b.Context(), fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := n.Detach(b.Context(), fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func TestTry(t *testing.T) {
	needRoot(t)
	before := traces(t)
	must(t, Try())
	if diff := cmp.Diff(before, traces(t)); diff != "" {
		t.Errorf("left (-before +after):\n%s", diff)
	}
}
