// Package logstore keeps log events: groups, their streams, and what is written to them.
//
// Groups are rows of the region's state. Streams and events are records of one append-only log
// on this machine (package segment): every execution environment makes a stream, so there are too
// many for the state engine. An index in memory says which records hold a stream's events; Open
// builds it anew from the records.
//
// What Append and Put have answered for survives kill -9 at once and a power cut within 50 ms.
// Readers see events in the order of their time, those of one millisecond in the order they were
// written; what a group's retention has expired is never shown. Space is given back by rewriting
// segments of which less than half is still wanted. A budget of disk space holds by dropping the
// oldest segments, with their events, as new ones begin.
//
// A Store is safe for concurrent use. Appends are written one after the other; readers do not
// hold them up.
package logstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/segment"
)

var (
	// ErrGroupNotFound is returned for a group that does not exist.
	ErrGroupNotFound = errors.New("log group not found")
	// ErrGroupExists is returned by CreateGroup.
	ErrGroupExists = errors.New("log group exists")
	// ErrGroupProtected is returned by DeleteGroup for a group with deletion protection.
	ErrGroupProtected = errors.New("log group is protected from deletion")
	// ErrStreamNotFound is returned for a stream that does not exist.
	ErrStreamNotFound = errors.New("log stream not found")
	// ErrStreamExists is returned by CreateStream.
	ErrStreamExists = errors.New("log stream exists")
	// ErrTooManyTags is returned when a group would have more than MaxTags.
	ErrTooManyTags = errors.New("too many tags")
	// ErrFull is returned for what would take disk space when too little is left.
	ErrFull = errors.New("disk is full")
)

// MaxTags is how many tags a group can have.
const MaxTags = 50

// Config is what Open needs.
type Config struct {
	KV     *kv.Store
	Dir    string
	Stage  string // see segment.Config
	Logger *slog.Logger
	Now    func() time.Time // default time.Now

	SegmentBytes int64         // size of a segment; default 64 MiB
	MaxBytes     int64         // disk budget: beyond it the oldest events go; default none
	Full         func() bool   // whether the disk takes no more log events; nil means never
	SweepEvery   time.Duration // how often expired events are looked for; default 1 minute
}

// stageBytes takes what functions that print as fast as they may print while a disk that is busy takes
// a second for an fsync.
const stageBytes = 8 << 20

// Store is the log events of a region.
type Store struct {
	cfg    Config
	log    *segment.Log
	groups *kv.Table[groupRow]

	writes  sync.Mutex // orders records: held while one is written and indexed; taken before mu
	seq     uint64     // of the last event or stream that was written
	segment uint64     // that was written to
	warned  time.Time  // when the log last said that events are lost to the budget
	buf     []byte

	sweeps   sync.Mutex  // one sweep, trim or Hold at a time; taken before writes
	grown    atomic.Bool // a segment was begun since the budget was looked at
	dropped  atomic.Int64
	trimmed  atomic.Int64
	dropping atomic.Bool // Offer's last events were dropped

	mu      sync.RWMutex // guards what follows
	streams map[streamKey]*stream
	byGroup map[groupKey]map[string]*stream
	tombs   map[uint64]uint64 // deleted streams by id, with the segment that says so
}

// Open opens or makes the store in cfg.Dir.
func Open(_ context.Context, cfg Config) (*Store, error) {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.SegmentBytes = cmp.Or(cfg.SegmentBytes, 64<<20)
	if cfg.MaxBytes > 0 { // a budget needs some segments, of which one can go
		cfg.SegmentBytes = min(cfg.SegmentBytes, max(cfg.MaxBytes/8, 1<<10))
	}
	cfg.SweepEvery = cmp.Or(cfg.SweepEvery, time.Minute)
	s := &Store{
		cfg:     cfg,
		streams: map[streamKey]*stream{}, byGroup: map[groupKey]map[string]*stream{}, tombs: map[uint64]uint64{},
	}
	log, err := segment.Open(segment.Config{Dir: cfg.Dir, Stage: cfg.Stage, StageBytes: stageBytes, MaxBytes: cfg.SegmentBytes, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	s.log = log
	s.groups = kv.NewTable[groupRow](cfg.KV, "loggroup")
	s.groups.OnChange(s.groupChanged)
	if err := s.recover(); err != nil {
		log.Close()
		return nil, fmt.Errorf("open log store: %w", err)
	}
	return s, nil
}

// Run fsyncs what is appended and gives back the space of what is not wanted any more, until ctx
// ends.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.log.Run(ctx) })
	g.Go(func() error {
		tick := time.NewTicker(s.cfg.SweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Logger.Warn("space of log events is not given back", "error", err)
			}
		}
	})
	return g.Wait()
}

// Sync returns when everything that was appended before is on disk.
func (s *Store) Sync() error { return s.log.Sync() }

// Close fsyncs and closes the files. It may be called more than once.
func (s *Store) Close() error { return s.log.Close() }
