package segment

import (
	"errors"
	"fmt"
	"os"
)

// make makes a segment, durably.
func (l *Log) make(id uint64) (*file, error) {
	f, err := createFile(l.path(id), id)
	if err != nil {
		return nil, err
	}
	if err := syncDir(l.cfg.Dir); err != nil {
		f.close()
		return nil, err
	}
	f.allocate(l.cfg.MaxBytes)
	return f, nil
}

// follow begins the segment after the last one.
func (l *Log) follow() error {
	id := uint64(1)
	if n := len(l.files); n > 0 {
		id = l.files[n-1].id + 1
	}
	if err := l.makeAhead(id); err != nil {
		return err
	}
	l.making.Lock()
	defer l.making.Unlock()
	l.files, l.ahead = append(l.files, l.ahead), nil
	return nil
}

// makeAhead makes the segment that is to follow, unless that has been done.
func (l *Log) makeAhead(id uint64) (err error) {
	l.making.Lock()
	defer l.making.Unlock()
	if l.ahead == nil {
		l.ahead, err = l.make(id)
	}
	return err
}

// prepare makes the next segment when the last one is half full. It fails when follow has made it just
// now.
func (l *Log) prepare() error {
	last := l.last()
	if l.stage == nil || last.size.Load() < l.cfg.MaxBytes/2 {
		return nil
	}
	return l.makeAhead(last.id + 1)
}

// prepared says whether follow would wait for no disk.
func (l *Log) prepared() bool {
	if !l.making.TryLock() {
		return false
	}
	defer l.making.Unlock()
	return l.ahead != nil
}

// unmake removes a last segment that a process which was killed had made ahead.
func (l *Log) unmake() error {
	n := len(l.files) - 1
	if n < 1 || l.files[n].size.Load() > headerSize || l.files[n-1].finished {
		return nil
	}
	l.files[n].close()
	err := os.Remove(l.path(l.files[n].id))
	l.files = l.files[:n]
	return err
}

// rotate has the next segment follow the last one. Where there is a stage that waits for no disk: the
// next one was made ahead, and Sync finishes the old one. Two at a time are not fsynced at most, so only
// the last two files can be torn.
func (l *Log) rotate() error {
	last := l.files[len(l.files)-1]
	if l.stage != nil && l.stage.free() && l.old == nil && l.prepared() {
		l.old = last
		return l.follow()
	}
	if !l.stage.empty() {
		return errNoRoom
	}
	// First what may fail for want of room: a finished segment must not be written to any more.
	if err := l.makeAhead(last.id + 1); err != nil {
		return err
	}
	for _, f := range []*file{l.old, last} {
		if f == nil {
			continue
		}
		if err := l.finish(f); err != nil {
			l.failed = fmt.Errorf("finish segment %d: %w", f.id, err)
			return l.failed
		}
	}
	l.old = nil
	return l.follow()
}

// finish brings a segment that takes no more records to the disk, and that it is finished: the next
// Open will not take damage in it for what a crash has left.
func (l *Log) finish(f *file) error {
	if err := f.trim(); err != nil {
		return err
	}
	if err := f.f.Chmod(finishedMode); err != nil {
		return err
	}
	return l.fsync(f.f)
}

// finishOld finishes the segment that rotate has left behind, all of which is written.
func (l *Log) finishOld(old *file) error {
	if old == nil {
		return nil
	}
	if err := l.finish(old); err != nil && !errors.Is(err, os.ErrClosed) { // dropped meanwhile
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.old == old {
		l.old = nil
	}
	return nil
}
