package pool

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/lambda/function"
)

func TestBootsAreBounded(t *testing.T) {
	run(t, Config{Boots: 3}, func(h *host) {
		var wg sync.WaitGroup
		other := fn
		other.Name = "other"
		for range 20 {
			wg.Go(func() { h.invoke(fn, time.Hour) })
		}
		synctest.Wait()
		// The other function's boot is not behind all of the first one's.
		began := time.Now()
		h.invoke(other, 0)
		if d := time.Since(began); d > 300*time.Millisecond {
			t.Errorf("the other function waited %v", d)
		}
		wg.Wait()
		if h.most != 3 {
			t.Errorf("%d boots at a time", h.most)
		}
	})
}

// TestSlowInitDelaysNobody: a function never gets the last place for boots.
func TestSlowInitDelaysNobody(t *testing.T) {
	run(t, Config{Boots: 3}, func(h *host) {
		var wg sync.WaitGroup
		other := fn
		other.Name = "other"
		boots := h.boots
		h.boots = 10 * time.Second // of those that begin now
		for range 8 {
			wg.Go(func() { h.invoke(fn, 0) })
		}
		synctest.Wait()
		h.boots = boots
		began := time.Now()
		h.invoke(other, 0)
		if d := time.Since(began); d > boots {
			t.Errorf("the other function waited %v for a boot of %v", d, boots)
		}
		wg.Wait()
		time.Sleep(time.Minute) // boots that nobody waits for end too
	})
}

// TestBootFailure: a start that fails is tried once more, and its caller hears of the second failure.
func TestBootFailure(t *testing.T) {
	run(t, Config{}, func(h *host) {
		killed := errors.New("killed")
		starts := 0
		h.shape = func(*fakeEnv) error {
			if starts++; starts == 1 {
				return killed
			}
			return nil
		}
		h.invoke(fn, 0)
		if starts != 2 {
			t.Errorf("%d starts", starts)
		}
		h.shape = func(*fakeEnv) error { starts++; return killed }
		other := fn
		other.Name = "other"
		if _, err := h.Invoke(context.Background(), other, function.Invocation{}); !errors.Is(err, killed) || starts != 4 {
			t.Errorf("%d starts, %v", starts, err)
		}
	})
}
