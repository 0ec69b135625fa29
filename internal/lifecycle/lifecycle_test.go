package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type record struct {
	mu  sync.Mutex
	got []string
}

func (r *record) add(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, s)
}

// until records its end when its context ends.
func (r *record) until(name string, err error) lifecycle.Func {
	return func(ctx context.Context) error {
		<-ctx.Done()
		r.add("stop " + name)
		return err
	}
}

func TestGroupStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r record
		var g lifecycle.Group
		for _, name := range []string{"a", "b", "c"} {
			g.Add(name, r.until(name, nil))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var err error
		wait := lifecycle.Go("group", func() { err = g.Run(ctx) })
		synctest.Wait()
		if len(r.got) != 0 {
			t.Fatalf("stopped before the context ended: %v", r.got)
		}
		cancel()
		wait()
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		if diff := cmp.Diff([]string{"stop c", "stop b", "stop a"}, r.got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestGroupFirstFailureStopsAll(t *testing.T) {
	boom, late := errors.New("boom"), errors.New("late")
	var r record
	var g lifecycle.Group
	g.Add("a", r.until("a", late))
	g.Add("b", lifecycle.Func(func(context.Context) error { return boom }))
	g.Add("c", r.until("c", context.Canceled))
	g.Add("d", lifecycle.Func(func(context.Context) error { return nil }))
	err := g.Run(t.Context())
	if !errors.Is(err, boom) || !errors.Is(err, late) || errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want boom and late without the cancellation", err)
	}
	if !strings.HasPrefix(err.Error(), "b: boom") {
		t.Errorf("Run: %q, want the first failure first, with its name", err)
	}
	if diff := cmp.Diff([]string{"stop c", "stop a"}, r.got); diff != "" {
		t.Error(diff)
	}
}

func TestGroupEndsWhenAllAreDone(t *testing.T) {
	var g lifecycle.Group
	g.Add("a", lifecycle.Func(func(context.Context) error { return nil }))
	if err := g.Run(t.Context()); err != nil {
		t.Error(err)
	}
	var empty lifecycle.Group
	if err := empty.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTasksWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tasks lifecycle.Tasks
		var r record
		release := make(chan struct{})
		for range 3 {
			tasks.Go("task", func() { <-release; r.add("x") })
		}
		done := false
		wait := lifecycle.Go("waiter", func() { tasks.Wait(); done = true })
		synctest.Wait()
		if done {
			t.Fatal("Wait returned before its tasks")
		}
		close(release)
		wait()
		if len(r.got) != 3 {
			t.Errorf("%d tasks ran, want 3", len(r.got))
		}
	})
}
