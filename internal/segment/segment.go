// Package segment keeps append-only logs of records in files of bounded size.
//
// A record that Append has answered for survives kill -9 of the process: it is with the kernel, in
// the file or, where there is a [Config.Stage], in memory that the next Open finds. It is written and
// fsynced, together with its neighbours, within SyncEvery by Run, or at once by Sync, and from then
// on survives a power cut. Every record carries its length and a CRC-32C over both, so
// what a cut left of the last file is recognised and dropped by Open; damage anywhere else is an
// error of the read that meets it.
//
// Records are found by Position, which the owner keeps in an index of its own. A Log is safe for
// concurrent use; readers do not block writers.
package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound is returned for a position in a segment that does not exist (any more).
	ErrNotFound = errors.New("segment not found")
	// ErrCorrupt is returned for a position at which there is no whole record.
	ErrCorrupt = errors.New("record is damaged")
	// ErrTooLarge is returned for a record above MaxRecord.
	ErrTooLarge = errors.New("record too large")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("log is closed")
)

// Config is what Open needs; zero fields have defaults.
type Config struct {
	Dir       string
	MaxBytes  int64         // size at which a segment is finished and the next begun; default 64 MiB
	SyncEvery time.Duration // how long a record may wait for its fsync; default 50 ms
	// Stage is a file of a memory file system, which Append writes to in place of the disk: not even a
	// write to the kernel's cache is always quick, since it may wait for dirty pages of others or for
	// the file system's journal. Empty, or where that cannot be used, Append writes to the disk.
	Stage      string
	StageBytes int // of memory that it takes, in two halves of whole pages; default 2 MiB
	Logger     *slog.Logger
}

// Position is where a record is. Positions of one log are ordered as their records are; the zero
// Position is before all.
type Position struct {
	Segment uint64
	Offset  int64
}

// Compare orders positions.
func (p Position) Compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Segment, o.Segment), cmp.Compare(p.Offset, o.Offset))
}

// After is the end of the record at p that is n bytes long: where Scan goes on behind it.
func (p Position) After(n int) Position { return Position{p.Segment, p.Offset + frameSize(n)} }

// SegmentInfo describes one file of a log.
type SegmentInfo struct {
	ID       uint64
	Bytes    int64
	Modified time.Time // of its last record, to the file system's precision
}

// Log is an append-only log.
type Log struct {
	cfg   Config
	wake  chan struct{} // tells Run that there is something to fsync
	syncs sync.Mutex    // one fsync at a time: the next one covers all who wait
	drops sync.Mutex    // one Drop at a time; before spill
	spill sync.Mutex    // one write of the stage at a time; before mu

	making sync.Mutex // guards ahead; after mu, and not held when that is asked for
	ahead  *file      // made to follow the last one; nil if there is none

	count atomic.Uint64 // of fsyncs
	took  atomic.Int64  // of all of them, nanoseconds

	fsync func(*os.File) error // (*os.File).Sync; tests slow it down

	mu     sync.RWMutex // guards what follows
	files  []*file      // oldest first; the last one is written to
	old    *file        // the one before it until it is fsynced, nil then; see rotate
	stage  *stage       // nil if there is none
	dirty  bool         // something was appended since the last fsync began
	failed error        // of an fsync; the log takes nothing more
	closed bool
	buf    []byte // of the append in progress
}

const suffix = ".seg"

// Open opens or makes the log in cfg.Dir, and cuts off what a crash left of the last record.
func Open(cfg Config) (*Log, error) {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 64<<20)
	cfg.StageBytes = cmp.Or(cfg.StageBytes, 2<<20)
	cfg.SyncEvery = cmp.Or(cfg.SyncEvery, 50*time.Millisecond)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	l := &Log{cfg: cfg, wake: make(chan struct{}, 1), fsync: (*os.File).Sync}
	if err := l.load(); err != nil {
		for _, f := range l.files {
			f.close()
		}
		if l.stage != nil {
			err = errors.Join(err, unix.Munmap(l.stage.mem)) // what is in it stays for the next Open
		}
		return nil, fmt.Errorf("open log %s: %w", cfg.Dir, err)
	}
	return l, nil
}

