package pool

import (
	"context"
	"errors"
	"slices"
	"time"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/function"
)

// key is what an environment can serve: one configuration of one function.
type key struct{ account, name, version, generation string }

// group is the environments of one key and the requests that wait for one. Pool.mu guards it.
type group struct {
	key     key
	fn      function.Function
	slots   map[*slot]struct{}
	free    []*slot // most recently used last
	waiters []*waiter
	booting int
	queued  bool // in Pool.queue
	uses    int
	retired bool // a newer group has taken its place
}

type state int

const (
	busy     state = iota
	free           // in group.free
	settling       // has answered, does not ask for the next event yet
	removed
)

// slot is one environment. Pool.mu guards all but env.
type slot struct {
	env      Environment
	group    *group
	state    state
	lastUsed time.Time
	priority float64
	watched  bool // in Pool.watched
	frozen   bool
	served   bool  // has run an invocation
	promised int64 // while busy: its part of Pool.promised
}

// waiter is a request without an environment.
type waiter struct{ granted chan grant }

type grant struct {
	slot *slot
	err  error
}

// boot is an environment that is being started.
type boot struct {
	cancel context.CancelFunc
	memory int64 // what it may come to need
}

// groupLocked finds or makes the group of fn.
func (p *Pool) groupLocked(fn function.Function) *group {
	k := key{fn.Account, fn.Name, fn.Version, fn.Generation}
	g := p.groups[k]
	if g == nil {
		g = &group{key: k, fn: fn, slots: map[*slot]struct{}{}}
		p.groups[k] = g
	}
	return g
}

// dropLocked forgets a group that nothing belongs to any more.
func (p *Pool) dropLocked(g *group) {
	if len(g.slots) == 0 && len(g.waiters) == 0 && g.booting == 0 && p.groups[g.key] == g {
		delete(p.groups, g.key)
	}
}

// take returns an environment of fn for the caller alone, as soon as there is one.
func (p *Pool) take(ctx context.Context, fn function.Function) (*slot, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrDraining
	}
	g := p.groupLocked(fn)
	g.uses++
	if s := p.pickLocked(g, time.Now()); s != nil {
		defer p.mu.Unlock()
		if err := p.useLocked(s); err != nil {
			return nil, err
		}
		return s, nil
	}
	w := &waiter{make(chan grant, 1)}
	g.waiters = append(g.waiters, w)
	p.scheduleLocked(g)
	p.mu.Unlock()
	select {
	case got := <-w.granted:
		return got.slot, got.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(g.waiters, w); i >= 0 {
		g.waiters = slices.Delete(g.waiters, i, i+1)
	} else if got := <-w.granted; got.slot != nil {
		p.unpromiseLocked(got.slot)
		p.offerLocked(got.slot)
	}
	p.dropLocked(g)
	return nil, ctx.Err()
}

// pickLocked finds a free environment of g: the most recently used one that asks for an event;
// failing that the most recently used one, which surely will in a moment.
func (p *Pool) pickLocked(g *group, now time.Time) *slot {
	const look = 8
	best := -1
	for i := len(g.free) - 1; i >= 0 && i >= len(g.free)-look; i-- {
		s := g.free[i]
		if dead(s.env) || Expired(s.lastUsed, s.env.RetireAt(), now, p.cfg.IdleTimeout) {
			p.removeLocked(s, "expired") // takes it out of g.free at i; those below stay
			if best > i {
				best--
			}
			continue
		}
		if best < 0 {
			best = i
		}
		if s.env.Idle() {
			best = i
			break
		}
	}
	if best < 0 {
		return nil
	}
	return g.free[best]
}

// useLocked makes a free environment busy if there is memory for what it may do. Whoever must
// go for that goes in the background: the memory is not needed at once.
func (p *Pool) useLocked(s *slot) error {
	s.unfreeLocked(busy)
	victims, ok := p.admitLocked(s.growth())
	if !ok {
		s.state = free
		s.group.free = append(s.group.free, s)
		return throttled()
	}
	for _, v := range victims {
		p.tasks.Go("stop environment", func() { p.stop(v, "evicted") })
	}
	s.frozen = false
	p.busyLocked(s)
	return nil
}

// busyLocked marks s busy; what it may grow by is promised to it until give.
func (p *Pool) busyLocked(s *slot) {
	s.state, s.promised = busy, s.growth()
	p.promised += s.promised
}

// unpromiseLocked takes the promise back.
func (p *Pool) unpromiseLocked(s *slot) {
	p.promised -= s.promised
	s.promised = 0
}

// give takes an environment back after an invocation that ended with err.
func (p *Pool) give(s *slot, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unpromiseLocked(s)
	if s.state == removed {
		return
	}
	s.lastUsed = time.Now()
	s.served = s.served || err == nil
	s.priority = Priority(p.clock, s.group.uses, s.env.InitTime(), s.env.Resident()+Overhead)
	switch {
	case dead(s.env):
		p.removeLocked(s, "died")
	case errors.Is(err, environment.ErrBusy):
		s.state = settling
		p.watchLocked(s)
	case err != nil && s.env.InitFailed():
		p.removeLocked(s, "cannot start")
	default:
		p.offerLocked(s)
	}
}

// offerLocked gives an environment that has nothing to do to the first request that waits, or
// makes it free.
func (p *Pool) offerLocked(s *slot) {
	g := s.group
	switch {
	case p.closed || dead(s.env) || Expired(s.lastUsed, s.env.RetireAt(), time.Now(), p.cfg.IdleTimeout):
		p.removeLocked(s, "expired")
	case len(g.waiters) > 0:
		p.busyLocked(s)
		g.grantLocked(grant{slot: s})
	case g.retired:
		p.removeLocked(s, "function changed")
	case s.env.InitFailed():
		p.removeLocked(s, "initialisation failed") // nobody waits to hear of it
	default:
		s.state = free
		g.free = append(g.free, s)
		p.watchLocked(s)
	}
}

// grantLocked answers the request that has waited longest.
func (g *group) grantLocked(got grant) {
	w := g.waiters[0]
	g.waiters = slices.Delete(g.waiters, 0, 1)
	w.granted <- got
}

// removeLocked ends an environment, in the background.
func (p *Pool) removeLocked(s *slot, why string) {
	if s.state == removed {
		return
	}
	p.detachLocked(s)
	p.tasks.Go("stop environment", func() { p.stop(s, why) })
}

// detachLocked takes an environment out of the pool; it still has to be stopped.
func (p *Pool) detachLocked(s *slot) {
	s.unfreeLocked(removed)
	delete(p.slots, s)
	delete(s.group.slots, s)
	p.dropLocked(s.group)
}

// unfreeLocked gives a slot a state other than free.
func (s *slot) unfreeLocked(to state) {
	if i := slices.Index(s.group.free, s); i >= 0 {
		s.group.free = slices.Delete(s.group.free, i, i+1)
	}
	s.state = to
}

func (p *Pool) stop(s *slot, why string) {
	p.log.Debug("environment ends", "function", s.group.key.name, "why", why)
	if err := s.env.Stop(context.Background()); err != nil {
		p.log.Warn("stop environment", "function", s.group.key.name, "error", err)
	}
}

func dead(e Environment) bool {
	select {
	case <-e.Done():
		return true
	default:
		return false
	}
}
