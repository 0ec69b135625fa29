package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A stage holds records between Append and the write to their file, in a file of a memory file
// system: it survives kill -9 of the process as the kernel's own cache does, and nothing that a disk
// or its file system waits for keeps an Append. A power cut takes it, as it takes all that is not
// fsynced.
//
// It has two halves: appends fill one while the other is written out. A half is a head and frames as they
// stand in the segment. Its length is stored after the frames are, so that whatever instant the
// process ends at, what the length covers is whole; it is zero again once the file has them all. Log.mu
// guards what follows but for the bytes of the half that is written out.
type stage struct {
	path   string
	mem    []byte
	halves [2]half
	active int // appends go there
}

// half is the length, the segment and the offset there, each 64 bits; then the frames.
type half []byte

const halfHead = 24

// openStage makes or takes up a stage of two halves of n bytes. All of its memory is taken here: later
// there might be none.
func openStage(path string, n int) (_ *stage, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open stage: %w", err)
	}
	defer f.Close() // the mapping needs no descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open stage: %w", err)
	}
	switch old := int(info.Size()); {
	case old > 0 && old%(2*os.Getpagesize()) == 0:
		n = old / 2 // another version may have made it, and it may hold something
	case old > 0:
		return nil, fmt.Errorf("open stage %s: %d bytes are no stage", path, old)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(n)*2); err != nil {
		return nil, fmt.Errorf("allocate stage: %w", err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, n*2, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map stage: %w", err)
	}
	return &stage{path: path, mem: mem, halves: [2]half{mem[:n:n], mem[n:]}}, nil
}

// close gives the memory back. What could not be written waits for the next openStage.
func (s *stage) close() error {
	if !s.empty() {
		return unix.Munmap(s.mem)
	}
	return errors.Join(unix.Munmap(s.mem), os.Remove(s.path))
}

// add puts frames at an offset of a segment, or says that there is no room. A half is of one segment.
func (s *stage) add(segment uint64, at int64, frames []byte) bool {
	h := s.halves[s.active]
	n := h.length()
	if n > 0 && h.segment() != segment {
		if !s.free() {
			return false
		}
		s.active = 1 - s.active
		h, n = s.halves[s.active], 0
	}
	if n+len(frames) > len(h)-halfHead {
		return false
	}
	if n == 0 {
		binary.LittleEndian.PutUint64(h[8:], segment)
		binary.LittleEndian.PutUint64(h[16:], uint64(at))
	}
	copy(h[halfHead+n:], frames)
	h.setLength(n + len(frames))
	return true
}

// turn returns the half to write out next, nil if both are empty. Appends go on in the other one.
func (s *stage) turn() half {
	if other := s.halves[1-s.active]; other.length() > 0 {
		return other // could not be written before
	}
	h := s.halves[s.active]
	if h.length() == 0 {
		return nil
	}
	s.active = 1 - s.active
	return h
}

func (h half) length() int        { return int(h.word().Load()) }
func (h half) setLength(n int)    { h.word().Store(uint64(n)) }
func (h half) segment() uint64    { return binary.LittleEndian.Uint64(h[8:]) }
func (h half) offset() int64      { return int64(binary.LittleEndian.Uint64(h[16:])) }
func (h half) position() Position { return Position{h.segment(), h.offset()} }
func (h half) end() int64         { return h.offset() + int64(h.length()) }
func (h half) frames() []byte     { return h[halfHead : halfHead+h.length()] }

// word is the length as it has to be stored: behind everything that it covers. A mapping begins at a
// page and its halves are whole pages, so it is aligned.
func (h half) word() *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&h[0])) }

// empty says that all is in the file; so it is without a stage.
func (s *stage) empty() bool {
	return s == nil || s.halves[0].length() == 0 && s.halves[1].length() == 0
}

// free says that one half is empty, so that another segment can have it.
func (s *stage) free() bool { return s.halves[1-s.active].length() == 0 }

// put appends frames to the last file: by way of the stage, unless they do not fit into an empty one.
func (l *Log) put(last *file, frames []byte) (at int64, err error) {
	if l.stage != nil {
		at := last.size.Load()
		if l.stage.add(last.id, at, frames) {
			last.grow(len(frames))
			return at, nil
		}
		if !l.stage.empty() {
			return 0, errNoRoom
		}
	}
	return last.write(frames)
}

// appendWritten is append when all that was appended before is in the file.
func (l *Log) appendWritten(recs [][]byte) ([]Position, error) {
	l.spill.Lock()
	defer l.spill.Unlock()
	if err := l.writeHalf(l.turn()); err != nil { // most of it, with mu free
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.stage.empty() {
		if err := l.writeHalf(l.turnLocked()); err != nil {
			return nil, err
		}
	}
	return l.appendLocked(recs)
}

// writeOut writes to the file what has been appended so far.
func (l *Log) writeOut() error {
	l.spill.Lock()
	defer l.spill.Unlock()
	for range 2 { // what a failure left, and what has come since
		if err := l.writeHalf(l.turn()); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) turn() (half, *file) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turnLocked()
}

// turnLocked is a half to write out and the file that it is of.
func (l *Log) turnLocked() (half, *file) {
	if l.stage == nil || l.closed {
		return nil, nil
	}
	h := l.stage.turn()
	if h == nil {
		return nil, nil
	}
	f, _ := l.fileLocked(h.segment())
	return h, f
}

// writeHalf writes a half to its file; that of a segment that was dropped is forgotten. It is called
// with spill held.
func (l *Log) writeHalf(h half, f *file) error {
	if h == nil {
		return nil
	}
	if f == nil {
		h.setLength(0)
		return nil
	}
	if err := h.write(f); err != nil {
		return err
	}
	f.written.Store(h.end())
	h.setLength(0)
	return nil
}

func (h half) write(f *file) error {
	if _, err := f.f.WriteAt(h.frames(), h.offset()); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// takeUp writes to the files what a process that was killed left in the stage. What does not go on
// where they end is of a log that was there before, such as that of a state directory that was put back.
func (l *Log) takeUp() error {
	if l.stage == nil {
		return nil
	}
	left := l.stage.halves
	slices.SortFunc(left[:], func(a, b half) int { return a.position().Compare(b.position()) })
	for _, h := range left {
		if h.length() == 0 {
			continue
		}
		f, _ := l.file(h.segment())
		if fits, err := h.fits(f); err != nil {
			return err
		} else if !fits {
			l.cfg.Logger.Warn("dropped staged records of another log", "stage", l.cfg.Stage, "segment", h.segment(), "offset", h.offset())
			h.setLength(0)
			continue
		}
		if err := h.write(f); err != nil {
			return err
		}
		f.resize(max(f.size.Load(), h.end()))
		h.setLength(0)
		l.markDirty()
	}
	return nil
}

// fits says whether the half goes on where f ends, part of it perhaps being there already.
func (h half) fits(f *file) (bool, error) {
	if n := h.length(); n < 0 || n > len(h)-halfHead || f == nil || f.finished || h.offset() < headerSize || h.offset() > f.size.Load() {
		return false, nil
	}
	there := make([]byte, min(int64(h.length()), f.size.Load()-h.offset()))
	if _, err := f.f.ReadAt(there, h.offset()); err != nil {
		return false, err
	}
	return bytes.Equal(there, h.frames()[:len(there)]), nil
}
