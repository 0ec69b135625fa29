package pool

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestDiskFull: on a full disk idle environments with something in /tmp go, busy ones and those
// with little stay.
func TestDiskFull(t *testing.T) {
	var full atomic.Bool
	run(t, Config{DiskFull: full.Load}, func(h *host) {
		h.shape = func(e *fakeEnv) error {
			e.scratch = map[int]int64{0: 400 << 20, 1: 64 << 10, 2: 300 << 20}[e.id]
			return nil
		}
		done := make(chan struct{})
		for range 2 {
			go func() { h.invoke(fn, 500*time.Millisecond); done <- struct{}{} }()
			time.Sleep(200 * time.Millisecond)
		}
		go func() { h.invoke(fn, time.Minute); done <- struct{}{} }()
		<-done
		<-done
		time.Sleep(5 * time.Second)
		if st := h.Stats(); st.Environments != 3 {
			t.Errorf("with room on the disk: %+v", st)
		}
		full.Store(true)
		time.Sleep(2 * diskEvery)
		synctest.Wait()
		for i, want := range []bool{true, false, false} {
			if _, stopped, _ := h.envs[i].is(); stopped != want {
				t.Errorf("environment %d stopped: %v", i, stopped)
			}
		}
		full.Store(false)
		<-done
		time.Sleep(2 * diskEvery)
		if st := h.Stats(); st.Environments != 2 {
			t.Errorf("with room again: %+v", st)
		}
	})
}
