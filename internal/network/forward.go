package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A packet is forwarded if the interface it came in by forwards: the link to the node namespace
// for what leaves, the interface of the route for what answers. On a host that routes already
// (net.ipv4.ip_forward = 1) nothing is changed. On one that does not, only those interfaces are
// switched on, and each instance guards them: what comes in by them and is not for an instance's
// link is dropped, so that the host does not become a router for its neighbours. The last
// instance that guards an interface switches it off again. If something else makes the host a
// router meanwhile (Docker does), the guards are taken away, since its packets pass there too.

const sysctlIPv4 = "/proc/sys/net/ipv4/"

func forwardingFile(link string) string { return sysctlIPv4 + "conf/" + link + "/forwarding" }

func readSwitch(path string) (bool, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)) == "1", err
}

func writeSwitch(path string, on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	return os.WriteFile(path, []byte(value), 0o644)
}

// forward makes the host forward for an instance. The caller holds the host's lock.
func forward(instance, link string, openings []opening) error {
	if err := writeSwitch(forwardingFile(link), true); err != nil {
		return fmt.Errorf("switch on forwarding: %w", err)
	}
	router, err := readSwitch(sysctlIPv4 + "ip_forward")
	if err != nil {
		return err
	}
	guarded, err := guards()
	if err != nil {
		return err
	}
	mine := guarded[tableName(instance)]
	if router {
		return setGuards(instance, false, mine)
	}
	exits, err := exits(openings)
	if err != nil {
		return err
	}
	for _, exit := range exits {
		if err := guard(instance, exit, guarded); err != nil {
			return err
		}
	}
	return nil
}

// guard switches forwarding on for one interface, unless the host's owner has.
func guard(instance, exit string, guarded map[string][]string) error {
	on, err := readSwitch(forwardingFile(exit))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the interface went away meanwhile
	}
	if err != nil {
		return err
	}
	if slices.Contains(guarded[tableName(instance)], exit) && on {
		return nil
	}
	if on && !guardedByAny(guarded, exit) {
		return nil
	}
	// The guard stands before the gate opens.
	if err := setGuards(instance, true, []string{exit}); err != nil {
		return err
	}
	if err := writeSwitch(forwardingFile(exit), true); err != nil {
		return fmt.Errorf("switch on forwarding: %w", err)
	}
	return nil
}

func guardedByAny(guarded map[string][]string, exit string) bool {
	for _, names := range guarded {
		if slices.Contains(names, exit) {
			return true
		}
	}
	return false
}

// unforward switches off what only this instance needed. The caller holds the host's lock.
func unforward(instance string) error {
	guarded, err := guards()
	if err != nil {
		return err
	}
	mine := guarded[tableName(instance)]
	delete(guarded, tableName(instance))
	router, err := readSwitch(sysctlIPv4 + "ip_forward")
	if err != nil || router {
		return err
	}
	for _, exit := range mine {
		if guardedByAny(guarded, exit) {
			continue
		}
		if e := writeSwitch(forwardingFile(exit), false); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("switch off forwarding: %w", e))
		}
	}
	return err
}

// exits are the interfaces by which something a sandbox may reach is reached.
func exits(openings []opening) ([]string, error) {
	routes, err := netlink.RouteList(nil, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	names := map[int]string{}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Name != "lo" && !strings.HasPrefix(a.Name, linkPrefix) {
			names[a.Index] = a.Name
		}
	}
	var out []string
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST || !reachable(routePrefix(r), openings) {
			continue
		}
		for _, index := range routeLinks(r) {
			if name := names[index]; name != "" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

// reachable says whether a sandbox may reach some address of p.
func reachable(p netip.Prefix, openings []opening) bool {
	if within(p, never) {
		return false
	}
	if !within(p, private) {
		return true
	}
	return slices.ContainsFunc(openings, func(o opening) bool { return o.prefix.Overlaps(p) })
}

func routePrefix(r netlink.Route) netip.Prefix {
	if r.Dst == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(r.Dst.IP.To4())
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(addr, bits)
}

func routeLinks(r netlink.Route) []int {
	links := []int{r.LinkIndex}
	for _, hop := range r.MultiPath {
		links = append(links, hop.LinkIndex)
	}
	return links
}
