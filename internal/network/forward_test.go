package network

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

func routeTo(p netip.Prefix) []netlink.Route {
	return []netlink.Route{{Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}}
}

func setRouter(t *testing.T, on bool) {
	t.Helper()
	must(t, writeSwitch(sysctlIPv4+"ip_forward", on))
}

func forwards(t *testing.T, link string) bool {
	t.Helper()
	on, err := readSwitch(forwardingFile(link))
	must(t, err)
	return on
}

// On a host that is no router the interface of the default route is switched on and guarded
// while a network is open; when the host becomes a router, the guard goes.
func TestForwardingIsLentAndGivenBack(t *testing.T) {
	needRoot(t)
	internet(t)
	setRouter(t, false)
	t.Cleanup(func() { setRouter(t, false) })
	n := open(t, Config{})
	guarded := func() []string {
		all, err := guards()
		must(t, err)
		return all[tableName("one")]
	}
	if !forwards(t, "eth0") || !slices.Equal(guarded(), []string{"eth0"}) {
		t.Errorf("forwarding %t, guarded %v", forwards(t, "eth0"), guarded())
	}
	must(t, n.keepForwarding(t.Context()))
	if !slices.Equal(guarded(), []string{"eth0"}) {
		t.Errorf("guarded %v the second time", guarded())
	}
	setRouter(t, true)
	must(t, n.keepForwarding(t.Context()))
	if len(guarded()) != 0 {
		t.Errorf("guards %v of a router", guarded())
	}
	must(t, n.Close(context.Background()))
	if !forwards(t, "eth0") {
		t.Error("switched off what somebody else needs")
	}
}

// What somebody else switched on before us is neither guarded nor switched off.
func TestForwardingOfOthersIsLeftAlone(t *testing.T) {
	needRoot(t)
	internet(t)
	setRouter(t, false)
	must(t, writeSwitch(forwardingFile("eth0"), true))
	n := open(t, Config{})
	all, err := guards()
	must(t, err)
	if len(all[tableName("one")]) != 0 {
		t.Errorf("guarded %v", all)
	}
	must(t, n.Close(context.Background()))
	if !forwards(t, "eth0") {
		t.Error("switched off what somebody else needs")
	}
}

// A neighbour cannot use the host as a router because forwarding was switched on.
func TestGuard(t *testing.T) {
	needRoot(t)
	internet(t)
	setRouter(t, false)
	// A network behind the host, whose interface its owner lets forward.
	behind := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0", TxQLen: -1}, PeerName: "lan1"}
	must(t, netlink.LinkAdd(behind))
	t.Cleanup(func() { must(t, netlink.LinkDel(behind)) })
	// What is counted is what is routed, not the host's own words to IPv6 neighbours.
	must(t, writeSwitch("/proc/sys/net/ipv6/conf/lan0/disable_ipv6", true))
	addr, err := netlink.ParseAddr("10.99.0.1/24")
	must(t, err)
	must(t, netlink.AddrAdd(behind, addr))
	must(t, netlink.LinkSetUp(behind))
	peer, err := netlink.LinkByName("lan1")
	must(t, err)
	must(t, netlink.LinkSetUp(peer))
	must(t, netlink.NeighAdd(&netlink.Neigh{LinkIndex: behind.Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 99, 0, 5), HardwareAddr: boxMAC}))
	sent := func() uint64 {
		l, err := netlink.LinkByIndex(behind.Index)
		must(t, err)
		return l.Attrs().Statistics.TxPackets
	}
	probe := func() uint64 {
		before := sent()
		must(t, fromTheWorld(t, netip.MustParseAddr("10.99.0.5")))
		return sent() - before
	}
	if probe() != 0 {
		t.Fatal("a host that does not forward has forwarded")
	}
	must(t, writeSwitch(forwardingFile("eth0"), true))
	if probe() == 0 {
		t.Fatal("nothing is forwarded at all: this test tests nothing")
	}
	must(t, writeSwitch(forwardingFile("eth0"), false))
	open(t, Config{})
	if !forwards(t, "eth0") {
		t.Fatal("forwarding is off")
	}
	if n := probe(); n != 0 {
		t.Errorf("%d packets were routed for a neighbour", n)
	}
}
