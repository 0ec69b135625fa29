// Package segment keeps append-only logs of records in files of bounded size.
package segment

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

var errUnfinished = errors.New("unfinished")

// Config is what Open needs; zero fields have defaults.
type Config struct {
	Dir       string
	MaxBytes  int64         // size at which a segment is closed and the next begun; default 64 MiB
	SyncEvery time.Duration // how long a record may wait for its fsync; default 50 ms
	Logger    *slog.Logger
}

// Position is where a record is. Positions of one log are ordered as their records are.
type Position struct {
	Segment uint64
	Offset  int64
}

// SegmentInfo describes one file of a log.
type SegmentInfo struct {
	ID       uint64
	Bytes    int64
	Modified time.Time // of its last record, to the file system's precision
}

// Log is an append-only log.
type Log struct{}

// Open opens or makes the log.
func Open(cfg Config) (*Log, error) { return nil, errUnfinished }

// Append writes one record.
func (l *Log) Append(rec []byte) (Position, error) { return Position{}, errUnfinished }

// AppendAll writes records next to each other.
func (l *Log) AppendAll(recs [][]byte) ([]Position, error) { return nil, errUnfinished }

// Sync returns when every record appended before is on disk.
func (l *Log) Sync() error { return errUnfinished }

// Read returns the record at pos.
func (l *Log) Read(pos Position) ([]byte, error) { return nil, errUnfinished }

// Scan calls fn for every record from a position on.
func (l *Log) Scan(from Position, fn func(Position, []byte) error) error { return errUnfinished }

// Segments lists the files, oldest first.
func (l *Log) Segments() []SegmentInfo { return nil }

// Drop removes a segment.
func (l *Log) Drop(segment uint64) error { return errUnfinished }

// Run fsyncs what is appended.
func (l *Log) Run(ctx context.Context) error { return errUnfinished }

// Close fsyncs and closes the files.
func (l *Log) Close() error { return errUnfinished }
