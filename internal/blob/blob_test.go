package blob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent/internal/blob"
)

func open(t testing.TB, dir string) *blob.Store {
	t.Helper()
	s, err := blob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *blob.Store, content string) blob.Digest {
	t.Helper()
	d, n, err := s.Put(t.Context(), strings.NewReader(content))
	if err != nil || n != int64(len(content)) || d != blob.Sum([]byte(content)) {
		t.Fatalf("Put: %s, %d, %v", d, n, err)
	}
	return d
}

func TestPutOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, content := range []string{"", "x", strings.Repeat("long ", 1<<20)} {
		d := put(t, s, content)
		put(t, s, content)
		f, err := open(t, dir).Open(d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		f.Close()
		if err != nil || string(got) != content {
			t.Errorf("%d bytes come back as %d, %v", len(content), len(got), err)
		}
		if got, err := s.Get(d); err != nil || string(got) != content {
			t.Errorf("Get: %d bytes, %v", len(got), err)
		}
		if err := s.Verify(t.Context(), d); err != nil {
			t.Errorf("Verify: %v", err)
		}
		if !s.Has(d) {
			t.Error("Has: false")
		}
	}
}

func TestNotFoundAndMalformed(t *testing.T) {
	s := open(t, t.TempDir())
	none := blob.Sum([]byte("none"))
	if _, err := s.Open(none); !errors.Is(err, blob.ErrNotFound) || s.Has(none) {
		t.Errorf("Open of nothing: %v", err)
	}
	for _, d := range []blob.Digest{"", "../../etc/passwd", blob.Digest(strings.ToUpper(string(none))), none + "0"} {
		if _, err := s.Open(d); !errors.Is(err, blob.ErrDigest) || s.Has(d) {
			t.Errorf("Open(%q): %v", d, err)
		}
		if strings.Contains(s.Path(d), "..") {
			t.Errorf("Path(%q) = %s", d, s.Path(d))
		}
	}
}

// TestInterrupted: what fails in the middle leaves nothing, and what a crash left is removed.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	boom := errors.New("boom")
	if _, _, err := s.Put(t.Context(), io.MultiReader(strings.NewReader("half"), errReader{boom})); !errors.Is(err, boom) {
		t.Errorf("Put: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Put(ctx, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put after its context ended: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := os.WriteFile(filepath.Join(dir, "tmp-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left after Open: %v", left)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestCorrupt(t *testing.T) {
	s := open(t, t.TempDir())
	d := put(t, s, "content")
	if err := os.Chmod(s.Path(d), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path(d), []byte("CONTENT"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), d); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("Verify: %v", err)
	}
	if _, err := s.Get(d); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("Get: %v", err)
	}
	r, err := s.OpenVerified(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("reading: %v", err)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	kept, old, young, again := put(t, s, "kept"), put(t, s, "old"), put(t, s, "young"), put(t, s, "again")
	hourAgo := time.Now().Add(-time.Hour)
	for _, d := range []blob.Digest{kept, old, again} {
		if err := os.Chtimes(s.Path(d), hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir)   // an hour later
	put(t, s, "again") // makes it young
	n, err := s.Sweep(t.Context(), func(d blob.Digest) bool { return d == kept }, time.Minute)
	if err != nil || n != 1 {
		t.Errorf("Sweep: %d, %v", n, err)
	}
	for d, want := range map[blob.Digest]bool{kept: true, old: false, young: true, again: true} {
		if s.Has(d) != want {
			t.Errorf("%s is there: %v, want %v", d, s.Has(d), want)
		}
	}
}

// TestClockSetForward: what was put a moment ago is young although the clock says otherwise.
func TestClockSetForward(t *testing.T) {
	s := open(t, t.TempDir())
	d := put(t, s, "x")
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(s.Path(d), hourAgo, hourAgo); err != nil { // an hour forward looks the same
		t.Fatal(err)
	}
	if n, err := s.Sweep(t.Context(), func(blob.Digest) bool { return false }, time.Minute); n != 0 || err != nil {
		t.Errorf("Sweep: %d, %v", n, err)
	}
	if n, err := s.Sweep(t.Context(), func(blob.Digest) bool { return false }, 0); n != 1 || err != nil {
		t.Errorf("Sweep of what is old: %d, %v", n, err)
	}
}

// TestConcurrent has writers put blobs that are old enough to be swept, while they are swept: after
// a Put the blob is there.
func TestConcurrent(t *testing.T) {
	s := open(t, t.TempDir())
	var writers, sweeper sync.WaitGroup
	done := make(chan struct{})
	sweeper.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := s.Sweep(t.Context(), func(blob.Digest) bool { return false }, time.Minute); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for w := range 4 {
		writers.Go(func() {
			for i := range 40 {
				content := bytes.Repeat([]byte{byte(w), byte(i % 5)}, 500)
				d, _, err := s.Put(t.Context(), bytes.NewReader(content))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Get(d); err != nil || !bytes.Equal(got, content) {
					t.Errorf("after Put: %v", err)
				}
				long := time.Now().Add(-time.Hour)
				os.Chtimes(s.Path(d), long, long) // let the sweep have it
			}
		})
	}
	writers.Wait()
	close(done)
	sweeper.Wait()
}
