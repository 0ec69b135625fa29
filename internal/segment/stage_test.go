package segment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/segment"
)

// killed copies what a process that is killed now would leave to the next one: its files and its
// stage.
func killed(t *testing.T, dir string) (copied string) {
	t.Helper()
	copied = filepath.Join(t.TempDir(), "log")
	if out, err := exec.Command("cp", "-a", dir, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(dir + ".stage")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied+".stage", b, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

// inFile is the records that are in the first file, whatever the stage has.
func inFile(t *testing.T, dir string) []string {
	t.Helper()
	copied := killed(t, dir)
	if err := os.Remove(copied + ".stage"); err != nil {
		t.Fatal(err)
	}
	l, err := segment.Open(segment.Config{Dir: copied})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return scan(t, l, segment.Position{})
}

// TestStageKilled: what was appended is there after a kill, once, whether it was in the file, in the
// stage or in both; and the stage is gone when the log is closed.
func TestStageKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir, 0)
	var want []string
	add := func(n int) {
		for range n {
			want = append(want, fmt.Sprint("record ", len(want)))
			appendOne(t, l, want[len(want)-1])
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		file int // records in the file then
	}{
		{"staged", func() { add(3) }, 0},
		{"written out", func() {
			if err := l.WriteOut(); err != nil {
				t.Fatal(err)
			}
		}, 3},
		{"staged again", func() { add(3) }, 3},
		{"not written", func() {
			mend, err := l.BreakWrite()
			if err != nil {
				t.Fatal(err)
			}
			defer mend()
			if err := l.WriteOut(); err == nil {
				t.Fatal("nothing failed")
			}
			add(2) // into the other half
		}, 3},
		{"read", func() { scan(t, l, segment.Position{}) }, 8},
		{"fsynced", func() {
			add(1)
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
		}, 9},
	} {
		step.do()
		if got := inFile(t, dir); !slices.Equal(got, want[:step.file]) {
			t.Errorf("%s: %q in the file, want %d", step.name, got, step.file)
		}
		copied := killed(t, dir)
		for range 2 { // a start that is killed, too
			next := open(t, copied, 0)
			if got := scan(t, next, segment.Position{}); !slices.Equal(got, want) {
				t.Errorf("%s: %q after a kill, want %q", step.name, got, want)
			}
			copied = killed(t, copied)
		}
		if got := scan(t, open(t, copied, 0), segment.Position{}); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", step.name, got, want)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + ".stage"); !os.IsNotExist(err) {
		t.Errorf("after Close: %v", err)
	}
}

// TestStageHalfWritten: a kill amid the write of the stage leaves part of it in the file.
func TestStageHalfWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir, 0)
	appendOne(t, l, "first")
	appendOne(t, l, "second")
	copied := killed(t, dir)
	f, err := os.OpenFile(filepath.Join(copied, "0000000000000001.seg"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	both := append(segment.Frame([]byte("first")), segment.Frame([]byte("second"))...)
	if _, err := f.Write(both[:len(both)-3]); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got := scan(t, open(t, copied, 0), segment.Position{}); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("got %q", got)
	}
}

