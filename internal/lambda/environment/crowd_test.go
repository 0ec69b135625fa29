package environment_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/environment/environmenttest"
	"lambent.dev/lambent/internal/lifecycle"
)

// TestCrowd: environments say when they run and whether they compute: beside two that do, on two
// cores, and one that answers, the next one starts outside the reserve. What waits for its next event
// is no crowd.
func TestCrowd(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 2)
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
		return r.Serve(func(id string, event []byte) []byte {
			if id == "long" {
				held <- struct{}{}
				<-hold
			}
			return event
		})
	})
	cfg := m.Config()
	cfg.Reserve = environment.NewReserve(2, slog.New(slog.DiscardHandler))
	quick := start(t, cfg)
	spared := func() int {
		invoke(t, quick, "short") // light use makes it come ahead
		if err := start(t, cfg).Stop(t.Context()); err != nil {
			t.Error(err)
		}
		specs := m.Specs.All()
		return specs[len(specs)-1].Spare
	}
	busy := []*environment.Environment{start(t, cfg), start(t, cfg)}
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
		if spared() != 0 {
			t.Fatal("a core is kept while nobody computes")
		}
	}
	var tasks lifecycle.Tasks
	for _, e := range busy {
		tasks.Go("busy", func() { invoke(t, e, "long") })
		<-held
	}
	for until := time.Now().Add(10 * time.Second); spared() != 1; {
		if time.Now().After(until) {
			t.Fatal("no core is kept while two compute")
		}
	}
	release()
	tasks.Wait()
}
