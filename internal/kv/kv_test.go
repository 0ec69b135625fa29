package kv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/etcd"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type thing struct {
	N    int
	Text string `json:",omitempty"`
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, s *kv.Store, ops ...kv.Op) int64 {
	t.Helper()
	rev, err := s.Txn(t.Context(), ops...)
	must(t, err)
	return rev
}

func keys[T any](rows []kv.Row[T]) (out []string) {
	for _, r := range rows {
		out = append(out, r.Account+"|"+r.Key)
	}
	return out
}

func TestRows(t *testing.T) {
	s := kvtest.Open(t)
	things := kv.NewTable[thing](s, "thing")
	if _, err := things.Get("1", "a"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get of nothing: %v", err)
	}
	rev := commit(t, s, things.Create("1", "arn:aws:x/y", thing{N: 1}))
	got, err := things.Get("1", "arn:aws:x/y")
	must(t, err)
	if diff := cmp.Diff(kv.Row[thing]{"1", "arn:aws:x/y", rev, thing{N: 1}}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := things.Get("2", "arn:aws:x/y"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get from another account: %v", err)
	}
	if _, err := s.Txn(t.Context(), things.Create("1", "arn:aws:x/y", thing{N: 2})); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("Create twice: %v", err)
	}
	commit(t, s, things.Update(got, thing{N: 2}))
	for _, op := range []kv.Op{things.Update(got, thing{N: 3}), things.Delete(got), things.Unchanged(got), things.Absent("1", "arn:aws:x/y")} {
		if _, err := s.Txn(t.Context(), op, things.Put("1", "other", thing{})); !errors.Is(err, kv.ErrConflict) {
			t.Errorf("condition on an old row: %v", err)
		}
	}
	if _, err := things.Get("1", "other"); !errors.Is(err, kv.ErrNotFound) {
		t.Error("a transaction with a failed condition wrote something")
	}
	got, err = things.Get("1", "arn:aws:x/y")
	must(t, err)
	commit(t, s, things.Delete(got), things.Absent("1", "other"))
	if _, err := things.Get("1", "arn:aws:x/y"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get after Delete: %v", err)
	}
	if rows, err := things.All(); err != nil || len(rows) != 0 {
		t.Errorf("All after Delete: %v, %v", rows, err)
	}
}

func TestList(t *testing.T) {
	s := kvtest.Open(t)
	things := kv.NewTable[thing](s, "thing")
	var ops []kv.Op
	for _, k := range []string{"b/2", "a", "b/1", "b/3", "c", "b", "b0"} {
		ops = append(ops, things.Put("1", k, thing{}))
	}
	commit(t, s, append(ops, things.Put("1-x", "b/1", thing{}), things.Put("0", "z", thing{}))...)
	for _, tt := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 0, "a b b/1 b/2 b/3 b0 c"},
		{"", "", 2, "a b"},
		{"", "b", 2, "b/1 b/2"},
		{"b/", "", 0, "b/1 b/2 b/3"},
		{"b/", "a", 0, "b/1 b/2 b/3"},
		{"b/", "b/1", 1, "b/2"},
		{"b/", "b/15", 0, "b/2 b/3"},
		{"b/", "c", 0, ""},
		{"b/1", "", 0, "b/1"},
		{"x", "", 0, ""},
		{"", "c", 0, ""},
	} {
		rows, err := things.List("1", tt.prefix, tt.after, tt.limit)
		must(t, err)
		var got []string
		for _, r := range rows {
			got = append(got, r.Key)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("List(%q, %q, %d) = %v, want %s", tt.prefix, tt.after, tt.limit, got, tt.want)
		}
	}
	all, err := things.All()
	must(t, err)
	want := []string{"0|z", "1|a", "1|b", "1|b/1", "1|b/2", "1|b/3", "1|b0", "1|c", "1-x|b/1"}
	if diff := cmp.Diff(want, keys(all)); diff != "" {
		t.Error(diff)
	}
}