func (l *Log) load() error {
	if err := os.MkdirAll(l.cfg.Dir, 0o700); err != nil {
		return err
	}
	ids, err := l.ids()
	if err != nil {
		return err
	}
	if l.cfg.Stage != "" {
		if l.stage, err = openStage(l.cfg.Stage, l.cfg.StageBytes/2); err != nil {
			l.cfg.Logger.Warn("records are written to the disk one by one", "error", err)
		}
	}
	for _, id := range ids {
		f, err := openFile(l.path(id), id)
		if err != nil {
			return err
		}
		l.files = append(l.files, f)
	}
	if err := l.takeUp(); err != nil {
		return err
	}
	for _, f := range l.files[max(0, len(l.files)-2):] { // those before are finished; see rotate
		if f.finished {
			continue
		}
		lost, err := f.recover()
		if err != nil {
			return err
		}
		if lost > 0 {
			l.cfg.Logger.Warn("dropped a torn record", "file", l.path(f.id), "bytes", lost)
		}
	}
	if err := l.unmake(); err != nil {
		return err
	}
	n := len(l.files)
	if n == 0 || l.files[n-1].finished {
		return l.follow()
	}
	if n > 1 && !l.files[n-2].finished {
		l.old = l.files[n-2]
		l.markDirty()
	}
	return nil
}

