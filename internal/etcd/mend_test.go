package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/etcd"
	"lambent.dev/lambent/internal/lifecycle"
)

// running starts a member with a small quota, and Run.
func running(t *testing.T, dir string, quota int64) *etcd.Server {
	t.Helper()
	s, err := etcd.Start(t.Context(), etcd.Config{
		Dir: dir, QuotaBytes: quota, Mend: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	wait := lifecycle.Go("etcd under test", func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); wait() })
	return s
}

// until waits for a condition that the member's own loop brings about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick, end := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

const quota = 16 << 20

var page = strings.Repeat("x", 64<<10)

// TestHistoryIsGivenUp: many versions of few keys never fill the database.
func TestHistoryIsGivenUp(t *testing.T) {
	s := running(t, t.TempDir(), quota)
	for i := range 800 { // 50 MiB
		_, err := s.Client().Put(t.Context(), fmt.Sprint("k", i%4), page)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			until(t, "takes writes again", func() bool { _, err := s.Client().Put(t.Context(), "k", ""); return err == nil })
		} else if err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Client().Get(t.Context(), "k", clientv3.WithPrefix())
	if err != nil || len(got.Kvs) != 5 && len(got.Kvs) != 4 {
		t.Errorf("%d keys, %v", len(got.Kvs), err)
	}
}

// TestFull: a database that is really full sheds first, then refuses; deleting heals it, and
// everything else is still there, also after a restart.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	s := running(t, dir, quota)
	if s.Shed() {
		t.Error("an empty database sheds")
	}
	n := 0
	for ; ; n++ {
		_, err := s.Client().Put(t.Context(), fmt.Sprintf("k/%04d", n), page)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			break
		}
		if err != nil || n > 10_000 {
			t.Fatal(n, err)
		}
		switch n {
		case 100: // 40 % of the quota
			if s.Shed() {
				t.Errorf("sheds at %+v", s.Usage())
			}
		case 170: // 66 %; the member counts when it commits, several times a second
			until(t, "sheds", s.Shed)
		}
	}
	if _, err := s.Client().Put(t.Context(), "other", "x"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a write to a full database: %v", err)
	}
	if _, err := s.Client().Delete(t.Context(), "k/", clientv3.WithRange(fmt.Sprintf("k/%04d", n*3/4))); err != nil {
		t.Fatalf("delete in a full database: %v", err)
	}
	until(t, "takes writes again", func() bool { _, err := s.Client().Put(t.Context(), "other", "x"); return err == nil })
	if s.Shed() {
		t.Errorf("still sheds: %+v", s.Usage())
	}
	got, err := s.Client().Get(t.Context(), "k/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	// The write that met the quota may have been applied all the same.
	if err != nil || got.Count != int64(n-n*3/4) && got.Count != int64(n-n*3/4)+1 {
		t.Errorf("%d keys are left, %v; want %d", got.Count, err, n-n*3/4)
	}
}

// TestReserve: the database's file has its blocks, and room to grow, so that nobody else can
// take them.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	running(t, dir, quota)
	until(t, "reserved", func() bool {
		info, err := os.Stat(filepath.Join(dir, "data/member/snap/db"))
		return err == nil && info.Sys().(*syscall.Stat_t).Blocks*512 >= info.Size()+16<<20
	})
}
