package pool

import (
	"context"
	"time"

	"lambent.dev/lambent/internal/lambda/function"
)

// scheduleLocked starts boots for groups whose requests wait, one group after the other, as
// many as may run at a time. No group gets the last place while it has another: a function that
// is slow to initialise delays no other's start. g, if not nil, has just got a request.
func (p *Pool) scheduleLocked(g *group) {
	if g != nil && !g.queued {
		g.queued = true
		p.queue = append(p.queue, g)
	}
	var held []*group
	for p.boots < p.cfg.Boots && len(p.queue) > 0 && !p.closed {
		g := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		g.queued = false
		if len(g.waiters) <= g.booting {
			continue // served by an environment that another request gave back
		}
		if g.booting >= max(1, p.cfg.Boots-1) {
			g.queued = true
			held = append(held, g)
			continue
		}
		victims, ok := p.admitLocked(g.bootMemory())
		if !ok {
			g.grantLocked(grant{err: throttled()})
			p.dropLocked(g)
		} else {
			p.bootLocked(g, victims)
		}
		if len(g.waiters) > g.booting {
			g.queued = true
			p.queue = append(p.queue, g)
		}
	}
	p.queue = append(held, p.queue...)
}

// freeFor is how long a reading of the host's memory is good for: what begins meanwhile is
// counted in promised.
const freeFor = 50 * time.Millisecond

// lingering is for how long code that has answered may go on before it is the first to go.
const lingering = time.Second

// admitLocked asks whether the host has memory for need more bytes, and picks the idle
// environments that must go for it. They are out of the pool when it returns; the caller stops
// them.
func (p *Pool) admitLocked(need int64) (victims []*slot, ok bool) {
	if p.cfg.FreeMemory == nil {
		return nil, true
	}
	if now := time.Now(); now.Sub(p.freeRead) >= freeFor {
		p.free, p.freeRead = p.cfg.FreeMemory(), now
	}
	if _, ok := Admit(p.free, p.promised, need, nil); ok {
		return nil, true
	}
	var idle []Candidate
	var slots []*slot
	now := time.Now()
	for s := range p.slots {
		c := Candidate{s.env.Resident() + Overhead, s.priority}
		switch {
		case s.state == settling && now.Sub(s.lastUsed) >= lingering:
			// Code that answers and goes on holds memory without being counted: it goes before
			// any that waits for work.
			c.Priority = -1
		case s.state != free:
			continue
		}
		idle = append(idle, c)
		slots = append(slots, s)
	}
	evict, ok := Admit(p.free, p.promised, need, idle)
	for _, i := range evict {
		victims = append(victims, slots[i])
		p.clock = max(p.clock, idle[i].Priority)
		p.free += idle[i].Memory
		p.detachLocked(slots[i])
	}
	return victims, ok
}

// growth is what an environment may take in addition to what it has.
func (s *slot) growth() int64 {
	return max(int64(s.group.fn.Memory)<<20-s.env.Resident(), 0)
}

// bootMemory is what a new environment of g may come to need.
func (g *group) bootMemory() int64 { return int64(g.fn.Memory)<<20 + Overhead }

// bootLocked starts an environment of g in the background, after victims have gone.
func (p *Pool) bootLocked(g *group, victims []*slot) {
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	b := &boot{cancel: cancel, memory: g.bootMemory()}
	p.boots++
	g.booting++
	p.booting[b] = struct{}{}
	p.promised += b.memory
	p.tasks.Go("boot environment", func() {
		for _, v := range victims {
			p.stop(v, "evicted")
		}
		env, err := p.start(ctx, g.fn)
		cancel()
		s := p.finishBoot(g, b, env, err)
		if s != nil {
			<-env.Done()
			p.died(s)
		}
	})
}

// start starts an environment. A start that fails by no fault of the code's (a process of the
// sandbox was killed, say) has left nothing behind and answered nobody, so it is tried once more.
func (p *Pool) start(ctx context.Context, fn function.Function) (Environment, error) {
	env, err := p.cfg.Starter.Start(ctx, fn)
	if err == nil || ctx.Err() != nil {
		return env, err
	}
	p.log.Warn("environment did not start, is started again", "function", fn.Name, "error", err)
	return p.cfg.Starter.Start(ctx, fn)
}

// finishBoot takes the outcome of a boot.
func (p *Pool) finishBoot(g *group, b *boot, env Environment, err error) *slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.boots--
	g.booting--
	delete(p.booting, b)
	p.promised -= b.memory
	var s *slot
	if err != nil {
		// The others have boots of their own, or are served by what comes back.
		if len(g.waiters) > g.booting {
			g.grantLocked(grant{err: err})
		}
		p.dropLocked(g)
	} else {
		s = &slot{env: env, group: g, lastUsed: time.Now()}
		s.priority = Priority(p.clock, g.uses, env.InitTime(), env.Resident()+Overhead)
		p.slots[s] = struct{}{}
		g.slots[s] = struct{}{}
		if dead(env) && len(g.waiters) > g.booting {
			// The request finds that out: it counts, and asks for another one or gives up.
			p.busyLocked(s)
			g.grantLocked(grant{slot: s})
		} else {
			p.offerLocked(s)
		}
	}
	p.scheduleLocked(nil)
	return s
}

// died notices that an environment has ended by itself.
func (p *Pool) died(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state == free || s.state == settling {
		p.removeLocked(s, "died")
	}
}