// TestStageOfAnother: a stage that does not go on where the log ends is another's: nothing of it
// is taken.
func TestStageOfAnother(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir, 0)
	appendOne(t, l, "a record that is in the file")
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, "one that is in the stage")
	stage, err := os.ReadFile(dir + ".stage")
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(at int) []byte { b := bytes.Clone(stage); b[at] = 0xff; return b }
	second := len(stage) / 2 // what was appended first had the first half
	for name, tt := range map[string]struct {
		file  []string
		stage []byte
	}{
		"file is shorter":       {nil, stage},
		"file has gone on":      {[]string{"a record that is in the file", "another one"}, stage},
		"segment is another":    {[]string{"a record that is in the file"}, damaged(second + 8)},
		"offset is beyond":      {[]string{"a record that is in the file"}, damaged(second + 17)},
		"length is nonsense":    {[]string{"a record that is in the file"}, damaged(second + 5)},
		"length is negative":    {[]string{"a record that is in the file"}, damaged(second + 7)},
		"a record is damaged":   {[]string{"a record that is in the file"}, damaged(second + 40)},
		"there is no file":      {nil, stage},
		"stage was cut":         {[]string{"a record that is in the file"}, stage[:len(stage)/2+100]},
		"stage was never whole": {[]string{"a record that is in the file"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			l := open(t, dir, 0)
			for _, rec := range tt.file {
				appendOne(t, l, rec)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if name == "there is no file" {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(dir+".stage", tt.stage, 0o600); err != nil {
				t.Fatal(err)
			}
			l = open(t, dir, 0)
			appendOne(t, l, "new")
			want := append(slices.Clone(tt.file), "new")
			if got := scan(t, l, segment.Position{}); !slices.Equal(got, want) {
				t.Errorf("got %q", got)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if got := scan(t, open(t, dir, 0), segment.Position{}); !slices.Equal(got, want) {
				t.Errorf("got %q after a restart", got)
			}
		})
	}
}

// TestStageFull: what the stage has no room for waits for a write, not for an fsync, and what does
// not fit at all goes past it; the order stays.
func TestStageFull(t *testing.T) {
	for _, size := range []int{1000, segment.StageHalf / 2, segment.StageHalf - 8, segment.StageHalf, 3 * segment.StageHalf} {
		l := open(t, filepath.Join(t.TempDir(), "log"), 1<<30)
		l.SetFsync(func(*os.File) error { t.Error("fsync"); return nil })
		var want []string
		for i := range max(6, 3*segment.StageHalf/size) {
			rec := fmt.Sprintf("%0*d", size, i)
			want = append(want, rec, "little")
			appendOne(t, l, rec)
			appendOne(t, l, "little")
		}
		if got := scan(t, l, segment.Position{}); !slices.Equal(got, want) {
			t.Errorf("%d bytes: %d records, want %d, or they differ", size, len(got), len(want))
		}
		l.SetFsync((*os.File).Sync)
	}
}

// running runs l until stop is called.
func running(t *testing.T, l *segment.Log) (stop func()) {
	var tasks lifecycle.Tasks
	ctx, cancel := context.WithCancel(t.Context())
	tasks.Go("run", func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() { cancel(); tasks.Wait() }
}

// TestRotate: no append waits for the disk when a segment is full, since the next one was made ahead and
// the full one is finished by Run; a kill at any moment of that loses nothing, and what a power cut does to
// the full one is cut off.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "log")
		l := open(t, dir, 1000)
		gate := make(chan struct{})
		var held atomic.Bool
		l.SetFsync(func(f *os.File) error {
			if held.Load() {
				<-gate
			}
			return f.Sync()
		})
		defer running(t, l)()
		var want []string
		add := func(n int) {
			want = append(want, fmt.Sprintf("%0*d", n, len(want)))
			appendOne(t, l, want[len(want)-1])
		}
		check := func(when string, files int) {
			t.Helper()
			copied := killed(t, dir)
			if seen, err := filepath.Glob(filepath.Join(copied, "*.seg")); err != nil || len(seen) != files {
				t.Errorf("%s: files %q, want %d", when, seen, files)
			}
			next := open(t, copied, 1000)
			if got := scan(t, next, segment.Position{}); !slices.Equal(got, want) {
				t.Errorf("%s: %q after a kill, want %q", when, got, want)
			}
			if err := next.Sync(); err != nil {
				t.Error(err)
			}
			if n := len(next.Segments()); when == "made ahead" && n != 1 {
				t.Errorf("%s: %d segments after a kill, want 1", when, n)
			} else if n > 1 {
				for _, s := range next.Segments()[:n-1] {
					finished(t, copied, s.ID)
				}
			}
		}
		add(600)
		time.Sleep(time.Second)
		check("made ahead", 2)
		held.Store(true)
		add(100)
		time.Sleep(time.Second) // Run is in the fsync of it
		add(200)
		add(300)
		if n := len(l.Segments()); n != 2 {
			t.Errorf("%d segments, want 2", n)
		}
		check("rotated", 2)
		if got := scan(t, l, segment.Position{}); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		check("read", 2)
		torn(t, killed(t, dir), append(slices.Clone(want[:2]), want[3]))
		close(gate)
		time.Sleep(time.Second)
		check("finished", 2)
		finished(t, dir, 1)
	})
}

