package pool

import (
	"context"
	"time"
)

// Run freezes idle environments and removes those that were idle for too long or that keep a disk
// full, until ctx ends. Then it removes all of them and returns when they are gone.
func (p *Pool) Run(ctx context.Context) error {
	t := time.NewTimer(sweepEvery)
	defer t.Stop()
	nextSweep := time.Now().Add(sweepEvery)
	nextDisk := time.Now().Add(diskEvery)
	for {
		select {
		case <-ctx.Done():
			p.close()
			return nil
		case <-p.wake:
		case <-t.C:
		}
		now := time.Now()
		if !now.Before(nextSweep) {
			p.sweep(now)
			nextSweep = now.Add(sweepEvery)
		}
		if !now.Before(nextDisk) {
			p.sweepDisk()
			nextDisk = now.Add(diskEvery)
		}
		wait := min(nextSweep.Sub(now), nextDisk.Sub(now))
		if p.look(now) {
			wait = min(wait, p.cfg.FreezeAfter)
		}
		t.Reset(wait)
	}
}

// watchLocked puts an environment before the housekeeper.
func (p *Pool) watchLocked(s *slot) {
	if s.watched {
		return
	}
	s.watched = true
	p.watched = append(p.watched, s)
	if len(p.watched) == 1 {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// look is one step of the housekeeping; it reports whether there is more to watch.
func (p *Pool) look(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	watched := p.watched
	p.watched = nil
	for _, s := range watched {
		s.watched = false
		if p.lookAtLocked(s, now) {
			s.watched = true
			p.watched = append(p.watched, s)
		}
	}
	return len(p.watched) > 0
}

// lookAtLocked reports whether s needs another look.
func (p *Pool) lookAtLocked(s *slot, now time.Time) bool {
	switch {
	case s.state != free && s.state != settling || s.frozen:
		return false // give puts it back
	case s.env.Overdue(now):
		p.removeLocked(s, "does not ask for work")
		return false
	case !s.env.Idle():
		if s.state == free && now.Sub(s.lastUsed) >= p.cfg.FreezeAfter {
			s.unfreeLocked(settling) // requests keep away from it
		}
		return !dead(s.env) && s.state != removed
	case s.state == settling:
		s.lastUsed = now
		p.offerLocked(s)
		return false // offerLocked watches it if it is free
	case now.Sub(s.lastUsed) < p.cfg.FreezeAfter:
		return true
	}
	s.frozen = true
	p.tasks.Go("freeze environment", func() { p.freeze(s) })
	return false
}

// freeze freezes an environment. If a request has taken it meanwhile, either the environment
// is busy and nothing happens, or the request thaws it.
func (p *Pool) freeze(s *slot) {
	frozen, err := s.env.Freeze(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.log.Warn("environment cannot be frozen", "function", s.group.key.name, "error", err)
		if s.state == free {
			p.removeLocked(s, "cannot be frozen")
		}
	case !frozen && s.state == free:
		s.frozen = false
		p.watchLocked(s)
	}
}

// sweep removes environments that were idle for too long.
func (p *Pool) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.slots {
		if s.state == free && Expired(s.lastUsed, s.env.RetireAt(), now, p.cfg.IdleTimeout) {
			p.removeLocked(s, "idle")
		}
	}
}

// sweepDisk removes idle environments that keep much in /tmp while the disk is full. Invocations go
// on then, so what the idle ones hold is the only room there is to win.
func (p *Pool) sweepDisk() {
	if !p.cfg.DiskFull() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.slots {
		if s.state == free && s.env.Scratch() > littleScratch {
			p.removeLocked(s, "disk is full")
		}
	}
}

// close ends everything.
func (p *Pool) close() {
	p.mu.Lock()
	p.draining, p.closed = true, true
	for b := range p.booting {
		b.cancel()
	}
	for s := range p.slots {
		p.removeLocked(s, "shutdown")
	}
	for _, g := range p.groups {
		g.refuseLocked()
	}
	for _, g := range p.queue { // replaced groups are only here
		g.refuseLocked()
	}
	p.mu.Unlock()
	p.tasks.Wait()
}

// refuseLocked sends all requests away.
func (g *group) refuseLocked() {
	for len(g.waiters) > 0 {
		g.grantLocked(grant{err: ErrDraining})
	}
}
