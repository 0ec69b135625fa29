package pool

// Stats counts environments and invocations.
type Stats struct {
	Environments, Busy, Idle, Frozen, Booting, Waiting, Invocations int

	Memory int64 // of all environments, as last measured
}

// FunctionStats is what the pool has of one function, of all its generations together.
type FunctionStats struct {
	Account, Name      string
	Busy, Idle, Frozen int // environments; the frozen ones are among the idle
	Booting, Waiting   int
	Memory             int64 // of its environments, as last measured
}

// Functions is what the pool has of each function that it has anything of, in no order.
func (p *Pool) Functions() []FunctionStats {
	type id struct{ account, name string }
	by := map[id]*FunctionStats{}
	of := func(g *group) *FunctionStats {
		k := id{g.key.account, g.key.name}
		f := by[k]
		if f == nil {
			f = &FunctionStats{Account: k.account, Name: k.name}
			by[k] = f
		}
		return f
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.slots {
		f := of(s.group)
		f.Memory += s.env.Resident()
		s.count(&f.Busy, &f.Idle, &f.Frozen)
	}
	for _, g := range p.groups {
		f := of(g)
		f.Waiting += len(g.waiters)
		f.Booting += g.booting
	}
	out := make([]FunctionStats, 0, len(by))
	for _, f := range by {
		out = append(out, *f)
	}
	return out
}

// count adds an environment to those of its state.
func (s *slot) count(isBusy, idle, frozen *int) {
	if s.state == busy {
		*isBusy++
		return
	}
	*idle++
	if s.frozen {
		*frozen++
	}
}

// Stats is the pool's present state.
func (p *Pool) Stats() (st Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st.Environments, st.Booting = len(p.slots), p.boots
	for s := range p.slots {
		st.Memory += s.env.Resident()
		s.count(&st.Busy, &st.Idle, &st.Frozen)
	}
	for _, g := range p.groups {
		st.Waiting += len(g.waiters)
	}
	for _, n := range p.active {
		st.Invocations += n
	}
	return st
}
