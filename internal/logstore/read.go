package logstore

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent/internal/segment"
)

// Cursor is a place between events: right after the event that has its time and sequence number,
// or, for a reader who goes backward, right before it.
type Cursor struct {
	Time int64 // Unix milliseconds
	Seq  uint64
}

// Query says which events to read.
type Query struct {
	Account, Group string
	Streams        []string // nil: all whose names start with Prefix
	Prefix         string

	Start, End time.Time // the first included, the second not; zero: open
	From       *Cursor   // where an earlier read stopped; nil: the first or, backward, the last event
	Backward   bool

	Limit int // events
	Bytes int // of their messages, and 26 for each; at least one event is returned
	Scan  int // bytes of records to look through before answering with what there is; default 64 MiB
	Match func(message []byte) bool
}

// Found is an event and where it is.
type Found struct {
	Event
	Stream string
	Cursor Cursor
}

// Page is what a read found.
type Page struct {
	Events []Found // in the direction of the reading
	Cursor *Cursor // after the last event that was looked at; nil if none ever was
	More   bool    // the read ended before the events did
}

const defaultScan = 64 << 20

// Read returns events in the order of their time.
func (s *Store) Read(ctx context.Context, q Query) (Page, error) {
	// A sweep that drops a segment under the reader has written its records elsewhere before.
	for range 3 {
		page, err := s.read(ctx, q)
		if !errors.Is(err, segment.ErrNotFound) {
			return page, err
		}
	}
	// One that drops them faster than this reads has to wait.
	s.sweeps.Lock()
	defer s.sweeps.Unlock()
	return s.read(ctx, q)
}

func (s *Store) read(ctx context.Context, q Query) (Page, error) {
	m, err := s.merge(q)
	if err != nil {
		return Page{}, err
	}
	page := Page{Cursor: q.From}
	size, bytes := cmp.Or(q.Scan, defaultScan), 0
	for {
		f, ok, err := m.next(ctx)
		if err != nil {
			return Page{}, fmt.Errorf("read log group %s: %w", q.Group, err)
		}
		if !ok {
			return page, nil
		}
		if q.Match == nil || q.Match(f.message) {
			bytes += len(f.message) + perEvent
			if len(page.Events) > 0 && (len(page.Events) == q.Limit || q.Bytes > 0 && bytes > q.Bytes) {
				page.More = true
				return page, nil
			}
			page.Events = append(page.Events, Found{
				Event:  Event{Time: time.UnixMilli(f.at), Ingested: time.UnixMilli(f.ingested), Message: string(f.message)},
				Stream: f.stream, Cursor: Cursor{f.at, f.seq},
			})
		}
		page.Cursor = &Cursor{f.at, f.seq}
		if m.loaded > size && !m.done() {
			page.More = true
			return page, nil
		}
	}
}

// merge reads blocks as late as the order of events allows.
type merge struct {
	log        *segment.Log
	q          Query
	start, end int64
	pending    []source // blocks not loaded yet, the next one first
	events     eventHeap
	loaded     int // bytes
}

// source is a block, as it was when the read began.
type source struct {
	stream string
	block  block
}

type loadedEvent struct {
	at       int64
	seq      uint64
	ingested int64
	message  []byte
	stream   string
}

// merge finds the blocks that may hold events of q.
func (s *Store) merge(q Query) (*merge, error) {
	row, err := s.group(q.Account, q.Group)
	if err != nil {
		return nil, err
	}
	m := &merge{log: s.log, q: q, start: s.cutoff(row.Value), end: maxTime, events: eventHeap{backward: q.Backward}}
	if !q.Start.IsZero() {
		m.start = max(m.start, q.Start.UnixMilli())
	}
	if !q.End.IsZero() {
		m.end = q.End.UnixMilli()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	streams := s.byGroup[groupKey{q.Account, q.Group}]
	for _, name := range q.Streams {
		st := streams[name]
		if st == nil {
			return nil, fmt.Errorf("log stream %s: %w", name, ErrStreamNotFound)
		}
		m.sources(st)
	}
	if q.Streams == nil {
		for name, st := range streams {
			if strings.HasPrefix(name, q.Prefix) {
				m.sources(st)
			}
		}
	}
	slices.SortFunc(m.pending, func(a, b source) int {
		if q.Backward {
			return cmp.Compare(b.block.max, a.block.max)
		}
		return cmp.Compare(a.block.min, b.block.min)
	})
	return m, nil
}

func (m *merge) sources(st *stream) {
	for _, b := range st.blocks {
		from := m.q.From
		switch {
		case b.max < m.start, b.min >= m.end:
		case from != nil && !m.q.Backward && (b.max < from.Time):
		case from != nil && m.q.Backward && (b.min > from.Time):
		default:
			m.pending = append(m.pending, source{st.key.name, *b})
		}
	}
}

// wanted tells whether an event is in the query's range and beyond its cursor.
func (m *merge) wanted(at int64, seq uint64) bool {
	if at < m.start || at >= m.end {
		return false
	}
	if m.q.From == nil {
		return true
	}
	c := cmp.Or(cmp.Compare(at, m.q.From.Time), cmp.Compare(seq, m.q.From.Seq))
	return c > 0 && !m.q.Backward || c < 0 && m.q.Backward
}

func (m *merge) done() bool { return len(m.pending) == 0 && m.events.Len() == 0 }

// next returns the next event.
func (m *merge) next(ctx context.Context) (loadedEvent, bool, error) {
	for len(m.pending) > 0 && (m.events.Len() == 0 || m.reaches(m.pending[0].block, m.events.list[0].at)) {
		if err := ctx.Err(); err != nil {
			return loadedEvent{}, false, err
		}
		if err := m.load(m.pending[0]); err != nil {
			return loadedEvent{}, false, err
		}
		m.pending = m.pending[1:]
	}
	if m.events.Len() == 0 {
		return loadedEvent{}, false, nil
	}
	return heap.Pop(&m.events).(loadedEvent), true, nil
}

// reaches tells whether a block may hold an event that comes before one of a time.
func (m *merge) reaches(b block, at int64) bool {
	if m.q.Backward {
		return b.max >= at
	}
	return b.min <= at
}

func (m *merge) load(src source) error {
	for _, offset := range src.block.offsets {
		pos := segment.Position{Segment: src.block.segment, Offset: int64(offset)}
		rec, err := m.log.Read(pos)
		if err != nil {
			return err
		}
		m.loaded += len(rec)
		_, err = readEvents(rec, func(seq uint64, at, ingested int64, message []byte) {
			if m.wanted(at, seq) {
				heap.Push(&m.events, loadedEvent{at, seq, ingested, message, src.stream})
			}
		})
		if err != nil {
			return recordError(pos, err)
		}
	}
	return nil
}

// eventHeap has the next event of the direction on top.
type eventHeap struct {
	list     []loadedEvent
	backward bool
}

// Len implements heap.Interface.
func (h *eventHeap) Len() int { return len(h.list) }

// Less implements heap.Interface.
func (h *eventHeap) Less(i, j int) bool {
	c := cmp.Or(cmp.Compare(h.list[i].at, h.list[j].at), cmp.Compare(h.list[i].seq, h.list[j].seq))
	return c < 0 != h.backward
}

// Swap implements heap.Interface.
func (h *eventHeap) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }

// Push implements heap.Interface.
func (h *eventHeap) Push(x any) { h.list = append(h.list, x.(loadedEvent)) }

// Pop implements heap.Interface.
func (h *eventHeap) Pop() any {
	last := len(h.list) - 1
	x := h.list[last]
	h.list[last] = loadedEvent{}
	h.list = h.list[:last]
	return x
}