func TestReopenAndSeal(t *testing.T) {
	dir := t.TempDir()
	s, client, done := kvtest.Start(t, dir)
	clear, secret := kv.NewTable[thing](s, "clear"), kv.NewTable[thing](s, "secret", kv.Sealed())
	commit(t, s, clear.Put("1", "k", thing{Text: "in the open"}), secret.Put("1", "k", thing{Text: "hush hush"}), secret.Put("1", "moved", thing{Text: "x"}))
	raw, err := client.Get(t.Context(), "/c/secret/1/k")
	must(t, err)
	if len(raw.Kvs) != 1 || strings.Contains(string(raw.Kvs[0].Value), "hush") {
		t.Fatalf("sealed row at rest: %q", raw.Kvs)
	}
	// A sealed value under another name must not open.
	_, err = client.Put(t.Context(), "/c/secret/1/moved", string(raw.Kvs[0].Value))
	must(t, err)
	must(t, s.Sync(t.Context()))
	if _, err := secret.Get("1", "moved"); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a value that was moved: %v, want ErrCorrupt", err)
	}
	if rows, err := secret.List("1", "", "", 0); err != nil || len(rows) != 1 {
		t.Errorf("List beside a corrupt row: %v, %v", rows, err)
	}
	done()

	s, client, _ = kvtest.Start(t, dir)
	clear, secret = kv.NewTable[thing](s, "clear"), kv.NewTable[thing](s, "secret", kv.Sealed())
	for name, table := range map[string]*kv.Table[thing]{"in the open": clear, "hush hush": secret} {
		if got, err := table.Get("1", "k"); err != nil || got.Value.Text != name {
			t.Errorf("Get after reopening: %+v, %v", got, err)
		}
	}
	_, err = kv.Open(t.Context(), kv.Config{Client: client, Key: [32]byte{1}})
	if !errors.Is(err, kv.ErrKey) {
		t.Errorf("Open with another key: %v", err)
	}
}

