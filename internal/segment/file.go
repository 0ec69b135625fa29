package segment

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A file is a header and frames: length and CRC-32C, both 32 bits little-endian, and the record.
// The CRC covers the length too, so a run of zeros is no frame.
const (
	magic      = "lmbseg1\n"
	headerSize = int64(len(magic))
	frameHead  = 8

	// MaxRecord is the largest record.
	MaxRecord = 256 << 20
)

// finishedMode is the mode of a file that is not written to any more and on disk as a whole.
const finishedMode = 0o400

// Blocks are allocated ahead of what is written. Otherwise a write allocates them itself, which on
// ext4 waits for whatever fsync or write-back is doing to the same file: as long as a busy disk takes.
const (
	allocateAhead = 16 << 20
	allocateBelow = 4 << 20 // as soon as so much is left
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// file is one segment. What lies between written and size is in the stage. Both move after what they
// cover is whole.
type file struct {
	id       uint64
	f        *os.File
	finished bool // when it was opened
	size     atomic.Int64
	written  atomic.Int64
	blocks   atomic.Int64 // how far they are allocated, as far as we know
	modified atomic.Int64 // Unix nanoseconds

	mu      sync.Mutex // guards what follows
	readers int
	closed  bool // the last reader closes the file
}

func createFile(path string, id uint64) (*file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &file{id: id, f: f}
	_, err = s.write([]byte(magic))
	if err = cmp.Or(err, f.Sync()); err != nil {
		f.Close()
		os.Remove(path)
		return nil, fmt.Errorf("begin segment %d: %w", id, err)
	}
	return s, nil
}

func openFile(path string, id uint64) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	finished, flag := info.Mode().Perm() == finishedMode, os.O_RDWR
	if finished {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	s := &file{id: id, f: f, finished: finished}
	s.resize(info.Size())
	s.modified.Store(info.ModTime().UnixNano())
	return s, nil
}

// recover cuts the file after its last whole record and returns how many bytes that dropped. A
// file without a whole header, which a crash in createFile leaves, is begun anew.
func (f *file) recover() (lost int64, err error) {
	size := f.size.Load()
	var head [headerSize]byte
	if _, err := f.f.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return 0, err
	}
	if string(head[:]) != magic {
		if size > headerSize {
			return 0, fmt.Errorf("segment %d: %w: no header", f.id, ErrCorrupt)
		}
		f.resize(0)
		_, err := f.write([]byte(magic))
		return 0, err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f.f, headerSize, size), 256<<10)
	end := headerSize
	var buf []byte
	for end < size {
		rec, err := readFrame(r, size-end, buf)
		if errors.Is(damaged(err), ErrCorrupt) {
			break
		}
		if err != nil {
			return 0, err
		}
		end += frameSize(len(rec))
		buf = rec
	}
	if end == size {
		return 0, nil
	}
	f.resize(end)
	if err := f.f.Truncate(end); err != nil {
		return 0, err
	}
	return size - end, f.f.Sync()
}

// resize says that the file is so large.
func (f *file) resize(n int64) {
	f.written.Store(n)
	f.size.Store(n)
}

// grow says that n bytes more are in the stage.
func (f *file) grow(n int) {
	f.modified.Store(time.Now().UnixNano())
	f.size.Add(int64(n))
}

// write appends whole frames, all before them being written. What a failed write left is beyond size:
// nobody reads it, and the next write or the next Open replaces it.
func (f *file) write(frames []byte) (at int64, err error) {
	at = f.size.Load()
	if _, err := f.f.WriteAt(frames, at); err != nil {
		_ = f.trim()
		return 0, err
	}
	f.modified.Store(time.Now().UnixNano())
	f.resize(at + int64(len(frames)))
	return at, nil
}

// allocate sees to it that there are blocks ahead, up to limit. Without them all goes on, more slowly:
// on a disk that is full, or a file system that cannot do it.
func (f *file) allocate(limit int64) {
	size := f.size.Load()
	have := max(f.blocks.Load(), size)
	if have-size >= allocateBelow || have >= limit || f.acquire() != nil {
		return
	}
	defer f.release()
	n := min(allocateAhead, limit-have)
	switch err := unix.Fallocate(int(f.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, have, n); {
	case err == nil:
		f.blocks.Store(have + n)
	case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS):
		f.blocks.Store(limit)
	}
}

// trim gives back the blocks behind what is written.
func (f *file) trim() error {
	f.blocks.Store(0)
	return f.f.Truncate(f.written.Load())
}

// acquire keeps the file open for a reader until release.
func (f *file) acquire() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrNotFound
	}
	f.readers++
	return nil
}

func (f *file) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers--
	if f.closed && f.readers == 0 {
		f.f.Close()
	}
}

// close closes the file as soon as nobody reads it any more.
func (f *file) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed && f.readers == 0 {
		f.f.Close()
	}
	f.closed = true
}

func frameSize(n int) int64 { return int64(frameHead) + int64(n) }

func appendFrame(buf, rec []byte) []byte {
	var head [frameHead]byte
	binary.LittleEndian.PutUint32(head[:4], uint32(len(rec)))
	binary.LittleEndian.PutUint32(head[4:], checksum(head[:4], rec))
	return append(append(buf, head[:]...), rec...)
}

func checksum(length, rec []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, rec)
}

// readFrame reads the next record, into buf if it fits, from a reader with left bytes to its end.
// It returns io.EOF or io.ErrUnexpectedEOF when these are no whole frame, ErrCorrupt when they
// are a wrong one. It allocates no more than is there.
func readFrame(r io.Reader, left int64, buf []byte) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:4]))
	if n > MaxRecord || frameHead+n > left {
		return nil, ErrCorrupt
	}
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	rec := buf[:n]
	if _, err := io.ReadFull(r, rec); err != nil {
		return nil, err
	}
	if checksum(head[:4], rec) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, ErrCorrupt
	}
	return rec, nil
}
