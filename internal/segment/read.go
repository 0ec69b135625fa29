package segment

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Read returns the record at pos.
func (l *Log) Read(pos Position) ([]byte, error) {
	f, ok := l.file(pos.Segment)
	if !ok {
		return nil, fmt.Errorf("read %d/%d: %w", pos.Segment, pos.Offset, ErrNotFound)
	}
	if err := f.acquire(); err != nil {
		return nil, fmt.Errorf("read %d/%d: %w", pos.Segment, pos.Offset, err)
	}
	defer f.release()
	end, err := l.settled(f, pos.Offset)
	if err != nil {
		return nil, fmt.Errorf("read %d/%d: %w", pos.Segment, pos.Offset, err)
	}
	if pos.Offset >= end && pos.Offset < f.size.Load() { // dropped before it was written
		return nil, fmt.Errorf("read %d/%d: %w", pos.Segment, pos.Offset, ErrNotFound)
	}
	if pos.Offset < headerSize || pos.Offset >= end {
		return nil, fmt.Errorf("read %d/%d: %w", pos.Segment, pos.Offset, ErrCorrupt)
	}
	rec, err := readFrame(io.NewSectionReader(f.f, pos.Offset, end-pos.Offset), end-pos.Offset, nil)
	if err != nil {
		return nil, fmt.Errorf("read %d/%d: %w", pos.Segment, pos.Offset, damaged(err))
	}
	return rec, nil
}

// Scan calls fn for every record from a position on, in order, up to what is appended when the
// scan gets there. The bytes are valid only until fn returns. Scan ends with fn's error, with
// ErrCorrupt at the first damaged record, or with nil. A segment that is dropped meanwhile is
// passed over. from must be the zero Position, a position of a record, or the end of one.
func (l *Log) Scan(from Position, fn func(Position, []byte) error) error {
	for id := from.Segment; ; id++ {
		f, ok := l.next(id)
		if !ok {
			return nil
		}
		at := headerSize
		if f.id == from.Segment {
			at = max(at, from.Offset)
		}
		if err := f.acquire(); errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		err := l.scan(f, at, fn)
		f.release()
		if err != nil {
			return err
		}
		id = f.id
	}
}

// settled is the end of what can be read from f. What is staged is written first if that is needed to
// read at an offset.
func (l *Log) settled(f *file, at int64) (end int64, err error) {
	if end := f.written.Load(); at < end || at >= f.size.Load() {
		return end, nil
	}
	if err := l.writeOut(); err != nil {
		return 0, err
	}
	return f.written.Load(), nil
}

// scan reads one file from an offset to its end.
func (l *Log) scan(f *file, at int64, fn func(Position, []byte) error) error {
	var buf []byte
	for {
		end, err := l.settled(f, at)
		if err != nil {
			return fmt.Errorf("scan %d/%d: %w", f.id, at, err)
		}
		if at >= end {
			return nil
		}
		r := bufio.NewReaderSize(io.NewSectionReader(f.f, at, end-at), 64<<10)
		for at < end {
			rec, err := readFrame(r, end-at, buf)
			if err != nil {
				return fmt.Errorf("scan %d/%d: %w", f.id, at, damaged(err))
			}
			if err := fn(Position{Segment: f.id, Offset: at}, rec); err != nil {
				return err
			}
			at += frameSize(len(rec))
			buf = rec
		}
	}
}

// damaged tells a record that is not there from a disk that cannot be read.
func damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCorrupt
	}
	return err
}

func (l *Log) file(id uint64) (*file, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.fileLocked(id)
}

// fileLocked is the file with an id, nil if there is none.
func (l *Log) fileLocked(id uint64) (*file, bool) {
	if f, ok := l.nextLocked(id); ok && f.id == id {
		return f, true
	}
	return nil, false
}

// next is the first file with an id from id on.
func (l *Log) next(id uint64) (*file, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.nextLocked(id)
}

func (l *Log) nextLocked(id uint64) (*file, bool) {
	i, _ := slices.BinarySearchFunc(l.files, id, func(f *file, id uint64) int {
		return Position{Segment: f.id}.Compare(Position{Segment: id})
	})
	if i == len(l.files) {
		return nil, false
	}
	return l.files[i], true
}
