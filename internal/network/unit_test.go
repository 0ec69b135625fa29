package network

import (
	"net/netip"
	"testing"
	"time"
)

func TestAddressesRest(t *testing.T) {
	now := time.Unix(0, 0)
	p := pool{size: 2}
	take := func(want netip.Addr) {
		t.Helper()
		if got, _ := p.take(now); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	one, two := addressAt(0), addressAt(1)
	take(one)
	p.give(one, now)
	take(two) // a fresh one before a used one
	now = now.Add(rest - time.Nanosecond)
	take(netip.Addr{})
	now = now.Add(time.Nanosecond)
	take(one)
	take(netip.Addr{})
	p.give(two, now)
	p.give(one, now.Add(time.Second))
	now = now.Add(rest)
	take(two)
	take(netip.Addr{})
}

func TestAddressesAreDistinctAndUsable(t *testing.T) {
	seen := map[netip.Addr]bool{Agent: true}
	links := map[string]bool{}
	for i := range addresses {
		a := addressAt(i)
		if seen[a] || links[boxLink(a)] || !a.IsLinkLocalUnicast() || a.As4()[3] == 0 || a.As4()[3] == 255 {
			t.Fatalf("address %d is %s", i, a)
		}
		seen[a], links[boxLink(a)] = true, true
	}
	if last := addressAt(addresses - 1); last != netip.MustParseAddr("169.254.164.254") {
		t.Errorf("last address is %s", last)
	}
}

func TestParseOpening(t *testing.T) {
	for entry, want := range map[string]opening{
		"10.0.0.0/8":          {prefix: netip.MustParsePrefix("10.0.0.0/8")},
		"10.1.2.3":            {prefix: netip.MustParsePrefix("10.1.2.3/32")},
		"10.1.2.3/16:5432":    {prefix: netip.MustParsePrefix("10.1.0.0/16"), first: 5432, last: 5432},
		"192.168.0.0/16:1-99": {prefix: netip.MustParsePrefix("192.168.0.0/16"), first: 1, last: 99},
	} {
		got, err := parseOpening(entry)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", entry, got, err)
		}
	}
	for _, entry := range []string{
		"", "10.0.0.0/33", "host", "10.0.0.0/8:", "10.0.0.0/8:0", "10.0.0.0/8:70000", "10.0.0.0/8:9-8",
		"10.0.0.0/8:x", "fd00::/8", "::1", "169.254.169.254", "127.0.0.0/8", "224.0.0.1", "168.63.129.16/32:80",
	} {
		if got, err := parseOpening(entry); err == nil {
			t.Errorf("%q: got %+v", entry, got)
		}
	}
}

func TestReachable(t *testing.T) {
	openings := []opening{{prefix: netip.MustParsePrefix("10.1.0.0/16")}}
	for prefix, want := range map[string]bool{
		"0.0.0.0/0": true, "198.51.100.0/24": true, "10.0.0.0/8": true, "10.1.2.0/24": true,
		"10.2.0.0/16": false, "172.17.0.0/16": false, "169.254.0.0/16": false,
	} {
		if got := reachable(netip.MustParsePrefix(prefix), openings); got != want {
			t.Errorf("%s: got %t", prefix, got)
		}
	}
}

// Instances whose first choice is taken find another subnet.
func TestFreeSubnet(t *testing.T) {
	host, node, err := freeSubnet("one", nil)
	must(t, err)
	if host.Next() != node || !netip.MustParsePrefix("169.254.192.0/18").Contains(node) || host.As4()[3]%4 != 1 {
		t.Errorf("got %s and %s", host, node)
	}
	taken := routeTo(netip.PrefixFrom(host, 30).Masked())
	again, _, err := freeSubnet("one", taken)
	must(t, err)
	if again == host {
		t.Errorf("%s is taken", again)
	}
	if _, _, err := freeSubnet("one", routeTo(netip.MustParsePrefix("169.254.192.0/18"))); err == nil {
		t.Error("found a subnet where there is none")
	}
	if _, _, err := freeSubnet("one", routeTo(netip.MustParsePrefix("169.254.0.0/16"))); err != nil {
		t.Errorf("a route to all of link-local takes every subnet: %v", err)
	}
}
