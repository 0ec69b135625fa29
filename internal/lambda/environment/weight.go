package environment

import (
	"context"
	"errors"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// Code that computes all the time is held back by its quota anyway: it loses little if others go
// first, while an answer of a few milliseconds would take a hundred behind all of it. So an
// environment weighs what its memory buys only while it uses little of that. One that starts
// or computes is behind, and shares what the others leave (docs/decisions/0009).
const (
	// behind is how many times less than its memory's share an environment weighs that is
	// behind. It still gets some of a machine that has sold more than it has.
	behind = 32
	// hungry and sated are the parts of the quota, in percent, at which an environment falls
	// behind and from which it comes back.
	hungry, sated = 50, 25
)

// weight is that of an environment with so much memory, in thousandths of one core's.
func weight(memory int, ahead bool) int {
	if ahead {
		return share(memory)
	}
	return max(share(memory)/behind, 1)
}

// appetite is what a boot has used of the CPUs lately.
type appetite struct {
	measured time.Time
	cpu      time.Duration // used until then
}

// weigh sets the weight of b, which has used so much CPU time so far. It comes back only
// between invocations: what gets little of a busy machine seems to want little.
func (e *Environment) weigh(ctx context.Context, b *boot, cpu time.Duration, between bool) {
	now, a := time.Now(), &b.appetite
	elapsed, used := now.Sub(a.measured), cpu-a.cpu
	if elapsed < sampleEvery { // a few periods of the quota at least
		return
	}
	first := a.measured.IsZero()
	a.measured, a.cpu = now, cpu
	if first {
		return
	}
	part := used * 100 / (elapsed * time.Duration(share(e.fn.Memory)) / 1000)
	ahead := part < hungry
	if !b.tenant.ahead {
		ahead = part < sated && between
	}
	if ahead == b.tenant.ahead {
		return
	}
	b.tenant.move(ahead)
	err := b.workload.SetWeight(ctx, weight(e.fn.Memory, ahead))
	if err != nil && !errors.Is(err, sandbox.ErrExited) {
		e.log.Warn("set CPU weight", "error", err)
	}
}