// ids lists the segments of the folder in order.
func (l *Log) ids() ([]uint64, error) {
	entries, err := os.ReadDir(l.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		id, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || id == 0 {
			return nil, fmt.Errorf("%s: unexpected name", e.Name())
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

func (l *Log) path(id uint64) string {
	return filepath.Join(l.cfg.Dir, fmt.Sprintf("%016d%s", id, suffix))
}

// Append writes one record and returns where it is.
func (l *Log) Append(rec []byte) (Position, error) {
	pos, err := l.AppendAll([][]byte{rec})
	if err != nil {
		return Position{}, err
	}
	return pos[0], nil
}

// AppendAll writes records next to each other, with one write, into one segment. Either all of
// them are in the log afterwards or none. It may not be called with more than a gigabyte.
func (l *Log) AppendAll(recs [][]byte) ([]Position, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	for _, rec := range recs {
		if len(rec) > MaxRecord {
			return nil, fmt.Errorf("append %d bytes: %w", len(rec), ErrTooLarge)
		}
	}
	out, err := l.append(recs)
	if errors.Is(err, errNoRoom) {
		out, err = l.appendWritten(recs)
	}
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	return out, nil
}

// errNoRoom says that the stage has to be written out first.
var errNoRoom = errors.New("no room in the stage")

func (l *Log) append(recs [][]byte) ([]Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appendLocked(recs)
}

func (l *Log) appendLocked(recs [][]byte) ([]Position, error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	last := l.files[len(l.files)-1]
	l.buf = l.buf[:0]
	out := make([]Position, len(recs))
	for i, rec := range recs {
		out[i].Offset = int64(len(l.buf))
		l.buf = appendFrame(l.buf, rec)
	}
	if size := last.size.Load(); size > headerSize && size+int64(len(l.buf)) > l.cfg.MaxBytes {
		if err := l.rotate(); err != nil {
			return nil, err
		}
		last = l.files[len(l.files)-1]
	}
	at, err := l.put(last, l.buf)
	if err != nil {
		return nil, err
	}
	if cap(l.buf) > 1<<20 {
		l.buf = nil // one big record is no reason to keep its size for ever
	}
	l.markDirty()
	for i := range out {
		out[i] = Position{Segment: last.id, Offset: at + out[i].Offset}
	}
	return out, nil
}

// usable tells whether the log can be changed.
func (l *Log) usable() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

func (l *Log) markDirty() {
	l.dirty = true
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Sync returns when every record that was appended before is on disk. Callers share fsyncs. A disk
// without room is an error that passes; that of an fsync stays.
func (l *Log) Sync() error {
	l.syncs.Lock()
	defer l.syncs.Unlock()
	l.mu.Lock()
	if !l.dirty || l.failed != nil {
		defer l.mu.Unlock()
		return l.failed
	}
	l.dirty = false
	last, old := l.files[len(l.files)-1], l.old
	l.mu.Unlock()
	if err := l.writeOut(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.dirty = true
		return err
	}
	began := time.Now()
	err := cmp.Or(l.finishOld(old), l.fsync(last.f))
	l.took.Add(int64(time.Since(began)))
	l.count.Add(1)
	if err != nil {
		if errors.Is(err, os.ErrClosed) {
			return nil // dropped or closed meanwhile, which fsyncs
		}
		// The kernel may have thrown the pages away, and says so only once: the log must not
		// go on as if they were there.
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed = fmt.Errorf("fsync log: %w", err)
		return l.failed
	}
	return nil
}

// Stats counts the fsyncs of Sync, and how long they took together.
type Stats struct {
	Syncs uint64
	Took  time.Duration
}

// Stats counts.
func (l *Log) Stats() Stats {
	return Stats{Syncs: l.count.Load(), Took: time.Duration(l.took.Load())}
}

// Run writes and fsyncs what is appended, at most SyncEvery after it was, until ctx ends. It ends
// with the error of an fsync that fails; the log takes no more records then.
func (l *Log) Run(ctx context.Context) error {
	waiting := false // has been said
	for {
		l.last().allocate(l.cfg.MaxBytes)
		select {
		case <-ctx.Done():
			return l.Sync()
		case <-l.wake:
		}
		// Half of the time is for others to join, the other half for the fsync itself.
		pause := time.NewTimer(l.cfg.SyncEvery / 2)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		if err := l.Sync(); err != nil {
			if l.broken() != nil {
				return err
			}
			if !waiting {
				l.cfg.Logger.Warn("records wait in memory for the disk", "log", l.cfg.Dir, "error", err)
			}
			waiting = true
			l.again(ctx)
			continue
		}
		waiting = false
		if err := l.prepare(); err != nil { // who needs it makes it, and says so
			l.cfg.Logger.Debug("no segment is made ahead", "log", l.cfg.Dir, "error", err)
		}
	}
}

// broken is why the log takes no more records.
func (l *Log) broken() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.failed
}

// again lets Run try once more in a second.
func (l *Log) again(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// last is the segment that is written to.
func (l *Log) last() *file {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.files[len(l.files)-1]
}

// Segments lists the files, oldest first. The last one is being written to.
func (l *Log) Segments() []SegmentInfo {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]SegmentInfo, 0, len(l.files))
	for _, f := range l.files {
		out = append(out, SegmentInfo{ID: f.id, Bytes: f.size.Load(), Modified: time.Unix(0, f.modified.Load())})
	}
	return out
}

// Drop removes a segment with its records. Dropping the one that is written to begins a new one
// first. A read in progress finishes; later ones get ErrNotFound.
func (l *Log) Drop(segment uint64) error {
	l.drops.Lock()
	defer l.drops.Unlock()
	if err := l.leave(segment); err != nil {
		return fmt.Errorf("drop segment %d: %w", segment, err)
	}
	if err := os.Remove(l.path(segment)); err != nil {
		return fmt.Errorf("drop segment %d: %w", segment, err)
	}
	l.forget(segment)
	if err := syncDir(l.cfg.Dir); err != nil {
		return fmt.Errorf("drop segment %d: %w", segment, err)
	}
	return nil
}

// leave sees to it that a segment is there and not written to.
func (l *Log) leave(segment uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	i := slices.IndexFunc(l.files, func(f *file) bool { return f.id == segment })
	switch {
	case i < 0:
		return ErrNotFound
	case i == len(l.files)-1:
		return l.follow()
	}
	return nil
}

// forget closes a segment whose file was removed.
func (l *Log) forget(segment uint64) {
	l.spill.Lock() // it is not being written out
	defer l.spill.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = slices.DeleteFunc(l.files, func(f *file) bool {
		if f.id == segment {
			f.close()
		}
		return f.id == segment
	})
	if l.old != nil && l.old.id == segment {
		l.old = nil
	}
}

// Close fsyncs and closes the files. It may be called more than once.
func (l *Log) Close() error {
	err := l.Sync()
	l.spill.Lock()
	defer l.spill.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for _, f := range l.files {
		f.close()
	}
	l.making.Lock()
	defer l.making.Unlock()
	if l.ahead != nil {
		l.ahead.close()
		err = errors.Join(err, os.Remove(l.path(l.ahead.id)))
	}
	if l.stage != nil {
		err = errors.Join(err, l.stage.close())
	}
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
