package disk

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// TestDecide: the reserve goes last and comes back only when nobody misses its room.
func TestDecide(t *testing.T) {
	const low, ballast = 1024 * mib, 128 * mib
	for _, c := range []struct {
		name    string
		free    int64
		ballast int64
		want    action
		full    bool
	}{
		{"plenty", 5000 * mib, ballast, nothing, false},
		{"at the watermark", low, ballast, nothing, false},
		{"below it", low - 1, ballast, nothing, true},
		{"the engine is next", 96*mib - 1, ballast, release, true},
		{"the reserve is gone, its room is not room", low + ballast - 1, 0, nothing, true},
		{"room for the reserve, too", low + ballast, 0, restore, false},
	} {
		s := Stats{Free: c.free, Low: low, Ballast: c.ballast}
		if got := decide(s, ballast); got != c.want {
			t.Errorf("%s: action %d, want %d", c.name, got, c.want)
		}
		if got := full(s, ballast); got != c.full {
			t.Errorf("%s: full is %t", c.name, got)
		}
	}
}

// small mounts a file system of 64 MiB.
func small(t *testing.T) string {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" || os.Getenv("CI") == "1" {
			t.Fatal("needs root, to mount a file system")
		}
		t.Skip("needs root, to mount a file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("disk-test", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFill takes a small file system through its states and back: room, full, nothing left,
// freed in part, freed.
func TestFill(t *testing.T) {
	dir := small(t)
	w, err := Open(Config{Dir: dir, Low: 16 * mib, Ballast: 4 * mib, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	fill := filepath.Join(dir, "fill")
	for _, step := range []struct {
		name    string
		taken   int64 // by somebody else
		full    bool
		ballast int64
	}{
		{"empty", 0, false, 4 * mib},
		{"room", 40 * mib, false, 4 * mib},
		{"full", 46 * mib, true, 4 * mib},
		{"nothing left", 57 * mib, true, 0},
		{"still nothing left", 62 * mib, true, 0},
		{"the reserve's room is no room", 46 * mib, true, 0},
		{"freed", 40 * mib, false, 4 * mib},
	} {
		if err := reserve(fill, max(step.taken, 1)); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if err := w.look(); err != nil {
			t.Fatal(err)
		}
		s := w.Stats()
		if s.Full != step.full || s.Ballast != step.ballast || errors.Is(w.Check(), ErrFull) != step.full {
			t.Errorf("%s: %+v, want full %t, ballast %d", step.name, s, step.full, step.ballast)
		}
		_, free, err := usage(dir)
		if err != nil || free != s.Free+map[bool]int64{true: 4 * mib}[step.name == "nothing left"] {
			t.Errorf("%s: %d bytes are free, %v; seen %d", step.name, free, err, s.Free)
		}
	}
}

// TestOpenAgain: a start finds the reserve of the last one, and replaces one of another size.
func TestOpenAgain(t *testing.T) {
	dir := small(t)
	for _, ballast := range []int64{4 * mib, 4 * mib, 8 * mib} {
		w, err := Open(Config{Dir: dir, Low: 16 * mib, Ballast: ballast})
		if err != nil {
			t.Fatal(err)
		}
		if s := w.Stats(); s.Ballast != ballast {
			t.Errorf("ballast of %d, want %d", s.Ballast, ballast)
		}
		if _, free, err := usage(dir); err != nil || free != 64*mib-ballast {
			t.Errorf("%d bytes are free, %v", free, err)
		}
	}
}

// TestDefaults: the watermark is 5 % of the disk within its bounds.
func TestDefaults(t *testing.T) {
	w, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := w.Stats()
	if want := max(min(s.Size/20, 1<<30), 256*mib); s.Low != want {
		t.Errorf("low is %d of %d, want %d", s.Low, s.Size, want)
	}
}
