package meter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
)

const account = "123456789012"

var day = time.Date(2026, 11, 25, 10, 30, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, write(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, db *kv.Store, dir string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), Config{KV: db, Dir: dir, Stage: dir + ".stage", Node: "n1", SegmentBytes: 4 << 10, Now: func() time.Time { return day }})
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func record(i int) Record {
	return Record{
		RequestID: fmt.Sprint("id-", i), Account: account, Function: fmt.Sprint("f", i%3), Version: "$LATEST",
		Start: day.Add(time.Duration(i%5) * time.Hour), Duration: 2500 * time.Microsecond, Billed: 3,
		Memory: 128, EphemeralStorage: 1024, Architecture: "x86_64", Outcome: "success",
	}
}

func run(t testing.TB, l *Ledger, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		r := record(i)
		e, err := l.Begin(r)
		check(t, err)
		check(t, l.End(e, r))
	}
}

func total(t testing.TB, l *Ledger) (s Sums) {
	t.Helper()
	rows, err := l.Usage(account, day.AddDate(0, -3, 0), day.AddDate(0, 1, 0))
	check(t, err)
	for _, r := range rows {
		s.add(r.Sums)
	}
	return s
}

func want(n int64) Sums {
	return Sums{Requests: n, BilledMS: 3 * n, MemoryMS: 384 * n, StorageMS: 3 * 512 * n}
}

