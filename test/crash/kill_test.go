package crash

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent/test/regiontest"
)

const clients = 8

// TestKilled kills the server again and again while clients create, update and delete functions
// and invoke with ids of their own. Then all that was acknowledged is there, and nothing else.
func TestKilled(t *testing.T) {
	r := fresh(t)
	flags := []string{"--listen", freePort(t)}
	r.Up(flags...)
	role := r.Role("crash")
	for _, name := range []string{syncName, eventName} {
		r.Create(python(name, role), source(sayer))
	}
	g, acks := newGate(), &atomic.Int64{}
	all := make([]*client, clients)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	for i := range all {
		all[i] = newClient(i, r, role, g, acks)
		wg.Go(func() { all[i].run(ctx) })
	}
	kills := times(10, 50)
	dice := rand.New(rand.NewPCG(1, 2))
	var up time.Duration
	for i := range kills {
		g.set(true)
		enough := acks.Load() + 20 + dice.Int64N(150)
		waitFor(t, 30*time.Second, "clients are answered", func() bool { return acks.Load() >= enough })
		r.Stop(syscall.SIGKILL)
		g.set(false)
		waitFor(t, 2*time.Second, "sandboxes gone with their server", func() bool { return len(sandboxes(t, r)) == 0 })
		if i%5 == 4 { // once more while it recovers
			r.Launch(flags...)
			<-time.After(time.Duration(dice.IntN(600)) * time.Millisecond)
			r.Stop(syscall.SIGKILL)
		}
		up = max(up, r.Again(flags...))
	}
	g.set(true)
	enough := acks.Load() + 50
	waitFor(t, 30*time.Second, "clients are answered", func() bool { return acks.Load() >= enough })
	stop()
	wg.Wait()
	t.Logf("%d kills, %d acknowledgements; ready again after at most %s", kills+kills/5, acks.Load(), up.Round(time.Millisecond))
	for _, c := range all {
		for _, f := range c.faults {
			t.Error(f)
		}
		if c.unsure > 0 || len(c.refused) > 0 {
			t.Logf("client %d: %d requests without an answer; refused: %v", c.n, c.unsure, c.refused)
		}
	}
	checkFunctions(t, r, all)
	lines := waitForEvents(t, r, all)
	checkInvocations(t, lines, all)
	checkLedger(t, r, lines, all)
	restart(t, r, flags)
	checkOrphans(t, r)
}

// restart is an orderly one: nobody works on what its sweep finds.
func restart(t *testing.T, r *regiontest.Region, flags []string) {
	t.Helper()
	r.Stop(syscall.SIGTERM)
	r.Up(flags...)
}
