// Package disk watches how much room the state directory's file system has, and keeps a reserve
// of it.
//
// Below the low watermark whatever takes much room is to be refused: new code, log events and
// events of functions ask Full or Check first. Small writes of the state engine, the ledger,
// reads and invocations go on. A ballast file holds room that nobody else can take; it is given
// back when so little is left that the engine's own writes would fail, which end the process, and
// is made again once there is room. Until then its size counts as taken, so that giving it back
// does not look like room. Everything heals by itself when space is freed.
//
// A Watch is safe for concurrent use. Full and Check read what Run saw last and never block.
package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrFull is returned for what is refused below the low watermark.
var ErrFull = errors.New("disk is full")

const (
	// The low watermark is 5 % of the file system, but neither more than a gigabyte, which lasts,
	// nor less than what the engine may need at once.
	lowShare = 20
	maxLow   = 1 << 30
	minLow   = 256 << 20

	// engineSegment is what the state engine takes in one piece: the next file of its log. It
	// takes that before it needs it, and ends the process when it cannot.
	engineSegment = 64 << 20

	ballastName = "ballast"
)

// Config is what Open needs; zero fields have defaults.
type Config struct {
	Dir     string
	Low     int64         // free bytes below which the disk is full; default: 5 % of it, between 256 MiB and 1 GiB
	Ballast int64         // size of the reserve; default: two files of the engine's log, at most half of Low
	Every   time.Duration // how often Run looks; default 250 ms
	Logger  *slog.Logger
}

// Stats is what was seen last.
type Stats struct {
	Size, Free int64 // of the file system, in bytes
	Low        int64 // the watermark
	Ballast    int64 // of the reserve that is there; zero once it was given back
	Full       bool
	Exhausted  bool // nothing is left, not even the reserve
}

// Watch is the watch of one file system.
type Watch struct {
	cfg  Config
	path string // of the ballast

	mu    sync.RWMutex // guards what follows
	stats Stats
	noted bool // the log says already that the reserve could not be made
}

// Open looks for the first time, and makes the ballast if there is room.
func Open(cfg Config) (*Watch, error) {
	cfg.Every = cmp.Or(cfg.Every, 250*time.Millisecond)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	size, _, err := usage(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Low = cmp.Or(cfg.Low, max(min(size/lowShare, maxLow), minLow))
	cfg.Ballast = cmp.Or(cfg.Ballast, min(2*engineSegment, cfg.Low/2))
	w := &Watch{cfg: cfg, path: filepath.Join(cfg.Dir, ballastName)}
	if info, err := os.Stat(w.path); err == nil {
		w.stats.Ballast = allocated(info)
		if w.stats.Ballast < cfg.Ballast {
			// Of another size, or a crash came between making and filling it.
			if err := w.giveBack(); err != nil {
				return nil, err
			}
		}
	}
	return w, w.look()
}

// Run looks at the disk until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(w.cfg.Every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := w.look()
		if err != nil && !failing {
			w.cfg.Logger.Error("watch disk", "error", err)
		}
		failing = err != nil
	}
}

// Full reports whether free space was below the low watermark.
func (w *Watch) Full() bool { return w.Stats().Full }

// Exhausted reports whether there was no room at all, not even that of the ballast.
func (w *Watch) Exhausted() bool { return w.Stats().Exhausted }

// Check returns ErrFull when free space was below the low watermark.
func (w *Watch) Check() error {
	if w.Full() {
		return ErrFull
	}
	return nil
}

// Stats returns what was seen last.
func (w *Watch) Stats() Stats {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.stats
}

// look measures, and gives the ballast back or makes it again.
func (w *Watch) look() error {
	size, free, err := usage(w.cfg.Dir)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.stats
	s := &w.stats
	s.Size, s.Free, s.Low = size, free, w.cfg.Low
	switch decide(*s, w.cfg.Ballast) {
	case release:
		w.cfg.Logger.Error("disk is nearly full: its reserve is given to the state engine", "free", free)
		if err := w.giveBack(); err != nil {
			return err
		}
	case restore:
		w.restore()
	}
	s.Full, s.Exhausted = full(*s, w.cfg.Ballast), s.Ballast == 0 && s.Free < exhausted
	if s.Full != before.Full {
		if s.Full {
			w.cfg.Logger.Warn("disk is full: new code, log events and events are refused until there is room", "free", free, "low", w.cfg.Low, "dir", w.cfg.Dir)
		} else {
			w.cfg.Logger.Info("disk has room again", "free", free)
		}
	}
	return nil
}

type action int

const (
	nothing action = iota
	release        // the ballast
	restore        // it
)

// decide is what to do about the ballast.
func decide(s Stats, ballast int64) action {
	switch {
	case s.Ballast > 0 && s.Free < critical(s.Low):
		return release
	case s.Ballast == 0 && ballast > 0 && !full(s, ballast):
		return restore
	}
	return nothing
}

// critical is the free space below which the engine's next write in one piece might fail.
func critical(low int64) int64 { return min(engineSegment+engineSegment/2, low/2) }

// exhausted is the free space below which not even small writes are tried.
const exhausted = 4 << 20

// full reports whether free space, without what the ballast is to take again, is below the low
// watermark.
func full(s Stats, ballast int64) bool {
	if s.Ballast == 0 {
		s.Free -= ballast
	}
	return s.Free < s.Low
}

// giveBack removes the ballast. It is called with mu held, or before others know w.
func (w *Watch) giveBack() error {
	if err := os.Remove(w.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give back the disk's reserve: %w", err)
	}
	w.stats.Ballast = 0
	return nil
}

// restore makes the ballast. A file system that cannot reserve room goes without: the watermark
// still holds. It is called with mu held.
func (w *Watch) restore() {
	err := reserve(w.path, w.cfg.Ballast)
	if err == nil {
		w.stats.Ballast = w.cfg.Ballast
		w.stats.Free -= w.cfg.Ballast
		return
	}
	_ = os.Remove(w.path) // what there is of it is no reserve
	if !w.noted {
		w.cfg.Logger.Warn("disk has no reserve for the state engine", "error", err)
	}
	w.noted = true
}

// reserve makes a file whose blocks are taken.
func reserve(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		return fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	return f.Sync()
}

// allocated is how many bytes a file takes on the disk.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// usage is the size of a file system and what is free of it to anybody but root.
func usage(dir string) (size, free int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	return int64(s.Blocks) * s.Bsize, int64(s.Bavail) * s.Bsize, nil
}