func wantTotal(t testing.TB, l *Ledger, n int64) {
	t.Helper()
	if d := cmp.Diff(want(n), total(t, l)); d != "" {
		t.Errorf("usage (-want +got):\n%s", d)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	r := record(7)
	r.Init, r.Cold, r.Outcome = time.Second, true, "timeout"
	e := entry{kind: kindEnd, Record: r}
	e.begun.Segment, e.begun.Offset = 3, 77
	b := e.encode(nil)
	got, err := decode(b)
	check(t, err)
	if got != e {
		t.Errorf("got %+v, want %+v", got, e)
	}
	for n := range len(b) {
		if _, err := decode(b[:n]); err == nil {
			t.Errorf("%d of %d bytes decode", n, len(b))
		}
	}
	if _, err := decode(append(b, 0)); err == nil {
		t.Error("a byte too many decodes")
	}
}

// TestUsage: the sums are the same before and after the fold, by hour and within bounds.
func TestUsage(t *testing.T) {
	l := open(t, kvtest.Open(t), t.TempDir())
	run(t, l, 0, 30)
	before, err := l.Usage(account, day.Add(time.Hour), day.Add(3*time.Hour))
	check(t, err)
	check(t, l.Fold(t.Context()))
	after, err := l.Usage(account, day.Add(time.Hour), day.Add(3*time.Hour))
	check(t, err)
	if d := cmp.Diff(before, after); d != "" {
		t.Error(d)
	}
	if len(after) != 9 || after[0].At.Hour() != 11 || after[8].At.Hour() != 13 {
		t.Errorf("rows %+v", after)
	}
	if s := l.Stats(); s.Unfolded != 0 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
	if rows, err := l.Usage("999999999999", day, day.Add(24*time.Hour)); err != nil || len(rows) != 0 {
		t.Errorf("another account sees %v, %v", rows, err)
	}
}

// TestOnce: an entry ends once, whoever tries, and one that was cancelled leaves no record.
func TestOnce(t *testing.T) {
	dir, db := t.TempDir(), kvtest.Open(t)
	l := open(t, db, dir)
	e, err := l.Begin(record(0))
	check(t, err)
	check(t, l.End(e, record(0)))
	if err := l.End(e, record(0)); !errors.Is(err, ErrEnded) {
		t.Errorf("a second end: %v", err)
	}
	e, err = l.Begin(record(1))
	check(t, err)
	check(t, l.Cancel(e))
	if err := l.End(e, record(1)); !errors.Is(err, ErrEnded) {
		t.Errorf("the end of a cancelled entry: %v", err)
	}
	var wait []func()
	for g := range 20 {
		wait = append(wait, lifecycle.Go("writer", func() { run(t, l, 100*g, 100) }))
	}
	for _, w := range wait {
		w()
	}
	wantTotal(t, l, 2001)
}

// TestFoldFaults interrupts folding, merging and dropping at every step, with and without the end
// of the process there: every record counts once.
func TestFoldFaults(t *testing.T) {
	broken := errors.New("broken")
	for _, step := range []string{"scanned", "synced", "committed", "merged", "dropped"} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(step, " restart=", restart), func(t *testing.T) {
				dir := t.TempDir()
				db, _, end := kvtest.Start(t, filepath.Join(dir, "etcd"))
				l := open(t, db, filepath.Join(dir, "ledger"))
				n := int64(0)
				for round := range 4 {
					run(t, l, round*100, 100)
					n += 100
					l.cfg.MonthsAfter, l.cfg.MaxBytes = -48*time.Hour, 1 // everything is old and too much
					hit := false
					l.fault = func(at string) error {
						if at == step && !hit {
							hit = true
							return broken
						}
						return nil
					}
					if err := l.Fold(t.Context()); !errors.Is(err, broken) {
						t.Fatalf("the fault does not show: %v", err)
					}
					wantTotal(t, l, n)
					if restart {
						check(t, l.Close())
						end()
						db, _, end = kvtest.Start(t, filepath.Join(dir, "etcd"))
						l = open(t, db, filepath.Join(dir, "ledger"))
					}
					wantTotal(t, l, n)
				}
				l.fault = func(string) error { return nil }
				check(t, l.Fold(t.Context()))
				wantTotal(t, l, n)
				if s := l.Stats(); s.Unfolded != 0 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// TestLongInvocation: what is in flight holds back neither folding nor, after a crash, its own
// record; the segment it began in stays until it has ended.
func TestLongInvocation(t *testing.T) {
	dir := t.TempDir()
	db, _, end := kvtest.Start(t, filepath.Join(dir, "etcd"))
	l := open(t, db, filepath.Join(dir, "ledger"))
	long := record(9)
	long.RequestID = "long"
	_, err := l.Begin(long)
	check(t, err)
	l.cfg.MaxBytes = 1
	run(t, l, 0, 200)
	check(t, l.Fold(t.Context()))
	if s := l.Stats(); s.Unfolded != 0 || s.InFlight != 1 || s.Segments < 3 {
		t.Errorf("%+v", s)
	}
	check(t, l.Close())
	end()
	for range 2 { // the second start finds nothing to do
		db, _, end = kvtest.Start(t, filepath.Join(dir, "etcd"))
		l = open(t, db, filepath.Join(dir, "ledger"))
		w := want(200)
		w.Aborted = 1
		if d := cmp.Diff(w, total(t, l)); d != "" {
			t.Error(d)
		}
		var aborted []Record
		for _, r := range listed(t, l) {
			if r.Outcome == Aborted {
				aborted = append(aborted, r)
			}
		}
		if len(aborted) != 1 || aborted[0].RequestID != "long" || aborted[0].Billed != 0 {
			t.Errorf("%+v", aborted)
		}
		check(t, l.Close())
		end()
	}
	db, _, _ = kvtest.Start(t, filepath.Join(dir, "etcd"))
	l = open(t, db, filepath.Join(dir, "ledger"))
	l.cfg.MaxBytes = 1
	check(t, l.Fold(t.Context()))
	if s := l.Stats(); s.Segments != 1 {
		t.Errorf("segments that nobody needs stay: %+v", s)
	}
	wantNext(t, l)
}

func wantNext(t *testing.T, l *Ledger) {
	t.Helper()
	run(t, l, 0, 5)
	if s := total(t, l); s.Requests != 205 || s.Aborted != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFilesGone: sums go on from an empty log, as after a backup without the files.
func TestFilesGone(t *testing.T) {
	dir := t.TempDir()
	db, _, end := kvtest.Start(t, dir)
	l := open(t, db, t.TempDir())
	run(t, l, 0, 50)
	check(t, l.Fold(t.Context()))
	check(t, l.Close())
	row, err := l.position()
	check(t, err)
	end()
	db, _, _ = kvtest.Start(t, dir)
	files := open(t, db, t.TempDir())
	now, err := files.position()
	check(t, err)
	if now.Value.Folded.Compare(row.Value.Folded) >= 0 {
		t.Errorf("position %+v", now.Value)
	}
	run(t, files, 0, 5)
	wantTotal(t, files, 55)
	check(t, files.Fold(t.Context()))
	wantTotal(t, files, 55)
}

// TestLate: ends that the disk does not take are written when it does.
func TestLate(t *testing.T) {
	dir := t.TempDir()
	l := open(t, kvtest.Open(t), dir)
	e, err := l.Begin(record(0))
	check(t, err)
	good := l.log
	broken := open(t, kvtest.Open(t), t.TempDir())
	check(t, broken.Close())
	l.log = broken.log
	if err := l.End(e, record(0)); err == nil {
		t.Error("no error")
	}
	none, err := l.Begin(record(1))
	if err == nil || none != (Entry{}) {
		t.Errorf("begin: %v, %v", none, err)
	}
	if err := l.End(none, record(1)); err == nil {
		t.Error("no error")
	}
	if s := l.Stats(); s.Late != 2 || s.Failed != 3 || s.InFlight != 1 {
		t.Errorf("%+v", s)
	}
	l.log = good
	check(t, l.Fold(t.Context()))
	wantTotal(t, l, 2)
	if s := l.Stats(); s.Late != 0 || s.InFlight != 0 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

// TestList pages through raw records.
// listed are the day's records, page by page.
func listed(t *testing.T, l *Ledger) (out []Record) {
	t.Helper()
	q := Query{Account: account, From: day, To: day.AddDate(0, 0, 1), Limit: 1000}
	for more := true; more; more = q.After != "" {
		page, next, err := l.List(t.Context(), q)
		check(t, err)
		out, q.After = append(out, page...), next
	}
	return out
}

func TestList(t *testing.T) {
	l := open(t, kvtest.Open(t), t.TempDir())
	run(t, l, 0, 95)
	seen := map[string]bool{}
	q := Query{Account: account, From: day, To: day.Add(24 * time.Hour), Limit: 10}
	for pages := 1; ; pages++ {
		page, next, err := l.List(t.Context(), q)
		check(t, err)
		for _, r := range page {
			seen[r.RequestID] = true
		}
		if q.After = next; next == "" {
			if pages != 10 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if len(seen) != 95 {
		t.Errorf("%d records", len(seen))
	}
	page, _, err := l.List(t.Context(), Query{Account: account, Function: "f1", From: day.Add(2 * time.Hour), To: day.Add(3 * time.Hour)})
	check(t, err)
	for _, r := range page {
		if r.Function != "f1" || r.Start != day.Add(2*time.Hour) {
			t.Errorf("%+v", r)
		}
	}
	for _, bad := range []string{"x", "1", "-", "1--2", "1-33", "1-70"} {
		if _, _, err := l.List(t.Context(), Query{Account: account, After: bad}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
}

// TestRun folds by itself while others write.
func TestRun(t *testing.T) {
	l := open(t, kvtest.Open(t), t.TempDir())
	l.cfg.FoldEvery = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	wait := lifecycle.Go("ledger", func() { err = l.Run(ctx) })
	for i := range 20 {
		run(t, l, i*50, 50)
		wantTotal(t, l, int64(50*(i+1)))
	}
	cancel()
	wait()
	check(t, err)
	check(t, l.Fold(t.Context()))
	wantTotal(t, l, 1000)
}

func BenchmarkBeginEnd(b *testing.B) {
	l, err := Open(b.Context(), Config{KV: kvtest.Open(b), Dir: b.TempDir(), Node: "n1"})
	check(b, err)
	defer l.Close()
	r := record(1)
	b.ReportAllocs()
	for b.Loop() {
		e, err := l.Begin(r)
		check(b, err)
		check(b, l.End(e, r))
	}
}
