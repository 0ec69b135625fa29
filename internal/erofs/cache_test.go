package erofs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCache(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".image-123"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	var builds atomic.Int32
	build := func(_ context.Context, b *Builder) error {
		builds.Add(1)
		return b.Add(Entry{Path: "x"}, strings.NewReader("x"))
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var releases []func()
	for range 8 {
		all.Go(func() {
			_, release, err := c.Get(ctx, "k", Limits{}, build)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			releases = append(releases, release)
		})
	}
	all.Wait()
	if builds.Load() != 1 {
		t.Errorf("built %d times", builds.Load())
	}
	never := func(string) bool { return false }
	for _, release := range releases {
		if n, err := c.Sweep(ctx, never, 0); n != 0 || err != nil {
			t.Fatalf("swept %d under a lease, %v", n, err)
		}
		release()
		release() // the second is nothing
	}
	if n, err := c.Sweep(ctx, func(string) bool { return true }, 0); n != 0 || err != nil {
		t.Errorf("swept %d that were to be kept, %v", n, err)
	}
	if n, err := c.Sweep(ctx, never, 0); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

// TestCacheFailure: a failed build leaves nothing, its error is its caller's, the next tries again.
func TestCacheFailure(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	_, _, err = c.Get(context.Background(), "k", Limits{}, func(context.Context, *Builder) error { return boom })
	if !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
	if len(c.leases) != 0 || len(c.turns) != 0 {
		t.Errorf("leases %v, turns %v", c.leases, c.turns)
	}
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan struct{})
	hold := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, release, err := c.Get(context.Background(), "k", Limits{}, func(context.Context, *Builder) error { close(started); <-hold; return nil })
		if err != nil {
			t.Error(err)
			return
		}
		release()
	}()
	<-started
	cancel()
	if _, _, err := c.Get(ctx, "k", Limits{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a waiter whose caller left: %v", err)
	}
	close(hold)
	<-done
}
