// Package meter is the ledger of what ran: one record per invocation, and its sums by hour.
//
// Records are appended to segment files on this node. Begin writes that an invocation is in
// flight, End its result, before the answer leaves: both survive this process when they return, and are
// on disk within 50 ms. What had begun but not ended when the server died is ended by the next
// Open, as aborted and free. So every invocation has one record, at most the last 50 ms of them
// lost by a power cut.
//
// A background fold adds ended records to rows of the region's state, exactly once: the sums and
// the position up to which the log is folded move in one transaction. It reads ends only, each
// complete in itself, so an invocation that runs for long holds nothing up. A row holds a day of
// one function version, by hour; days become cells of a row per month later. That keeps the
// number of rows near functions x (14 + months), which is what the state engine is good for; a row
// per hour would be 24 times as many, and a row per month written anew with every fold 20 times
// as large.
//
// A segment is removed when all of it is folded, nothing that began in it is in flight, and its
// records are older than the retention or the files are beyond their budget.
//
// A write that fails loses no invocation, only its charge: End keeps the record in memory and the
// next fold writes it. The bill may be too low by what a full disk and a crash together take; it
// is never too high.
//
// A Ledger is safe for concurrent use.
package meter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/segment"
)

// ErrEnded is returned by End and Cancel for an entry that is not in flight.
var ErrEnded = errors.New("entry is not in flight")

// Config is what Open needs; zero fields have defaults.
type Config struct {
	KV     *kv.Store
	Dir    string
	Stage  string // see segment.Config
	Node   string // names the position in Dir among those of others: it goes where Dir goes
	Now    func() time.Time
	Logger *slog.Logger

	SegmentBytes int64         // size of a segment; default 16 MiB
	MaxBytes     int64         // budget of raw records; default 2 GiB
	Retention    time.Duration // how long raw records are kept; default 35 days
	FoldEvery    time.Duration // default 10 s
	MonthsAfter  time.Duration // age at which days are merged into months; default 14 days
}

// Entry is an invocation in flight.
type Entry struct{ begun segment.Position }

// maxLate is how many ends wait in memory for a disk that takes none.
const maxLate = 10_000

// Ledger is the records of a node and the sums of its region.
type Ledger struct {
	cfg       Config
	log       *segment.Log
	days      *kv.Table[dayRow]
	months    *kv.Table[monthRow]
	positions *kv.Table[position]
	buffers   sync.Pool

	folding sync.Mutex // held while rows and position move, and while both are read together

	mu       sync.Mutex // guards what follows; held while an entry is written, so that what is in flight is what the log says
	inFlight map[segment.Position]struct{}
	late     []entry // ends that could not be written
	failed   int64
	lost     int64

	fault func(step string) error // tests interrupt a fold with it
}

// Open opens or makes the ledger in cfg.Dir, and ends what a crash left in flight.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.SegmentBytes = cmp.Or(cfg.SegmentBytes, 16<<20)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 2<<30)
	cfg.Retention = cmp.Or(cfg.Retention, 35*24*time.Hour)
	cfg.FoldEvery = cmp.Or(cfg.FoldEvery, 10*time.Second)
	cfg.MonthsAfter = cmp.Or(cfg.MonthsAfter, 14*24*time.Hour)
	log, err := segment.Open(segment.Config{Dir: cfg.Dir, Stage: cfg.Stage, MaxBytes: cfg.SegmentBytes, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{
		cfg: cfg, log: log,
		days:      kv.NewTable[dayRow](cfg.KV, "usageday"),
		months:    kv.NewTable[monthRow](cfg.KV, "usagemonth"),
		positions: kv.NewTable[position](cfg.KV, "usageposition"),
		buffers:   sync.Pool{New: func() any { return new([]byte) }},
		inFlight:  map[segment.Position]struct{}{},
		fault:     func(string) error { return nil },
	}
	if err := l.recover(ctx); err != nil {
		log.Close()
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return l, nil
}

// Run fsyncs, folds and drops until ctx ends.
func (l *Ledger) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.log.Run(ctx) })
	g.Go(func() error {
		tick := time.NewTicker(l.cfg.FoldEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if err := l.Fold(ctx); err != nil && ctx.Err() == nil {
				l.cfg.Logger.Warn("usage is not folded; it will be", "error", err)
			}
		}
	})
	return g.Wait()
}

