package network

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Every veth that a sandbox is on has the same two hardware addresses: each is a wire of its
// own, and a sandbox that is restored elsewhere finds its gateway where it was.
var (
	boxMAC   = net.HardwareAddr{0x02, 0xa9, 0xfe, 0, 0, 2}
	agentMAC = net.HardwareAddr{0x02, 0xa9, 0xfe, 0x64, 0, 1}
)

// defaultMTU is used on a host without a default route.
const defaultMTU = 1500

func network32(addr netip.Addr) *net.IPNet {
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// digest picks names and addresses for an instance.
func digest(instance string) [sha256.Size]byte { return sha256.Sum256([]byte(instance)) }

// hostLink is the name of the host's end of an instance's pair.
func hostLink(instance string) string {
	d := digest(instance)
	return linkPrefix + hex.EncodeToString(d[:5])
}

// alias marks the host's end as an instance's: names are short and could meet.
func alias(instance string) string { return "lambent " + instance }

// pair is the link between the host and a node namespace.
type pair struct {
	name       string // the host's end
	index      int
	host, node netip.Addr
	mtu        int
}

// openPair makes the pair. The caller holds the host's lock, so that no other instance takes
// the same subnet meanwhile.
func openPair(instance string, ns *os.File) (pair, error) {
	p := pair{name: hostLink(instance), mtu: defaultMTU}
	routes, err := netlink.RouteList(nil, unix.AF_INET)
	if err != nil {
		return p, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() != "0.0.0.0/0" {
			continue
		}
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			p.mtu = l.Attrs().MTU
			break
		}
	}
	if p.host, p.node, err = freeSubnet(instance, routes); err != nil {
		return p, err
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: p.name, MTU: p.mtu, TxQLen: -1},
		PeerName:  uplink, PeerNamespace: netlink.NsFd(int(ns.Fd())),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return p, fmt.Errorf("make link %s: %w", p.name, err)
	}
	p.index = veth.Index
	if err := netlink.LinkSetAlias(veth, alias(instance)); err != nil {
		return p, fmt.Errorf("mark link %s: %w", p.name, err)
	}
	if err := disableIPv6(p.name); err != nil {
		return p, err
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.host.AsSlice(), Mask: net.CIDRMask(30, 32)}}
	if err := netlink.AddrAdd(veth, addr); err != nil {
		return p, fmt.Errorf("give %s its address: %w", p.name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return p, fmt.Errorf("set %s up: %w", p.name, err)
	}
	return p, nil
}

// freeSubnet picks a /30 of 169.254.192.0/18 that no route of the host knows: link-local, since
// that cannot be a network that somebody wants to reach. The search begins at a place of the
// instance's own.
func freeSubnet(instance string, routes []netlink.Route) (host, node netip.Addr, err error) {
	const subnets = 1 << 12
	d := digest(instance)
	start := binary.BigEndian.Uint32(d[8:])
	for i := range uint32(subnets) {
		n := (start + i) % subnets
		base := [4]byte{169, 254, 192 + byte(n>>6), byte(n<<2) & 0xfc}
		subnet := netip.PrefixFrom(netip.AddrFrom4(base), 30)
		if known(subnet, routes) {
			continue
		}
		host = subnet.Addr().Next()
		return host, host.Next(), nil
	}
	return host, node, errors.New("no free subnet in 169.254.192.0/18 for the link to the host")
}

// known says whether a route goes to something in subnet. Routes to all of 169.254/16 or more
// do not count.
func known(subnet netip.Prefix, routes []netlink.Route) bool {
	for _, r := range routes {
		if p := routePrefix(r); p.Bits() > 16 && p.Overlaps(subnet) {
			return true
		}
	}
	return false
}

// disableIPv6 is done by name, on the thread's namespace ("all" for all of it). A kernel without
// IPv6 has nothing to disable.
func disableIPv6(link string) error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6", []byte("1"), 0o644)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("disable IPv6: %w", err)
	}
	return nil
}

// setUpNode makes the inside of a node namespace. It runs on a thread in it.
func setUpNode(p pair) error {
	if err := nodeSwitches(); err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	up, err := h.LinkByName(uplink)
	if err != nil {
		return err
	}
	subnet := &net.IPNet{IP: p.node.AsSlice(), Mask: net.CIDRMask(30, 32)}
	for _, step := range []func() error{
		func() error { return h.AddrAdd(lo, &netlink.Addr{IPNet: network32(Agent)}) },
		func() error { return h.LinkSetUp(lo) },
		func() error { return h.AddrAdd(up, &netlink.Addr{IPNet: subnet}) },
		func() error { return h.LinkSetUp(up) },
		func() error { return h.RouteAdd(&netlink.Route{LinkIndex: up.Attrs().Index, Gw: p.host.AsSlice()}) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("set up node namespace: %w", err)
		}
	}
	return nil
}

