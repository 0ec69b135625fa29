package segment

import (
	"errors"
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

// follow begins the segment after the last one, and makes it unless that has been done ahead.
func (l *Log) follow() (err error) {
	l.making.Lock()
	defer l.making.Unlock()
	f := l.ahead
	if f == nil {
		id := uint64(1)
		if n := len(l.files); n > 0 {
			id = l.files[n-1].id + 1
		}
		if f, err = l.make(id); err != nil {
			return err
		}
	}
	l.files, l.ahead = append(l.files, f), nil
	return nil
}

// prepare makes the next segment when the last one is half full.
func (l *Log) prepare() (err error) {
	last := l.last()
	l.making.Lock()
	defer l.making.Unlock()
	if l.stage == nil || l.ahead != nil || last.size.Load() < l.cfg.MaxBytes/2 {
		return nil
	}
	l.ahead, err = l.make(last.id + 1) // fails when follow has made it just now
	return err
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
	if l.old != nil {
		if err := l.finish(l.old); err != nil {
			return err
		}
		l.old = nil
	}
	if err := l.finish(last); err != nil {
		return err
	}
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
