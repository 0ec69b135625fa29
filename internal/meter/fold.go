package meter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/segment"
)

// region is where rows stand that belong to no account.
const region = "-"

// position is how far a node's log is folded.
type position struct {
	Folded  segment.Position // up to here every end is in the sums
	Recover segment.Position // before here nothing was in flight when Folded moved
}

// Sums is what invocations add up to. Whole numbers: sums are exact in any order.
type Sums struct {
	Requests  int64 // that are charged
	Errors    int64 // of them, those that did not succeed
	Aborted   int64 // that are not charged
	BilledMS  int64
	MemoryMS  int64 // MB of memory x ms
	StorageMS int64 // MB of /tmp above FreeStorage x ms
}

// FreeStorage is the part of /tmp, in MB, that costs nothing.
const FreeStorage = 512

func (s *Sums) add(o Sums) {
	s.Requests += o.Requests
	s.Errors += o.Errors
	s.Aborted += o.Aborted
	s.BilledMS += o.BilledMS
	s.MemoryMS += o.MemoryMS
	s.StorageMS += o.StorageMS
}

func (r Record) sums() Sums {
	if r.Outcome == Aborted {
		return Sums{Aborted: 1}
	}
	s := Sums{
		Requests: 1, BilledMS: r.Billed, MemoryMS: int64(r.Memory) * r.Billed,
		StorageMS: int64(max(0, r.EphemeralStorage-FreeStorage)) * r.Billed,
	}
	if r.Outcome != "success" {
		s.Errors = 1
	}
	return s
}

// cell is the sums of an hour of a day row, or of a day of a month row. The architecture is part of
// it since prices depend on it and an update may change it.
type cell struct {
	At           int // hour 0-23, or day 1-31
	Architecture string
	Sums
}

// dayRow and monthRow are keyed by key; cells are sorted.
type (
	dayRow   struct{ Cells []cell }
	monthRow struct{ Cells []cell }
)

// added returns cells with one more; cells handed out stay as they are.
func added(cells []cell, c cell) []cell {
	i, found := slices.BinarySearchFunc(cells, c, func(x, y cell) int {
		if x.At != y.At {
			return x.At - y.At
		}
		return strings.Compare(x.Architecture, y.Architecture)
	})
	out := slices.Clone(cells)
	if found {
		out[i].add(c.Sums)
		return out
	}
	return slices.Insert(out, i, c)
}

const (
	dayLayout   = "2006-01-02"
	monthLayout = "2006-01"
)

// key is a row's: the day or month, then function and version, in whose names no slash can be.
func key(when, function, version string) string { return when + "/" + function + "/" + version }