// Sync returns when everything that was recorded before is on disk.
func (l *Ledger) Sync() error { return l.log.Sync() }

// Close fsyncs and closes the files. It may be called more than once.
func (l *Ledger) Close() error { return l.log.Close() }

// Begin records that code is about to see an invocation. After an error the invocation may go on:
// End writes its record with the zero Entry, too.
func (l *Ledger) Begin(r Record) (Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pos, err := l.append(&entry{kind: kindBegin, Record: r})
	if err != nil {
		l.failed++
		return Entry{}, fmt.Errorf("begin ledger entry: %w", err)
	}
	l.inFlight[pos] = struct{}{}
	return Entry{pos}, nil
}

// End records the result of an invocation, once. A record that cannot be written now is kept and
// written later; the error says that it was not.
func (l *Ledger) End(e Entry, r Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.inFlight[e.begun]; !ok && e != (Entry{}) {
		return fmt.Errorf("end ledger entry: %w", ErrEnded)
	}
	end := entry{kind: kindEnd, begun: e.begun, Record: r}
	if _, err := l.append(&end); err != nil {
		l.failed++
		if len(l.late) < maxLate {
			l.late = append(l.late, end)
		} else {
			l.lost++
			delete(l.inFlight, e.begun)
		}
		return fmt.Errorf("end ledger entry: %w", err)
	}
	delete(l.inFlight, e.begun)
	return nil
}

// Cancel takes back a Begin: no code has seen the invocation.
func (l *Ledger) Cancel(e Entry) error {
	if e == (Entry{}) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.inFlight[e.begun]; !ok {
		return fmt.Errorf("cancel ledger entry: %w", ErrEnded)
	}
	delete(l.inFlight, e.begun)
	if _, err := l.append(&entry{kind: kindCancel, begun: e.begun}); err != nil {
		l.failed++
		return fmt.Errorf("cancel ledger entry: %w", err)
	}
	return nil
}

func (l *Ledger) append(e *entry) (segment.Position, error) {
	buf := l.buffers.Get().(*[]byte)
	defer l.buffers.Put(buf)
	*buf = e.encode((*buf)[:0])
	return l.log.Append(*buf)
}

// writeLate writes the ends that could not be written before.
func (l *Ledger) writeLate() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.late) > 0 {
		if _, err := l.append(&l.late[0]); err != nil {
			return fmt.Errorf("write late ledger entries: %w", err)
		}
		delete(l.inFlight, l.late[0].begun)
		l.late = l.late[1:]
	}
	l.late = nil
	return nil
}

// Stats is the state of a ledger.
type Stats struct {
	Segments int
	Bytes    int64 // of raw records
	Unfolded int64 // bytes that are not in the sums yet
	InFlight int
	Late     int   // records that wait in memory for the disk
	Failed   int64 // writes that failed since the start
	Lost     int64 // records that were given up
}

// Stats tells the state of the ledger.
func (l *Ledger) Stats() Stats {
	var s Stats
	row, err := l.positions.Get(region, l.cfg.Node)
	for _, f := range l.log.Segments() {
		s.Segments++
		s.Bytes += f.Bytes
		switch at := row.Value.Folded; {
		case err != nil || f.ID > at.Segment:
			s.Unfolded += f.Bytes
		case f.ID == at.Segment:
			s.Unfolded += f.Bytes - at.Offset
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.InFlight, s.Late, s.Failed, s.Lost = len(l.inFlight), len(l.late), l.failed, l.lost
	return s
}
