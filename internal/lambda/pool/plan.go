package pool

import (
	"cmp"
	"slices"
	"time"
)

// Candidate is an idle environment that could give its memory back.
type Candidate struct {
	Memory   int64   // what it holds
	Priority float64 // see Priority
}

// Priority is how much an environment is worth keeping: greedy-dual-size-frequency. It grows
// with what a new one would cost and how often it is needed, falls with the memory it holds, and
// ages because clock rises to the priority of whatever was evicted last.
func Priority(clock float64, uses int, init time.Duration, memory int64) float64 {
	const mb = 1 << 20
	return clock + float64(max(uses, 1))*init.Seconds()/(float64(max(memory, mb))/mb)
}

// Admit decides whether an environment that may need so much memory can start. free is what the
// host has, promised what running environments may still grow by. It returns which idle
// environments (indexes into idle) must go first, the least worth keeping first, and false when
// even all of them would not do; then none should go.
func Admit(free, promised, need int64, idle []Candidate) (evict []int, ok bool) {
	short := need + promised - free
	if short <= 0 {
		return nil, true
	}
	order := make([]int, len(idle))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(idle[a].Priority, idle[b].Priority) })
	for n, i := range order {
		if short -= idle[i].Memory; short <= 0 {
			return order[:n+1], true
		}
	}
	return nil, false
}

// Expired decides whether an idle environment has been kept long enough: since its last use, or
// because it must not start new work any more (retireAt, zero = never).
func Expired(lastUsed, retireAt, now time.Time, idleTimeout time.Duration) bool {
	return now.Sub(lastUsed) >= idleTimeout || !retireAt.IsZero() && !now.Before(retireAt)
}