func parseKey(k string) (when, function, version string, ok bool) {
	parts := strings.SplitN(k, "/", 3)
	if len(parts) != 3 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// Bounds of one transaction, below the engine's.
const (
	maxRows    = 50
	maxRecords = 20_000
)

var errEnough = errors.New("enough for one transaction")

// Fold brings the sums up to date, merges old days into months, and drops segments that are not
// needed any more.
func (l *Ledger) Fold(ctx context.Context) error {
	late := l.writeLate()
	for tries := 0; ; {
		more, err := l.foldOnce(ctx)
		if errors.Is(err, kv.ErrConflict) && tries < 3 {
			tries++ // an earlier transaction, whose answer was lost, has been committed after all
			continue
		}
		if err != nil {
			return errors.Join(late, fmt.Errorf("fold usage: %w", err))
		}
		if !more {
			break
		}
	}
	if err := l.mergeMonths(ctx); err != nil {
		return errors.Join(late, fmt.Errorf("merge usage into months: %w", err))
	}
	return errors.Join(late, l.drop())
}

// rowKey is the row of a batch that a record goes to.
type rowKey struct{ account, key string }

// foldOnce moves rows and position by one transaction; more says that there may be work left.
func (l *Ledger) foldOnce(ctx context.Context) (more bool, err error) {
	l.folding.Lock()
	defer l.folding.Unlock()
	at, err := l.position()
	if err != nil {
		return false, err
	}
	// Taken before the scan: what is in flight now ends behind the records that are scanned, or
	// among them.
	next := position{Recover: l.oldest()}
	batch, end, more, err := l.scan(at.Value.Folded)
	if err != nil {
		return false, err
	}
	next.Folded = end
	if next.Recover.Segment == 0 || next.Recover.Compare(end) > 0 {
		next.Recover = end
	}
	if next == at.Value {
		return false, nil
	}
	if err := l.fault("scanned"); err != nil {
		return false, err
	}
	// The position must not be on disk before what it is a position in.
	if err := l.log.Sync(); err != nil {
		return false, err
	}
	ops, err := l.dayOps(batch)
	if err != nil {
		return false, err
	}
	if err := l.fault("synced"); err != nil {
		return false, err
	}
	if _, err := l.cfg.KV.Txn(ctx, append(ops, l.positions.Update(at, next))...); err != nil {
		return false, err
	}
	return more, l.fault("committed")
}

// dayOps writes a batch into its rows.
func (l *Ledger) dayOps(batch map[rowKey][]cell) ([]kv.Op, error) {
	var ops []kv.Op
	for k, cells := range batch {
		row, err := l.days.Get(k.account, k.key)
		switch {
		case errors.Is(err, kv.ErrNotFound):
			ops = append(ops, l.days.Create(k.account, k.key, dayRow{cells}))
		case err != nil:
			return nil, err
		default:
			all := row.Value.Cells
			for _, c := range cells {
				all = added(all, c)
			}
			ops = append(ops, l.days.Update(row, dayRow{all}))
		}
	}
	return ops, nil
}

// scan sums up ends from a position on, as many as one transaction takes.
func (l *Ledger) scan(from segment.Position) (batch map[rowKey][]cell, end segment.Position, more bool, err error) {
	batch, end = map[rowKey][]cell{}, from
	records := 0
	err = l.log.Scan(from, func(pos segment.Position, rec []byte) error {
		e, err := decode(rec)
		if err != nil {
			return fmt.Errorf("ledger %d/%d: %w", pos.Segment, pos.Offset, err)
		}
		if e.kind == kindEnd {
			k := rowKey{e.Account, key(e.Start.UTC().Format(dayLayout), e.Function, e.Version)}
			if _, known := batch[k]; records == maxRecords || !known && len(batch) == maxRows {
				return errEnough
			}
			records++
			batch[k] = added(batch[k], cell{e.Start.UTC().Hour(), e.Architecture, e.sums()})
		}
		end = pos.After(len(rec))
		return nil
	})
	if errors.Is(err, errEnough) {
		return batch, end, true, nil
	}
	return batch, end, false, err
}

// position is this node's row.
func (l *Ledger) position() (kv.Row[position], error) { return l.positions.Get(region, l.cfg.Node) }

// oldest is where the oldest invocation in flight began; zero when there is none.
func (l *Ledger) oldest() (first segment.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pos := range l.inFlight {
		if first.Segment == 0 || pos.Compare(first) < 0 {
			first = pos
		}
	}
	return first
}

// mergeMonths moves the days that are old enough into rows by month, one day row at a time.
func (l *Ledger) mergeMonths(ctx context.Context) error {
	l.folding.Lock()
	defer l.folding.Unlock()
	rows, err := l.days.All()
	if err != nil {
		return err
	}
	before := l.cfg.Now().UTC().Add(-l.cfg.MonthsAfter).Format(dayLayout)
	for _, day := range rows {
		when, function, version, ok := parseKey(day.Key)
		if !ok || when >= before {
			continue
		}
		if err := l.mergeDay(ctx, day, when, key(when[:len(monthLayout)], function, version)); err != nil {
			return err
		}
		if err := l.fault("merged"); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) mergeDay(ctx context.Context, day kv.Row[dayRow], when, month string) error {
	date, err := time.Parse(dayLayout, when)
	if err != nil {
		return err
	}
	row, err := l.months.Get(day.Account, month)
	fresh := errors.Is(err, kv.ErrNotFound)
	if err != nil && !fresh {
		return err
	}
	cells := row.Value.Cells
	for _, c := range day.Value.Cells {
		c.At = date.Day()
		cells = added(cells, c)
	}
	op := l.months.Update(row, monthRow{cells})
	if fresh {
		op = l.months.Create(day.Account, month, monthRow{cells})
	}
	_, err = l.cfg.KV.Txn(ctx, op, l.days.Delete(day))
	return err
}

// drop removes the segments that nothing needs.
func (l *Ledger) drop() error {
	at, err := l.position()
	if err != nil {
		return fmt.Errorf("drop ledger segments: %w", err)
	}
	needed := min(at.Value.Folded.Segment, at.Value.Recover.Segment)
	files := l.log.Segments()
	var total int64
	for _, f := range files {
		total += f.Bytes
	}
	for _, f := range files[:len(files)-1] {
		if f.ID >= needed || total <= l.cfg.MaxBytes && l.cfg.Now().Sub(f.Modified) <= l.cfg.Retention {
			return nil
		}
		if err := l.log.Drop(f.ID); err != nil {
			return fmt.Errorf("drop ledger segments: %w", err)
		}
		if err := l.fault("dropped"); err != nil {
			return err
		}
		total -= f.Bytes
	}
	return nil
}

// recover ends what a crash left in flight and puts the position where the log is.
func (l *Ledger) recover(ctx context.Context) error {
	at, err := l.position()
	switch {
	case errors.Is(err, kv.ErrNotFound):
		if _, err := l.cfg.KV.Txn(ctx, l.positions.Create(region, l.cfg.Node, position{})); err != nil {
			return err
		}
		if at, err = l.position(); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	files := l.log.Segments()
	last := files[len(files)-1]
	if end := (segment.Position{Segment: last.ID, Offset: last.Bytes}); at.Value.Folded.Compare(end) > 0 {
		// The files are older than the state: of another backup, or gone. All that is in them
		// was folded; what comes must not be passed over.
		l.cfg.Logger.Warn("the ledger's files are older than its sums", "folded", at.Value.Folded, "end", end)
		if _, err := l.cfg.KV.Txn(ctx, l.positions.Update(at, position{end, end})); err != nil {
			return err
		}
		if at, err = l.position(); err != nil {
			return err
		}
	}
	open := map[segment.Position]Record{}
	err = l.log.Scan(at.Value.Recover, func(pos segment.Position, rec []byte) error {
		e, err := decode(rec)
		switch {
		case err != nil:
			return fmt.Errorf("ledger %d/%d: %w", pos.Segment, pos.Offset, err)
		case e.kind == kindBegin:
			open[pos] = e.Record
		default:
			delete(open, e.begun)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.abort(open)
}

// abort ends what was in flight, without charge, durably and in the order it began.
func (l *Ledger) abort(open map[segment.Position]Record) error {
	for _, pos := range slices.SortedFunc(maps.Keys(open), segment.Position.Compare) {
		r := open[pos]
		r.Outcome, r.Billed, r.Init, r.Duration = Aborted, 0, 0, 0
		if _, err := l.append(&entry{kind: kindEnd, begun: pos, Record: r}); err != nil {
			return err
		}
	}
	if len(open) > 0 {
		l.cfg.Logger.Info("invocations were in flight when the server ended; they are not charged", "count", len(open))
	}
	return l.log.Sync()
}
