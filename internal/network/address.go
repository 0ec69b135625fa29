package network

import (
	"net/netip"
	"time"
)

// rest is how long an address is kept from the next sandbox: longer than anything that knows a
// sandbox by its address remembers it, and than a stray packet lives.
const rest = 60 * time.Second

// Sandbox addresses are 169.254.101.1 to 169.254.164.254 without those ending in 0 and 255,
// which some software takes for broadcasts. They mean nothing outside the node namespace.
const (
	firstThird = 101
	lastThird  = 164
	perThird   = 254
	addresses  = (lastThird - firstThird + 1) * perThird
)

// addressAt is the i-th sandbox address.
func addressAt(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{169, 254, byte(firstThird + i/perThird), byte(1 + i%perThird)})
}

// pool gives addresses out. New ones come first, then those that have rested longest. It is not
// safe for concurrent use.
type pool struct {
	fresh   int // addresses given out at least once
	size    int
	resting []resting // in the order of until
}

type resting struct {
	addr  netip.Addr
	until time.Time
}

// take gives out an address, or none.
func (p *pool) take(now time.Time) (netip.Addr, bool) {
	if len(p.resting) > 0 && !now.Before(p.resting[0].until) && p.fresh >= p.size {
		addr := p.resting[0].addr
		p.resting = p.resting[1:]
		return addr, true
	}
	if p.fresh < p.size {
		p.fresh++
		return addressAt(p.fresh - 1), true
	}
	return netip.Addr{}, false
}

// give takes an address back.
func (p *pool) give(addr netip.Addr, now time.Time) {
	p.resting = append(p.resting, resting{addr, now.Add(rest)})
}
