package logstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, write(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

const account = "123456789012"

// epoch is when tests begin.
var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// site is a store with a clock of its own.
type site struct {
	*Store
	t     testing.TB
	cfg   Config
	clock sync.Mutex
	time  time.Time
}

// start opens a store with small segments.
func start(t testing.TB) *site {
	t.Helper()
	st := &site{t: t, time: epoch}
	st.cfg = Config{Dir: t.TempDir(), SegmentBytes: 4 << 10, Now: st.now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	st.reopen()
	return st
}

func (st *site) now() time.Time {
	st.clock.Lock()
	defer st.clock.Unlock()
	return st.time
}

func (st *site) later(d time.Duration) {
	st.clock.Lock()
	defer st.clock.Unlock()
	st.time = st.time.Add(d)
}

// reopen opens the folder with a new engine, as a new process does; nothing is closed before, as
// by kill -9. What is in the state is copied, for its engine is another's to test.
func (st *site) reopen() {
	st.t.Helper()
	db := kvtest.Open(st.t)
	if st.Store != nil {
		rows, err := st.groups.All()
		check(st.t, err)
		for _, row := range rows {
			_, err := db.Txn(st.t.Context(), kv.Raw(nil, clientv3.OpPut("/c/loggroup/"+row.Account+"/"+row.Key, encode(st.t, row.Value))))
			check(st.t, err)
		}
	}
	st.cfg.KV = db
	s, err := Open(st.t.Context(), st.cfg)
	check(st.t, err)
	st.Store = s
	st.t.Cleanup(func() { s.Close() })
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	check(t, err)
	return string(b)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (st *site) append(group, stream string, at time.Time, messages ...string) {
	st.t.Helper()
	var events []Event
	for i, m := range messages {
		events = append(events, Event{Time: at.Add(time.Duration(i) * time.Millisecond), Message: m})
	}
	check(st.t, st.Append(st.t.Context(), account, group, stream, events))
}

// messages reads all that a query finds, page by page.
func (st *site) messages(q Query) []string {
	st.t.Helper()
	q.Account = account
	out := []string{}
	for {
		page, err := st.Read(st.t.Context(), q)
		check(st.t, err)
		for _, f := range page.Events {
			out = append(out, f.Message)
		}
		if !page.More {
			return out
		}
		q.From = page.Cursor
	}
}

func (st *site) want(q Query, want ...string) {
	st.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), st.messages(q)); diff != "" {
		st.t.Errorf("%+v: -want +got:\n%s", q, diff)
	}
}

func TestRead(t *testing.T) {
	st := start(t)
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	st.append("g", "a", at(0), "a0", "a1", "a2")
	st.append("g", "b", at(1), "b1", "b2")
	st.append("g", "a", at(1), "late")
	st.append("other", "a", at(0), "x")
	for _, limit := range []int{0, 1, 2, 100} {
		st.want(Query{Group: "g", Limit: limit}, "a0", "a1", "b1", "late", "a2", "b2")
		st.want(Query{Group: "g", Limit: limit, Backward: true}, "b2", "a2", "late", "b1", "a1", "a0")
		st.want(Query{Group: "g", Limit: limit, Streams: []string{"a"}}, "a0", "a1", "late", "a2")
		st.want(Query{Group: "g", Limit: limit, Prefix: "b"}, "b1", "b2")
		st.want(Query{Group: "g", Limit: limit, Start: at(1), End: at(2)}, "a1", "b1", "late")
		st.want(Query{Group: "g", Limit: limit, Bytes: 1}, "a0", "a1", "b1", "late", "a2", "b2")
		st.want(Query{Group: "g", Limit: limit, Scan: 1, Match: func(m []byte) bool { return m[0] == 'b' }}, "b1", "b2")
	}
	page, err := st.Read(t.Context(), Query{Account: account, Group: "g", Streams: []string{"b"}})
	check(t, err)
	last := page.Events[1]
	if last.Stream != "b" || !last.Time.Equal(at(2)) || !last.Ingested.Equal(epoch) || *page.Cursor != last.Cursor {
		t.Errorf("got %+v, %+v", last, page.Cursor)
	}
	// A reader who follows sees what comes later, in the same millisecond too.
	st.append("g", "b", at(2), "b3")
	st.want(Query{Group: "g", Streams: []string{"b"}, From: page.Cursor}, "b3")

	for _, q := range []Query{{Account: account, Group: "none"}, {Account: "1", Group: "g"}} {
		if _, err := st.Read(t.Context(), q); !errors.Is(err, ErrGroupNotFound) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := st.Read(t.Context(), Query{Account: account, Group: "g", Streams: []string{"none"}}); !errors.Is(err, ErrStreamNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestLargeAppend(t *testing.T) {
	st := start(t)
	var want []string
	for i := range 3000 {
		want = append(want, fmt.Sprint(i, " ", strings.Repeat("x", i%200)))
	}
	want = append(want, strings.Repeat("y", 1<<20), "", "end")
	st.append("g", "s", epoch, want...)
	st.want(Query{Group: "g"}, want...)
	st.reopen()
	st.want(Query{Group: "g"}, want...)
}

func TestGroups(t *testing.T) {
	st, ctx := start(t), t.Context()
	check(t, st.CreateGroup(ctx, Group{Account: account, Name: "b", Tags: map[string]string{"k": "v"}, Protected: true}))
	check(t, st.CreateGroup(ctx, Group{Account: account, Name: "a/b"}))
	check(t, st.CreateGroup(ctx, Group{Account: "1", Name: "a"}))
	if err := st.CreateGroup(ctx, Group{Account: account, Name: "b"}); !errors.Is(err, ErrGroupExists) {
		t.Errorf("got %v", err)
	}
	list := func(prefix, part, after string, limit int) (names []string) {
		groups, err := st.Groups(account, prefix, part, after, limit)
		check(t, err)
		for _, g := range groups {
			names = append(names, g.Name)
		}
		return names
	}
	for _, c := range []struct {
		got  []string
		want string
	}{
		{list("", "", "", 10), "a/b b"}, {list("", "", "", 1), "a/b"}, {list("", "", "a/b", 10), "b"}, {list("a", "", "", 10), "a/b"}, {list("", "/b", "", 10), "a/b"},
	} {
		if got := strings.Join(c.got, " "); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	check(t, st.Tag(ctx, account, "b", map[string]string{"k": "w", "l": "x"}))
	check(t, st.Untag(ctx, account, "b", []string{"l", "none"}))
	check(t, st.SetRetention(ctx, account, "b", 7))
	g, err := st.Group(account, "b")
	check(t, err)
	if diff := cmp.Diff(Group{Account: account, Name: "b", Created: time.UnixMilli(epoch.UnixMilli()), Retention: 7, Tags: map[string]string{"k": "w"}, Protected: true}, g); diff != "" {
		t.Error(diff)
	}
	many := map[string]string{}
	for i := range MaxTags {
		many[fmt.Sprint(i)] = ""
	}
	if err := st.Tag(ctx, account, "b", many); !errors.Is(err, ErrTooManyTags) {
		t.Errorf("got %v", err)
	}
	if err := st.DeleteGroup(ctx, account, "b"); !errors.Is(err, ErrGroupProtected) {
		t.Errorf("got %v", err)
	}
	check(t, st.Protect(ctx, account, "b", false))
	check(t, st.DeleteGroup(ctx, account, "b"))
	if err := st.DeleteGroup(ctx, account, "b"); !errors.Is(err, ErrGroupNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestStreams(t *testing.T) {
	st, ctx := start(t), t.Context()
	if err := st.CreateStream(ctx, account, "g", "s"); !errors.Is(err, ErrGroupNotFound) {
		t.Errorf("got %v", err)
	}
	check(t, st.CreateGroup(ctx, Group{Account: account, Name: "g"}))
	if _, err := st.Put(ctx, account, "g", "s", []Event{{Message: "x"}}); !errors.Is(err, ErrStreamNotFound) {
		t.Errorf("got %v", err)
	}
	check(t, st.CreateStream(ctx, account, "g", "s"))
	if err := st.CreateStream(ctx, account, "g", "s"); !errors.Is(err, ErrStreamExists) {
		t.Errorf("got %v", err)
	}
	_, err := st.Put(ctx, account, "g", "s", []Event{{Time: epoch, Message: "x"}})
	check(t, err)
	st.append("g", "t", epoch.Add(-time.Second), "12345", "6")
	st.reopen()
	check(t, st.CreateStream(ctx, account, "g", "empty"))
	streams, err := st.Streams(account, "g", "")
	check(t, err)
	at := func(d time.Duration) time.Time { return time.UnixMilli(epoch.Add(d).UnixMilli()) }
	want := []Stream{
		{Name: "empty", Created: at(0), Seq: 6},
		{Name: "s", Created: at(0), First: at(0), Last: at(0), LastIngested: at(0), Seq: 2},
		{Name: "t", Created: at(0), First: at(-time.Second), Last: at(-999 * time.Millisecond), LastIngested: at(0), Seq: 5},
	}
	if diff := cmp.Diff(want, streams); diff != "" {
		t.Error(diff)
	}
	g, err := st.Group(account, "g")
	check(t, err)
	if g.Bytes != 1+5+1+3*26 {
		t.Errorf("%d bytes", g.Bytes)
	}
	check(t, st.DeleteStream(ctx, account, "g", "t"))
	if err := st.DeleteStream(ctx, account, "g", "t"); !errors.Is(err, ErrStreamNotFound) {
		t.Errorf("got %v", err)
	}
	st.want(Query{Group: "g"}, "x")
	st.reopen()
	st.want(Query{Group: "g"}, "x")
	st.append("g", "t", epoch, "again")
	st.want(Query{Group: "g", Prefix: "t"}, "again")
}

// TestGroupMadeAgain: events of a deleted group do not come back with its name.
func TestGroupMadeAgain(t *testing.T) {
	st := start(t)
	st.append("g", "s", epoch, "old")
	check(t, st.DeleteGroup(t.Context(), account, "g"))
	st.append("g", "s", epoch, "new")
	st.want(Query{Group: "g"}, "new")
	st.reopen()
	st.want(Query{Group: "g"}, "new")
}

func TestRetention(t *testing.T) {
	st, ctx := start(t), t.Context()
	st.append("keeps", "s", epoch, "kept")
	for i := range 100 {
		st.append("g", "s", epoch.Add(time.Duration(i)*time.Second), fmt.Sprint("old", i, strings.Repeat("x", 200)))
	}
	st.later(23 * time.Hour)
	st.append("g", "s", st.now(), "new")
	check(t, st.SetRetention(ctx, account, "g", 1))
	if n := len(st.messages(Query{Group: "g"})); n != 101 {
		t.Errorf("%d events", n)
	}
	st.later(2 * time.Hour)
	st.want(Query{Group: "g"}, "new")
	before := len(st.log.Segments())
	check(t, st.Sweep(ctx))
	if after := len(st.log.Segments()); before < 5 || after > 3 {
		t.Errorf("%d segments, then %d", before, after)
	}
	for range 2 {
		st.want(Query{Group: "g"}, "new")
		st.want(Query{Group: "keeps"}, "kept")
		st.reopen()
	}
	st.later(23 * time.Hour)
	st.want(Query{Group: "g"})
	check(t, st.Sweep(ctx))
	streams, err := st.Streams(account, "g", "")
	check(t, err)
	if len(streams) != 1 || !streams[0].Last.IsZero() {
		t.Errorf("got %+v", streams)
	}
}

// TestSweep has appends, deletions, sweeps and restarts change places, and checks after each of
// them that all that is wanted is there once.
func TestSweep(t *testing.T) {
	st, ctx := start(t), t.Context()
	model := map[string][]string{}
	verify := func(step string) {
		t.Helper()
		for name, want := range model {
			if diff := cmp.Diff(want, st.messages(Query{Group: "g", Streams: []string{name}})); diff != "" {
				t.Fatalf("%s: stream %s:\n%s", step, name, diff)
			}
		}
		streams, err := st.Streams(account, "g", "")
		check(t, err)
		if len(streams) != len(model) {
			t.Fatalf("%s: %d streams, want %d", step, len(streams), len(model))
		}
	}
	for round := range 12 {
		for i := range 60 {
			name := fmt.Sprint("s", i%7)
			if i%10 == 0 {
				name = fmt.Sprint("once-", round, "-", i)
			}
			m := fmt.Sprint(round, "/", i, strings.Repeat("-", i*3))
			st.append("g", name, epoch.Add(time.Duration(round*60+i)*time.Millisecond), m)
			model[name] = append(model[name], m)
		}
		for i := range 5 {
			name := fmt.Sprint("s", (round+i)%7)
			check(t, st.DeleteStream(ctx, account, "g", name))
			delete(model, name)
		}
		verify("deleted")
		check(t, st.Sweep(ctx))
		verify("swept")
		if round%3 == 2 {
			st.reopen()
			verify("opened")
		}
	}
	for name := range model {
		check(t, st.DeleteStream(ctx, account, "g", name))
	}
	clear(model)
	before := len(st.log.Segments())
	check(t, st.Sweep(ctx))
	verify("emptied")
	if after := len(st.log.Segments()); before < 5 || after > 2 {
		t.Errorf("%d segments, then %d", before, after)
	}
}

// TestSweepCrash ends the process after every step of a sweep, twice.
func TestSweepCrash(t *testing.T) {
	st := start(t)
	var want []string
	for i := range 40 {
		m := fmt.Sprint(i, strings.Repeat("x", 100))
		st.append("g", "s", epoch.Add(time.Duration(i)*time.Millisecond), m)
		want = append(want, m)
	}
	st.want(Query{Group: "g"}, want...)
	first := st.log.Segments()[0].ID
	for i := range 3 {
		// What rewrite does before it drops the segment, the first time not to its end.
		check(t, st.moveStreams(first))
		for _, b := range slices.Clone(st.find(streamKey{account, "g", "s"}).blocks) {
			if b.segment != first {
				continue
			}
			if i == 0 {
				b.offsets = b.offsets[:len(b.offsets)/2]
			}
			check(t, st.moveBlock(move{st.find(streamKey{account, "g", "s"}), b}))
		}
		check(t, st.log.Sync())
		st.reopen()
		st.want(Query{Group: "g"}, want...)
	}
	check(t, st.log.Drop(first))
	st.reopen()
	st.want(Query{Group: "g"}, want...)
	st.append("g", "s", epoch.Add(time.Second), "more")
	st.reopen()
	st.want(Query{Group: "g"}, append(want, "more")...)
}

// TestReadDuringSweep: a reader whose segment goes away reads what was written elsewhere.
func TestReadDuringSweep(t *testing.T) {
	st := start(t)
	var want []string
	for i := range 200 {
		m := fmt.Sprint(i, strings.Repeat("x", 100))
		st.append("g", "keep", epoch.Add(time.Duration(i)*time.Millisecond), m)
		st.append("g", "drop", epoch, strings.Repeat("y", 150))
		want = append(want, m)
	}
	check(t, st.DeleteStream(t.Context(), account, "g", "drop"))
	var tasks lifecycle.Tasks
	tasks.Go("sweep", func() {
		if err := st.Sweep(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for range 20 {
		st.want(Query{Group: "g"}, want...)
	}
	tasks.Wait()
	st.want(Query{Group: "g"}, want...)
}

func TestConcurrentAppends(t *testing.T) {
	st := start(t)
	var tasks lifecycle.Tasks
	for i := range 8 {
		tasks.Go("append", func() {
			for n := range 50 {
				err := st.Append(context.WithoutCancel(t.Context()), account, "g", fmt.Sprint("s", i%4), []Event{{Time: epoch, Message: fmt.Sprint(i, "/", n)}})
				if err != nil {
					t.Error(err)
				}
				if n == 25 && i == 0 {
					if err := st.DeleteGroup(context.WithoutCancel(t.Context()), account, "g"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	tasks.Wait()
	got := st.messages(Query{Group: "g"})
	if len(got) == 0 || len(got) > 400 {
		t.Errorf("%d events", len(got))
	}
	st.reopen()
	if diff := cmp.Diff(got, st.messages(Query{Group: "g"})); diff != "" {
		t.Error(diff)
	}
}

// TestTornTail: a record that a power cut tore is dropped, and what was before it stays.
func TestTornTail(t *testing.T) {
	st := start(t)
	st.append("g", "s", epoch, "kept")
	st.append("g", "s", epoch, "torn")
	files, err := filepath.Glob(filepath.Join(st.cfg.Dir, "*.seg"))
	check(t, err)
	info, err := os.Stat(files[0])
	check(t, err)
	check(t, os.Truncate(files[0], info.Size()-1))
	st.reopen()
	st.want(Query{Group: "g"}, "kept")
	st.append("g", "s", epoch, "more")
	st.want(Query{Group: "g"}, "kept", "more")
}

func TestRun(t *testing.T) {
	st := start(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	lifecycle.Go("store", func() { done <- st.Run(ctx) })
	st.append("g", "s", epoch, "x")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// FuzzRecord: no record makes the reader panic or take what it does not write.
func FuzzRecord(f *testing.F) {
	rec, _ := appendEvents(nil, 1, 2, 3, []Event{{Time: epoch, Message: "a"}, {Time: epoch.Add(time.Hour), Message: ""}})
	f.Add(rec)
	f.Add((&stream{id: 1, key: streamKey{"a", "b", "c"}, groupID: "d"}).record(nil))
	f.Add(appendDeletion(nil, 7))
	f.Fuzz(func(t *testing.T, rec []byte) {
		if len(rec) == 0 {
			return
		}
		_, _ = readStream(rec)
		_, _ = readDeletion(rec)
		n := 0
		e, err := readEvents(rec, func(uint64, int64, int64, []byte) { n++ })
		if err == nil && uint64(n) != e.last-e.first+1 {
			t.Errorf("%d events, %+v", n, e)
		}
	})
}

// BenchmarkAppend writes what an invocation does: one line to a stream that exists.
func BenchmarkAppend(b *testing.B) {
	st := start(b)
	st.cfg.SegmentBytes = 64 << 20
	st.Store.Close()
	st.Store = nil
	st.reopen()
	events := []Event{{Time: epoch, Message: "END RequestId: 8f5b8b7e-0000-0000-0000-000000000000\n"}, {Time: epoch, Message: "REPORT RequestId: 8f5b8b7e-0000-0000-0000-000000000000\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 30 MB\t\n"}}
	ctx := b.Context()
	for b.Loop() {
		if err := st.Append(ctx, account, "/aws/lambda/f", "2026/05/01/[$LATEST]0123456789abcdef", events); err != nil {
			b.Fatal(err)
		}
	}
}