func TestOnChange(t *testing.T) {
	s := kvtest.Open(t)
	a, b := kv.NewTable[thing](s, "a"), kv.NewTable[thing](s, "b")
	var got []string
	a.OnChange(func(account, key string) {
		r, err := a.Get(account, key)
		got = append(got, fmt.Sprintf("a %s %s %d %v", account, key, r.Value.N, err == nil))
	})
	b.OnChange(func(account, key string) { got = append(got, "b "+key) })
	commit(t, s, a.Put("1", "x", thing{N: 1}), b.Put("1", "y", thing{N: 2}))
	row, err := a.Get("1", "x")
	must(t, err)
	commit(t, s, a.Delete(row))
	if diff := cmp.Diff([]string{"a 1 x 1 true", "b y", "a 1 x 0 false"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestRaces has many writers add to one counter, with conditions as the only protection, while
// two tables must be seen to change together.
func TestRaces(t *testing.T) {
	s := kvtest.Open(t)
	a, b := kv.NewTable[thing](s, "a"), kv.NewTable[thing](s, "b")
	commit(t, s, a.Create("1", "n", thing{}), b.Create("1", "n", thing{}))
	const writers, each = 8, 25
	var conflicts atomic.Int64
	g, ctx := errgroup.WithContext(t.Context())
	for range writers {
		g.Go(func() error {
			for done := 0; done < each; {
				ra, err := a.Get("1", "n")
				if err != nil {
					return err
				}
				rb, err := b.Get("1", "n")
				if err != nil {
					return err
				}
				_, err = s.Txn(ctx, a.Update(ra, thing{N: ra.Value.N + 1}), b.Update(rb, thing{N: ra.Value.N + 1}))
				switch {
				case err == nil:
					done++
				case errors.Is(err, kv.ErrConflict):
					conflicts.Add(1)
				default:
					return err
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	ra, err := a.Get("1", "n")
	must(t, err)
	rb, err := b.Get("1", "n")
	must(t, err)
	if ra.Value.N != writers*each || rb.Value.N != ra.Value.N || ra.Rev != rb.Rev {
		t.Errorf("a %+v, b %+v; want %d in both", ra, rb, writers*each)
	}
	t.Logf("%d conflicts", conflicts.Load())
}

func TestTxnLimits(t *testing.T) {
	s := kvtest.Open(t)
	things := kv.NewTable[thing](s, "thing")
	for _, tt := range []struct {
		op   kv.Op
		want error
	}{
		{things.Put("", "k", thing{}), kv.ErrName},
		{things.Put("1", "", thing{}), kv.ErrName},
		{things.Create("a/b", "k", thing{}), kv.ErrName},
		{things.Delete(kv.Row[thing]{}), kv.ErrName},
		{things.Put("1", "k", thing{Text: strings.Repeat("x", 2<<20)}), kv.ErrTooLarge},
		{kv.Failed(context.DeadlineExceeded), context.DeadlineExceeded},
	} {
		if _, err := s.Txn(t.Context(), things.Put("1", "good", thing{}), tt.op); !errors.Is(err, tt.want) {
			t.Errorf("Txn: %v, want %v", err, tt.want)
		}
	}
	if _, err := things.Get("1", "good"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("a part of a refused transaction was written: %v", err)
	}
	// A transaction outside the tables does not wait for the watch, and commits with rows.
	rev := commit(t, s, kv.Raw(nil, clientv3.OpPut("/q/x", "1")))
	commit(t, s, kv.Raw([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("/q/x"), "=", rev)}, clientv3.OpDelete("/q/x")), things.Put("1", "good", thing{}))
	if _, err := s.Txn(t.Context(), kv.Raw([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("/q/x"), "=", rev)})); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("raw condition: %v", err)
	}
}

// TestFallBehind ends the watch, changes rows and compacts the history, so that the watch has to
// list again: it must come to the same state and tell of exactly the rows that differ.
func TestFallBehind(t *testing.T) {
	s, client, _ := kvtest.Start(t, t.TempDir())
	things := kv.NewTable[thing](s, "thing")
	commit(t, s, things.Put("1", "same", thing{N: 1}), things.Put("1", "changed", thing{N: 1}), things.Put("1", "gone", thing{N: 1}))
	var told []string
	things.OnChange(func(account, key string) { told = append(told, key) })
	s.Close()

	ctx := t.Context()
	_, err := client.Put(ctx, "/c/thing/1/changed", `{"N":2}`)
	must(t, err)
	_, err = client.Put(ctx, "/c/thing/1/new", `{"N":2}`)
	must(t, err)
	_, err = client.Put(ctx, "/c/later/1/unclaimed", `{"N":3}`)
	must(t, err)
	resp, err := client.Delete(ctx, "/c/thing/1/gone")
	must(t, err)
	_, err = client.Compact(ctx, resp.Header.Revision)
	must(t, err)

	ctx, cancel := context.WithCancel(ctx)
	wait := lifecycle.Go("watch", func() { s.Watch(ctx) })
	defer wait()
	defer cancel()
	must(t, s.Sync(ctx))
	rows, err := things.All()
	must(t, err)
	got := map[string]int{}
	for _, r := range rows {
		got[r.Key] = r.Value.N
	}
	if diff := cmp.Diff(map[string]int{"same": 1, "changed": 2, "new": 2}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"gone", "changed", "new"}, told); diff != "" {
		t.Error(diff)
	}
	later := kv.NewTable[thing](s, "later")
	if r, err := later.Get("1", "unclaimed"); err != nil || r.Value.N != 3 {
		t.Errorf("row of a table opened later: %+v, %v", r, err)
	}
	commit(t, s, things.Put("1", "after", thing{}))
}

func TestStale(t *testing.T) {
	s, _, _ := kvtest.Start(t, t.TempDir())
	things := kv.NewTable[thing](s, "thing")
	commit(t, s, things.Put("1", "k", thing{}))
	s.Close()
	s.SetNow(func() time.Time { return time.Now().Add(6 * time.Second) })
	if err := s.Fresh(); !errors.Is(err, kv.ErrStale) {
		t.Errorf("Fresh after 6 s without a watch: %v", err)
	}
	_, getErr := things.Get("1", "k")
	_, listErr := things.List("1", "", "", 0)
	_, allErr := things.All()
	for _, err := range []error{getErr, listErr, allErr} {
		if !errors.Is(err, kv.ErrStale) {
			t.Errorf("read after 6 s without a watch: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	wait := lifecycle.Go("watch", func() { s.Watch(ctx) })
	defer wait()
	defer cancel()
	commit(t, s, things.Put("1", "k", thing{}))
	if _, err := things.Get("1", "k"); err != nil {
		t.Errorf("Get after the watch is back: %v", err)
	}
}

// TestFull: an engine at its quota refuses what would grow it, and still takes what does not.
func TestFull(t *testing.T) {
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir(), Tick: 10 * time.Millisecond, QuotaBytes: 1 << 20})
	must(t, err)
	defer server.Close()
	s, err := kv.Open(t.Context(), kv.Config{Client: server.Client()})
	must(t, err)
	defer s.Close()
	things := kv.NewTable[thing](s, "thing")
	text := strings.Repeat("x", 100<<10)
	for i := range 100 {
		if _, err = s.Txn(t.Context(), things.Put("1", fmt.Sprint(i), thing{Text: text})); err != nil {
			break
		}
	}
	if !errors.Is(err, kv.ErrFull) {
		t.Fatalf("Txn on a full engine: %v", err)
	}
	row, err := things.Get("1", "0")
	must(t, err)
	commit(t, s, things.Delete(row))
}

// TestNoRoom: on a disk without any room no transaction is tried; reads go on.
func TestNoRoom(t *testing.T) {
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	must(t, err)
	defer server.Close()
	none := false
	s, err := kv.Open(t.Context(), kv.Config{Client: server.Client(), Full: func() bool { return none }})
	must(t, err)
	defer s.Close()
	things := kv.NewTable[thing](s, "thing")
	commit(t, s, things.Put("1", "a", thing{Text: "x"}))
	none = true
	if _, err := s.Txn(t.Context(), things.Put("1", "b", thing{})); !errors.Is(err, kv.ErrFull) {
		t.Errorf("Txn: %v", err)
	}
	if _, err := things.Get("1", "a"); err != nil {
		t.Error(err)
	}
	none = false
	commit(t, s, things.Put("1", "b", thing{}))
}

func TestRun(t *testing.T) {
	s := kvtest.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, s.Run(ctx))
}
