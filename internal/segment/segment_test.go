package segment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string, max int64) *segment.Log {
	t.Helper()
	l, err := segment.Open(segment.Config{Dir: dir, MaxBytes: max, Stage: dir + ".stage"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendOne(t testing.TB, l *segment.Log, rec string) segment.Position {
	t.Helper()
	pos, err := l.Append([]byte(rec))
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func scan(t testing.TB, l *segment.Log, from segment.Position) (recs []string) {
	t.Helper()
	last := segment.Position{}
	err := l.Scan(from, func(pos segment.Position, rec []byte) error {
		if pos.Compare(last) <= 0 {
			t.Errorf("position %v comes after %v", pos, last)
		}
		last = pos
		recs = append(recs, string(rec))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func TestAppendReadScan(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 200)
	var want []string
	var at []segment.Position
	for i := range 40 {
		rec := fmt.Sprintf("record %d", i)
		want, at = append(want, rec), append(at, appendOne(t, l, rec))
	}
	more, err := l.AppendAll([][]byte{[]byte("one"), {}, []byte("three")})
	if err != nil {
		t.Fatal(err)
	}
	want, at = append(want, "one", "", "three"), append(at, more...)
	for reopened := range 2 {
		if diff := cmp.Diff(want, scan(t, l, segment.Position{})); diff != "" {
			t.Error(diff)
		}
		for i, pos := range at {
			if got, err := l.Read(pos); err != nil || string(got) != want[i] {
				t.Errorf("Read(%v) = %q, %v; want %q", pos, got, err, want[i])
			}
			if got := scan(t, l, pos); !slices.Equal(got, want[i:]) {
				t.Errorf("Scan from %v has %d records, want %d", pos, len(got), len(want)-i)
			}
		}
		if n := len(l.Segments()); n < 4 {
			t.Errorf("%d segments, want several", n)
		}
		for _, s := range l.Segments() {
			if s.Bytes > 200 || s.Modified.IsZero() {
				t.Errorf("segment %+v", s)
			}
		}
		if reopened == 0 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, dir, 200)
		}
	}
	appendOne(t, l, "after reopening")
	if got := scan(t, l, at[len(at)-1]); !slices.Equal(got, []string{"three", "after reopening"}) {
		t.Errorf("Scan after reopening: %q", got)
	}
}

func TestErrors(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	pos := appendOne(t, l, "x")
	for _, tt := range []struct {
		pos  segment.Position
		want error
	}{
		{segment.Position{Segment: 9, Offset: 8}, segment.ErrNotFound},
		{segment.Position{Segment: 1, Offset: 0}, segment.ErrCorrupt},
		{segment.Position{Segment: 1, Offset: pos.Offset + 1}, segment.ErrCorrupt},
		{segment.Position{Segment: 1, Offset: 1 << 40}, segment.ErrCorrupt},
	} {
		if _, err := l.Read(tt.pos); !errors.Is(err, tt.want) {
			t.Errorf("Read(%v): %v, want %v", tt.pos, err, tt.want)
		}
	}
	if _, err := l.Append(make([]byte, segment.MaxRecord+1)); !errors.Is(err, segment.ErrTooLarge) {
		t.Errorf("Append of too much: %v", err)
	}
	stop := errors.New("stop")
	if err := l.Scan(segment.Position{}, func(segment.Position, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Scan: %v, want the function's error", err)
	}
	l.Close()
	if _, err := l.Append(nil); !errors.Is(err, segment.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
}

// TestTornTail cuts the last file at every byte: Open must keep each record that is whole, drop
// the rest, and append after it.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	recs := []string{"first", "second record", "third"}
	ends := []int64{int64(len(segment.Magic))}
	for _, r := range recs {
		appendOne(t, l, r)
		ends = append(ends, l.Segments()[0].Bytes)
	}
	l.Close()
	name := filepath.Join(dir, "0000000000000001.seg")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		// A crash can also leave zeros, or garbage, where the file had been extended.
		for _, tail := range [][]byte{nil, make([]byte, 20), bytes.Repeat([]byte{0xa5}, 20)} {
			data := append(bytes.Clone(whole[:cut]), tail...)
			if cut < len(segment.Magic) && tail != nil {
				continue
			}
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			n := 0
			for n < len(recs) && ends[n+1] <= int64(cut) {
				n++
			}
			l := open(t, dir, 0)
			appendOne(t, l, "next")
			if diff := cmp.Diff(append(slices.Clone(recs[:n]), "next"), scan(t, l, segment.Position{})); diff != "" {
				t.Fatalf("cut at %d with %d bytes after: %s", cut, len(tail), diff)
			}
			l.Close()
		}
	}
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 40)
	first := appendOne(t, l, "a record to damage")
	second := appendOne(t, l, "a record after it")
	l.Close()
	name := filepath.Join(dir, "0000000000000001.seg")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, 40)
	if _, err := l.Read(first); !errors.Is(err, segment.ErrCorrupt) {
		t.Errorf("Read of a damaged record: %v", err)
	}
	if _, err := l.Read(second); err != nil {
		t.Errorf("Read of the record after it: %v", err)
	}
	if err := l.Scan(segment.Position{}, func(segment.Position, []byte) error { return nil }); !errors.Is(err, segment.ErrCorrupt) {
		t.Errorf("Scan over a damaged record: %v", err)
	}
	l.Close()
	if err := os.WriteFile(filepath.Join(dir, "0000000000000002.seg"), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := segment.Open(segment.Config{Dir: dir}); !errors.Is(err, segment.ErrCorrupt) {
		t.Errorf("Open of a folder with a foreign file: %v", err)
	}
}

func TestDrop(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 40)
	var at []segment.Position
	for i := range 4 {
		at = append(at, appendOne(t, l, fmt.Sprintf("a record of one segment %d", i)))
	}
	// A scan that is at the first segment finishes it, and passes over the second.
	var got []string
	err := l.Scan(segment.Position{}, func(pos segment.Position, rec []byte) error {
		got = append(got, string(rec[len(rec)-1]))
		if pos == at[0] {
			return errors.Join(l.Drop(1), l.Drop(2))
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"0", "2", "3"}) {
		t.Errorf("Scan during Drop: %v, %v", got, err)
	}
	if _, err := l.Read(at[1]); !errors.Is(err, segment.ErrNotFound) {
		t.Errorf("Read of a dropped segment: %v", err)
	}
	if err := l.Drop(4); err != nil {
		t.Errorf("Drop of the last segment: %v", err)
	}
	if err := l.Drop(4); !errors.Is(err, segment.ErrNotFound) {
		t.Errorf("Drop again: %v", err)
	}
	pos := appendOne(t, l, "x")
	if pos.Segment != 5 {
		t.Errorf("appended to segment %d, want 5: a number is never used twice", pos.Segment)
	}
	l.Close()
	l = open(t, dir, 40)
	if got := scan(t, l, segment.Position{}); !slices.Equal(got, []string{"a record of one segment 2", "x"}) {
		t.Errorf("after reopening: %q", got)
	}
}

func TestConcurrent(t *testing.T) {
	l := open(t, t.TempDir(), 4000)
	ctx, cancel := context.WithCancel(t.Context())
	var run error
	wait := lifecycle.Go("run", func() { run = l.Run(ctx) })
	var writers, readers sync.WaitGroup
	const each = 300
	for w := range 4 {
		writers.Go(func() {
			for i := range each {
				rec := fmt.Sprintf("%d-%d", w, i)
				pos, err := l.Append([]byte(rec))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := l.Read(pos); err != nil || string(got) != rec {
					t.Errorf("Read(%v) = %q, %v", pos, got, err)
				}
				if i%50 == 0 {
					if err := l.Sync(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	readers.Go(func() {
		for ctx.Err() == nil {
			scan(t, l, segment.Position{})
		}
	})
	writers.Wait()
	cancel()
	readers.Wait()
	wait()
	if run != nil {
		t.Errorf("Run: %v", run)
	}
	if l.Dirty() {
		t.Error("Run ended without the last fsync")
	}
	next := map[string]int{}
	for _, rec := range scan(t, l, segment.Position{}) {
		var w string
		var i int
		if _, err := fmt.Sscanf(rec[:1]+" "+rec[2:], "%s %d", &w, &i); err != nil || next[w] != i {
			t.Fatalf("record %q out of order (%v)", rec, err)
		}
		next[w]++
	}
	if len(next) != 4 || next["0"] != each {
		t.Errorf("records by writer: %v", next)
	}
}

// TestGroupSync: Run fsyncs within SyncEvery, and not before others had a chance to join.
func TestGroupSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := open(t, t.TempDir(), 0)
		wait := lifecycle.Go("run", func() { l.Run(ctx) })
		appendOne(t, l, "x")
		synctest.Wait()
		if !l.Dirty() {
			t.Error("fsynced at once, without waiting for others")
		}
		time.Sleep(50 * time.Millisecond) // the default of SyncEvery, by the bubble's clock
		synctest.Wait()
		if l.Dirty() {
			t.Error("not fsynced in time")
		}
		cancel()
		wait()
	})
}

// TestAppendDuringSync: while an fsync takes its time, appends and reads go on.
func TestAppendDuringSync(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	entered, release := make(chan struct{}), make(chan struct{})
	l.SetFsync(func(f *os.File) error {
		close(entered)
		<-release
		return f.Sync()
	})
	appendOne(t, l, "before")
	wait := lifecycle.Go("sync", func() {
		if err := l.Sync(); err != nil {
			t.Error(err)
		}
	})
	<-entered
	pos := appendOne(t, l, "meanwhile")
	if rec, err := l.Read(pos); err != nil || string(rec) != "meanwhile" {
		t.Errorf("read %q, %v", rec, err)
	}
	close(release)
	wait()
	if !l.Dirty() {
		t.Error("what came during the fsync counts as on disk")
	}
	l.SetFsync((*os.File).Sync)
}

// TestFailedSync: after an fsync failed nothing may be acknowledged any more.
func TestFailedSync(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	appendOne(t, l, "x")
	l.BreakSync()
	for range 2 {
		if err := l.Sync(); err == nil {
			t.Error("Sync succeeds on a file that cannot be fsynced")
		}
	}
	if _, err := l.Append([]byte("y")); err == nil {
		t.Error("Append succeeds after a failed fsync")
	}
	if err := l.Run(t.Context()); err == nil {
		t.Error("Run goes on after a failed fsync")
	}
}

func FuzzReadFrame(f *testing.F) {
	for _, rec := range []string{"", "x", "a longer record with\x00 in it"} {
		f.Add(segment.Frame([]byte(rec)))
	}
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5})
	f.Add(segment.Frame([]byte("cut"))[:9])
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := segment.ReadFrame(data)
		if err != nil {
			return
		}
		// Only what writing would have made is read as a record.
		if frame := segment.Frame(rec); !bytes.HasPrefix(data, frame) {
			t.Errorf("%q read as %q, which is written as %q", data, rec, frame)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l := open(b, b.TempDir(), 0)
	rec := make([]byte, 200)
	b.SetBytes(200)
	for b.Loop() {
		if _, err := l.Append(rec); err != nil {
			b.Fatal(err)
		}
	}
}

// TestBlocks: the segment that is written to has blocks ahead, as far as it may grow, and gives them
// back when it is finished.
func TestBlocks(t *testing.T) {
	dir := t.TempDir()
	onDisk := func(segment int) int64 {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%016d.seg", segment)))
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	l := open(t, dir, 32<<20)
	if got := onDisk(1); got < 16<<20 || got > 17<<20 {
		t.Errorf("a new segment takes %d KiB", got>>10)
	}
	synced(t, l, bytes.Repeat([]byte("x"), 13<<20))
	if got := onDisk(1); got < 32<<20 || got > 33<<20 {
		t.Errorf("with 13 MiB in it, it takes %d KiB", got>>10)
	}
	synced(t, l, bytes.Repeat([]byte("y"), 20<<20))
	if got := onDisk(1); got > 14<<20 {
		t.Errorf("with 13 MiB in it, it takes %d KiB when it is finished", got>>10)
	}
	if got := scan(t, l, segment.Position{}); len(got) != 2 || len(got[0]) != 13<<20 || len(got[1]) != 20<<20 {
		t.Errorf("%d records", len(got))
	}
}

// synced appends a record and returns when Run has seen it.
func synced(t *testing.T, l *segment.Log, rec []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	before := l.Stats().Syncs
	wait := lifecycle.Go("run", func() { _ = l.Run(ctx) })
	appendOne(t, l, string(rec))
	for l.Stats().Syncs == before {
		runtime.Gosched()
	}
	cancel()
	wait()
}
