package environment

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestStopIsBounded: whatever an environment still waits for, Stop comes back, says so, and takes
// no image from under what may still run.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		released := false
		e := &Environment{id: "env-1", done: make(chan struct{}), bundle: Bundle{Release: func() { released = true }}}
		stuck := make(chan struct{})
		e.tasks.Go("stuck", func() { <-stuck })
		began := time.Now()
		if err := e.Stop(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop: %v", err)
		}
		if took := time.Since(began); took != teardown {
			t.Errorf("it took %s", took)
		}
		if released {
			t.Error("its images were given back")
		}
		close(stuck)
		e.tasks.Wait()
	})
}
