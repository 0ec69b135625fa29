package meter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent/internal/segment"
)

// ErrCursor is returned for a cursor that List did not make.
var ErrCursor = errors.New("malformed cursor")

// Row is the usage of a function version on one architecture in an hour, or in a day where days
// have been merged into months.
type Row struct {
	Account, Function, Version, Architecture string

	At    time.Time     // UTC
	Width time.Duration // an hour or a day
	Sums
}

// Usage returns what an account used in the hours that begin within [from, to), what is not folded
// yet included, sorted by time, function, version and architecture. Where only days are left, a
// day counts if it begins within.
func (l *Ledger) Usage(account string, from, to time.Time) ([]Row, error) {
	l.folding.Lock() // nothing moves from the log into the rows meanwhile
	defer l.folding.Unlock()
	for {
		at, err := l.position()
		if err != nil {
			return nil, fmt.Errorf("read usage: %w", err)
		}
		sums, err := l.rows(account)
		if err != nil {
			return nil, fmt.Errorf("read usage: %w", err)
		}
		// A transaction of which nobody knows whether it was committed may show itself any time.
		again, err := l.position()
		if err != nil {
			return nil, fmt.Errorf("read usage: %w", err)
		}
		if again.Rev != at.Rev {
			continue
		}
		if err := l.unfolded(account, at.Value.Folded, sums); err != nil {
			return nil, fmt.Errorf("read usage: %w", err)
		}
		return sorted(sums, from.UTC(), to.UTC()), nil
	}
}

// rows are the account's folded sums.
func (l *Ledger) rows(account string) (map[Row]Sums, error) {
	out := map[Row]Sums{}
	add := func(key, layout string, cells []cell, place func(start time.Time, c cell) (time.Time, time.Duration)) error {
		when, function, version, ok := parseKey(key)
		start, err := time.Parse(layout, when)
		if !ok || err != nil {
			return fmt.Errorf("row %q: %w", key, errRecord)
		}
		for _, c := range cells {
			r := Row{Account: account, Function: function, Version: version, Architecture: c.Architecture}
			r.At, r.Width = place(start, c)
			sum := out[r]
			sum.add(c.Sums)
			out[r] = sum
		}
		return nil
	}
	days, err := l.days.List(account, "", "", 0)
	if err != nil {
		return nil, err
	}
	for _, row := range days {
		if err := add(row.Key, dayLayout, row.Value.Cells, func(start time.Time, c cell) (time.Time, time.Duration) {
			return start.Add(time.Duration(c.At) * time.Hour), time.Hour
		}); err != nil {
			return nil, err
		}
	}
	months, err := l.months.List(account, "", "", 0)
	if err != nil {
		return nil, err
	}
	for _, row := range months {
		if err := add(row.Key, monthLayout, row.Value.Cells, func(start time.Time, c cell) (time.Time, time.Duration) {
			return start.AddDate(0, 0, c.At-1), 24 * time.Hour
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// unfolded adds what the log has beyond the sums.
func (l *Ledger) unfolded(account string, from segment.Position, sums map[Row]Sums) error {
	return l.log.Scan(from, func(pos segment.Position, rec []byte) error {
		e, err := decode(rec)
		if err != nil {
			return fmt.Errorf("ledger %d/%d: %w", pos.Segment, pos.Offset, err)
		}
		if e.kind != kindEnd || e.Account != account {
			return nil
		}
		r := Row{
			Account: account, Function: e.Function, Version: e.Version, Architecture: e.Architecture,
			At: e.Start.Truncate(time.Hour), Width: time.Hour,
		}
		sum := sums[r]
		sum.add(e.sums())
		sums[r] = sum
		return nil
	})
}

func sorted(sums map[Row]Sums, from, to time.Time) []Row {
	var out []Row
	for r, s := range sums {
		if first := from.Truncate(r.Width); r.At.Before(first) || !r.At.Before(to) {
			continue
		}
		r.Sums = s
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y Row) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Function, y.Function), cmp.Compare(x.Version, y.Version),
			cmp.Compare(x.Architecture, y.Architecture))
	})
	return out
}

// Query says which records to list.
type Query struct {
	Account  string
	Function string    // all if empty
	From, To time.Time // by the records' start
	After    string    // a cursor of List; empty: from the oldest
	Limit    int       // 0: all
}

// List returns raw records in the order they ended, while they are kept, and where to go on; an
// empty cursor says that there are no more now.
func (l *Ledger) List(ctx context.Context, q Query) (records []Record, cursor string, err error) {
	at, err := parseCursor(q.After)
	if err != nil {
		return nil, "", err
	}
	read := 0
	err = l.log.Scan(cmp.Or(at, l.since(q.From)), func(pos segment.Position, rec []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if read++; rec[0] != kindEnd {
			return nil
		}
		e, err := decode(rec)
		if err != nil {
			return fmt.Errorf("ledger %d/%d: %w", pos.Segment, pos.Offset, err)
		}
		if e.Account != q.Account || q.Function != "" && e.Function != q.Function || e.Start.Before(q.From) || !e.Start.Before(q.To) {
			return nil
		}
		if q.Limit > 0 && len(records) == q.Limit {
			cursor = fmt.Sprintf("%d-%d", pos.Segment, pos.Offset)
			return errEnough
		}
		records = append(records, e.Record)
		return nil
	})
	if errors.Is(err, segment.ErrCorrupt) && read == 0 && q.After != "" {
		return nil, "", fmt.Errorf("%w: no record begins there", ErrCursor)
	}
	if err != nil && !errors.Is(err, errEnough) {
		return nil, "", fmt.Errorf("list ledger records: %w", err)
	}
	return records, cursor, nil
}

// since is the beginning of the first segment that can hold a record that started at from.
func (l *Ledger) since(from time.Time) segment.Position {
	for _, f := range l.log.Segments() {
		if !f.Modified.Before(from) {
			return segment.Position{Segment: f.ID}
		}
	}
	return segment.Position{}
}

func parseCursor(text string) (p segment.Position, err error) {
	if text == "" {
		return p, nil
	}
	id, offset, _ := strings.Cut(text, "-")
	if p.Segment, err = strconv.ParseUint(id, 10, 64); err == nil {
		p.Offset, err = strconv.ParseInt(offset, 10, 64)
	}
	if err != nil || p.Offset < 0 {
		return p, fmt.Errorf("%w: %q", ErrCursor, text)
	}
	return p, nil
}
