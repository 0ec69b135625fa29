package segment

import (
	"bytes"
	"os"
	"syscall"
)

// Frame is a record as it stands in a file.
func Frame(rec []byte) []byte { return appendFrame(nil, rec) }

// ReadFrame reads the first record of data.
func ReadFrame(data []byte) ([]byte, error) {
	return readFrame(bytes.NewReader(data), int64(len(data)), nil)
}

// Magic is what every file begins with.
const Magic = magic

// BreakSync makes fsyncs fail.
func (l *Log) BreakSync() { l.fsync = func(*os.File) error { return syscall.EIO } }

// Dirty tells whether something waits for its fsync.
func (l *Log) Dirty() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dirty
}

// SetFsync replaces what brings a file to the disk.
func (l *Log) SetFsync(fsync func(*os.File) error) { l.fsync = fsync }

// BreakWrite makes writes to the last file fail until mend is called.
func (l *Log) BreakWrite() (mend func(), err error) {
	last := l.last()
	broken, err := os.Open(last.f.Name()) // not for writing
	if err != nil {
		return nil, err
	}
	swap := func() {
		l.spill.Lock()
		defer l.spill.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		last.f, broken = broken, last.f
	}
	swap()
	return func() { swap(); broken.Close() }, nil
}

// WriteOut writes what is staged.
func (l *Log) WriteOut() error { return l.writeOut() }

// StageHalf is what one half of a stage holds by default.
const StageHalf = 1<<20 - halfHead