// finished checks that a segment's file says that it is finished.
func finished(t *testing.T, dir string, id uint64) {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%016d.seg", id)))
	if err != nil || info.Mode() != 0o400 {
		t.Errorf("segment %d: %v, %v", id, info, err)
	}
}

// torn cuts the first segment short, as a power cut may, and checks what is left.
func torn(t *testing.T, dir string, want []string) {
	t.Helper()
	name := filepath.Join(dir, "0000000000000001.seg")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(name, info.Size()-1), os.Remove(dir+".stage")); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, 1000)
	if got := scan(t, l, segment.Position{}); !slices.Equal(got, want) {
		t.Errorf("%q after a power cut, want %q", got, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	finished(t, dir, 1)
}

// TestStageDisk: while the disk takes nothing, appends go on into the stage until it is full, fail
// then, and nothing is lost once it takes something again, which Run finds out.
func TestStageDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, filepath.Join(t.TempDir(), "log"), 0)
		defer running(t, l)()
		synctest.Wait()
		mend, err := l.BreakWrite()
		if err != nil {
			t.Fatal(err)
		}
		rec := bytes.Repeat([]byte("x"), segment.StageHalf/3)
		n := 0
		for ; ; n++ {
			if _, err := l.Append(rec); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n < 3 || n > 6 {
			t.Errorf("%d appended, want what the stage holds", n)
		}
		mend()
		time.Sleep(2 * time.Second)
		if _, err := l.Append(rec); err != nil {
			t.Error(err)
		}
		if got := scan(t, l, segment.Position{}); len(got) != n+1 {
			t.Errorf("%d records, want %d", len(got), n+1)
		}
	})
}

// TestRotateFails: when there is no room for the next segment, the full one goes on taking what fits, and
// that is there after a kill.
func TestRotateFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir, 1000)
	want := []string{fmt.Sprintf("%0900d", 0), "little"}
	appendOne(t, l, want[0])
	inTheWay := filepath.Join(dir, "0000000000000002.seg")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(make([]byte, 500)); err == nil {
		t.Error("a segment was begun on a file that exists")
	}
	appendOne(t, l, want[1])
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, open(t, killed(t, dir), 1000), segment.Position{}); !slices.Equal(got, want) {
		t.Errorf("%q after a kill, want %q", got, want)
	}
	want = append(want, fmt.Sprintf("%0500d", 1))
	appendOne(t, l, want[2])
	if got := scan(t, l, segment.Position{}); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	finished(t, dir, 1)
}

// TestStageDropped: the segment that is written to can be dropped with what is staged of it, also on
// a disk that takes nothing; who reads then is told that it is gone.
func TestStageDropped(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "log"), 0)
	appendOne(t, l, "written")
	if err := l.WriteOut(); err != nil {
		t.Fatal(err)
	}
	gone := appendOne(t, l, "staged")
	if _, err := l.BreakWrite(); err != nil {
		t.Fatal(err)
	}
	if err := l.Drop(1); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(gone); !errors.Is(err, segment.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	appendOne(t, l, "new")
	if got := scan(t, l, segment.Position{}); !slices.Equal(got, []string{"new"}) {
		t.Errorf("got %q", got)
	}
}

// TestWithoutStage: a log works the same on a host that has no place for a stage.
func TestWithoutStage(t *testing.T) {
	for _, stage := range []string{"", filepath.Join(t.TempDir(), "no", "such", "directory")} {
		dir := t.TempDir()
		l, err := segment.Open(segment.Config{Dir: dir, MaxBytes: 100, Stage: stage})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint("record ", i))
			appendOne(t, l, want[i])
		}
		again, err := segment.Open(segment.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if got := scan(t, again, segment.Position{}); !slices.Equal(got, want) {
			t.Errorf("with stage %q: %q", stage, got)
		}
	}
}
