package segment

import (
	"bytes"
	"os"
)

// Frame is a record as it stands in a file.
func Frame(rec []byte) []byte { return appendFrame(nil, rec) }

// ReadFrame reads the first record of data.
func ReadFrame(data []byte) ([]byte, error) {
	return readFrame(bytes.NewReader(data), int64(len(data)), nil)
}

// Magic is what every file begins with.
const Magic = magic

// BreakSync makes the next fsync fail.
func (l *Log) BreakSync() error {
	r, w, err := os.Pipe() // a pipe cannot be fsynced
	if err != nil {
		return err
	}
	w.Close()
	last := l.files[len(l.files)-1]
	last.f.Close()
	last.f = r
	return nil
}

// Dirty tells whether something waits for its fsync.
func (l *Log) Dirty() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dirty
}

// SetFsync replaces what brings a file to the disk.
func (l *Log) SetFsync(fsync func(*os.File) error) { l.fsync = fsync }
