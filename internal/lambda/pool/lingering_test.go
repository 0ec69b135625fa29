package pool

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestMemoryOfLingering: code that has answered and goes on is the first to go when memory is
// short, however much it was used; an idle neighbour stays.
func TestMemoryOfLingering(t *testing.T) {
	var freeMB int64 = 1000
	run(t, Config{FreeMemory: func() int64 { return freeMB << 20 }}, func(h *host) {
		quiet, hostile := fn, fn
		quiet.Name, hostile.Name = "quiet", "hostile"
		h.invoke(quiet, 0)
		for i := range 3 { // answers, goes on, and the next request needs another environment
			h.invoke(hostile, 0)
			h.envs[i+1].linger(time.Hour)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(lingering)
		freeMB = 120 // 160 are needed
		h.invoke(hostile, 0)
		synctest.Wait()
		if _, stopped, _ := h.envs[0].is(); stopped {
			t.Error("the idle neighbour had to go")
		}
		stops := 0
		for _, e := range h.envs[1:4] {
			if _, stopped, _ := e.is(); stopped {
				stops++
			}
		}
		if stops != 1 {
			t.Errorf("%d of those that linger had to go, want 1", stops)
		}
	})
}