// nodeSwitches sets the sysctls of a node namespace, whatever the host's are: a new namespace
// may inherit them. They are written on a thread in it.
func nodeSwitches() error {
	if err := disableIPv6("all"); err != nil {
		return err
	}
	for _, s := range []struct{ name, value string }{
		{"ipv4/conf/all/rp_filter", "1"}, // a second guard against false sources
		{"ipv4/conf/default/rp_filter", "1"},
		{"ipv4/conf/all/accept_redirects", "0"},
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv4/conf/default/send_redirects", "0"},
		{"ipv4/conf/all/accept_source_route", "0"},
		{"ipv4/conf/all/route_localnet", "0"},
		{"ipv4/ip_forward", "1"},
	} {
		if err := os.WriteFile("/proc/sys/net/"+s.name, []byte(s.value), 0o644); err != nil {
			return fmt.Errorf("set up node namespace: %w", err)
		}
	}
	// Absent until connection tracking is loaded, and then inherited; the host's table has the
	// same timeout by a rule.
	err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established", fmt.Append(nil, idleTimeout), 0o644)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set up node namespace: %w", err)
	}
	return nil
}

// boxLink is the name of a sandbox's veth in the node namespace.
func boxLink(addr netip.Addr) string {
	a := addr.As4()
	return boxPrefix + hex.EncodeToString(a[2:])
}

// openBox makes the veth of a sandbox. It runs on a thread in the new namespace box; node works
// in the node namespace. It returns the index of the node's end.
func openBox(node *netlink.Handle, box *os.File, addr netip.Addr, mtu int) (int, error) {
	if err := disableIPv6("all"); err != nil {
		return 0, err
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: boxLink(addr), MTU: mtu, TxQLen: -1, HardwareAddr: agentMAC, Flags: net.FlagUp},
		PeerName:  "eth0", PeerNamespace: netlink.NsFd(int(box.Fd())), PeerHardwareAddr: boxMAC,
	}
	if err := node.LinkAdd(veth); err != nil {
		return 0, fmt.Errorf("make veth: %w", err)
	}
	if err := setUpBoxPeer(node, veth.Index, addr); err != nil {
		return veth.Index, err
	}
	if err := setUpBox(addr); err != nil {
		return veth.Index, err
	}
	return veth.Index, settle(node, veth.Index)
}

// settle waits until the end of a veth that was set up before the other end passes packets. It
// does so by a worker of the kernel, some time after the other end is up, and drops packets
// until then: the first connection would lose a second. Asking for the link runs that work.
func settle(h *netlink.Handle, index int) error {
	if _, err := h.LinkByIndex(index); err != nil {
		return fmt.Errorf("wait for link %d: %w", index, err)
	}
	return nil
}

// setUpBoxPeer sets up the node's end of a sandbox's veth. It speaks no ARP: who is at the other
// end is known, and a sandbox could fill the neighbour table that the whole host shares.
func setUpBoxPeer(node *netlink.Handle, index int, addr netip.Addr) error {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: index}}
	for _, step := range []func() error{
		func() error { return node.LinkSetARPOff(link) },
		func() error {
			return node.NeighAdd(&netlink.Neigh{LinkIndex: index, State: unix.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: boxMAC})
		},
		func() error {
			return node.RouteAdd(&netlink.Route{LinkIndex: index, Dst: network32(addr), Scope: unix.RT_SCOPE_LINK})
		},
	} {
		if err := step(); err != nil {
			return fmt.Errorf("set up the node's end of the veth: %w", err)
		}
	}
	return nil
}

// setUpBox sets up a sandbox's own end, on a thread in its namespace.
func setUpBox(addr netip.Addr) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	eth, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}} // always, in a new namespace
	index := eth.Attrs().Index
	for _, step := range []func() error{
		func() error { return h.LinkSetUp(lo) },
		func() error { return h.AddrAdd(eth, &netlink.Addr{IPNet: network32(addr)}) },
		func() error { return h.LinkSetUp(eth) },
		func() error {
			return h.NeighAdd(&netlink.Neigh{LinkIndex: index, State: unix.NUD_PERMANENT, IP: Agent.AsSlice(), HardwareAddr: agentMAC})
		},
		func() error {
			return h.RouteAdd(&netlink.Route{LinkIndex: index, Dst: network32(Agent), Scope: unix.RT_SCOPE_LINK})
		},
		func() error {
			return h.RouteAdd(&netlink.Route{LinkIndex: index, Gw: Agent.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
		},
	} {
		if err := step(); err != nil {
			return fmt.Errorf("set up the sandbox's end of the veth: %w", err)
		}
	}
	return nil
}

// removeHostLink removes the host's end of an instance's pair, and the other end with it.
func removeHostLink(instance string) error {
	link, err := netlink.LinkByName(hostLink(instance))
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", hostLink(instance), err)
	}
	// Without a mark it is of a start that was cut short.
	if mark := link.Attrs().Alias; mark != "" && mark != alias(instance) {
		return fmt.Errorf("link %s is not of instance %s (alias %q)", hostLink(instance), instance, mark)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %s: %w", hostLink(instance), err)
	}
	return nil
}
