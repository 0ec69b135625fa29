package environment

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/lifecycle"
)

// shelf is a workload that is told how many cores to leave.
type shelf struct {
	Workload
	mu    sync.Mutex
	spare []int
}

func (s *shelf) SetSpare(_ context.Context, cores int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare = append(s.spare, cores)
	return nil
}

// TestReserve: on a machine of two cores. Every step says what is told to whom by then.
func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReserve(2, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		wait := lifecycle.Go("reserve", func() { _ = r.Run(ctx) })
		var told []*shelf
		enter := func() *tenant {
			tn, s := r.enter(), &shelf{}
			told = append(told, s)
			tn.started(s)
			return tn
		}
		step := func(what string, want ...[]int) {
			t.Helper()
			synctest.Wait()
			for i, s := range told {
				s.mu.Lock()
				if !slices.Equal(s.spare, want[i]) {
					t.Errorf("%s: sandbox %d was told %v, want %v", what, i, s.spare, want[i])
				}
				s.mu.Unlock()
			}
		}
		quick, one, two := enter(), enter(), enter()
		quick.run(false)
		quick.move(true)
		step("two compute, nobody waits", nil, nil, nil)
		two.run(false)
		quick.run(true)
		step("one of two computes, another waits", nil, nil, nil)
		two.run(true)
		step("two compute, one waits", nil, []int{1}, []int{1})
		quick.run(false)
		two.run(false)
		time.Sleep(keepReserve - time.Second)
		step("nobody waits for a moment", nil, []int{1}, []int{1})
		if three := r.enter(); three.spare != 1 {
			t.Errorf("a sandbox that starts meanwhile leaves %d cores", three.spare)
		} else {
			three.leave()
		}
		one.move(true)
		step("one comes ahead", nil, []int{1, 0}, []int{1})
		one.move(false)
		step("and falls behind", nil, []int{1, 0, 1}, []int{1})
		time.Sleep(time.Second)
		step("nobody waits for long", nil, []int{1, 0, 1, 0}, []int{1, 0})
		one.leave()
		two.run(true)
		quick.run(true)
		step("one of them has gone", nil, []int{1, 0, 1, 0}, []int{1, 0})
		cancel()
		wait()
		if quick.leave(); r.front != 0 || r.crowd != 1 || len(r.tenants) != 1 {
			t.Errorf("in the end %d ahead, %d behind of %d", r.front, r.crowd, len(r.tenants))
		}
	})
}

// TestReserveOneCore: there is none to keep.
func TestReserveOneCore(t *testing.T) {
	r := NewReserve(1, slog.New(slog.DiscardHandler))
	quick, busy := r.enter(), r.enter()
	quick.move(true)
	busy.started(&shelf{})
	if r.on || r.enter().spare != 0 {
		t.Error("it keeps the only core")
	}
}
