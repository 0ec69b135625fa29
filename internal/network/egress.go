package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// never lists what no sandbox reaches, whatever is configured. The host's own addresses are
// closed by a rule on the host, which asks the routing table and so needs no list.
var never = prefixes(
	"0.0.0.0/8", "127.0.0.0/8",
	"169.254.0.0/16",     // metadata services, the agents, the links between the namespaces
	"168.63.129.16/32",   // Azure's wire server: looks public, gives out the host's secrets
	"100.100.100.200/32", // Alibaba's metadata service
	"192.0.0.192/32",     // Oracle's
	"224.0.0.0/3",        // multicast, reserved, broadcast
)

// private lists what is closed until EgressAllow opens it.
var private = prefixes(
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// opening is one entry of Config.EgressAllow.
type opening struct {
	prefix      netip.Prefix
	first, last uint16 // ports; 0, 0 = every protocol and port
}

// parseOpenings reads Config.EgressAllow.
func parseOpenings(list []string) ([]opening, error) {
	var out []opening
	for _, entry := range list {
		o, err := parseOpening(entry)
		if err != nil {
			return nil, fmt.Errorf("egress allow %q: %w", entry, err)
		}
		out = append(out, o)
	}
	return out, nil
}

func parseOpening(entry string) (opening, error) {
	var o opening
	cidr, ports, ranged := strings.Cut(entry, ":")
	if ranged && strings.Contains(ports, ":") {
		return o, fmt.Errorf("sandboxes have no IPv6")
	}
	if !strings.Contains(cidr, "/") {
		cidr += "/32"
	}
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return o, err
	}
	if !prefix.Addr().Is4() {
		return o, fmt.Errorf("sandboxes have no IPv6")
	}
	o.prefix = prefix.Masked()
	if within(o.prefix, never) {
		return o, fmt.Errorf("%s is closed always", o.prefix)
	}
	if !ranged {
		return o, nil
	}
	first, last, two := strings.Cut(ports, "-")
	if !two {
		last = first
	}
	if o.first, err = parsePort(first); err != nil {
		return o, err
	}
	if o.last, err = parsePort(last); err != nil {
		return o, err
	}
	if o.last < o.first {
		return o, fmt.Errorf("port range %s is empty", ports)
	}
	return o, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port", s)
	}
	return uint16(n), nil
}

// within says whether all of p is inside one of list.
func within(p netip.Prefix, list []netip.Prefix) bool {
	for _, in := range list {
		if in.Bits() <= p.Bits() && in.Contains(p.Addr()) {
			return true
		}
	}
	return false
}
