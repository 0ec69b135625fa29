package logstore

import (
	"context"
	"errors"
	"fmt"

	"lambent.dev/lambent/internal/segment"
)

const (
	// recordEvents and recordBytes bound a record, so that a reader need not take much at once.
	recordEvents = 1000
	recordBytes  = 128 << 10
)

// Append writes events to a stream, which it makes with its group if there is none. When it
// returns the events survive this process. It writes to the state engine only to make a group.
func (s *Store) Append(ctx context.Context, account, group, stream string, events []Event) error {
	for {
		err := s.append(ctx, streamKey{account, group, stream}, events)
		if errors.Is(err, ErrGroupNotFound) && ctx.Err() == nil {
			continue // deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("append to log stream %s: %w", stream, err)
		}
		return nil
	}
}

func (s *Store) append(ctx context.Context, key streamKey, events []Event) error {
	var groupID string
	if st := s.find(key); st != nil {
		groupID = st.groupID
	} else {
		row, err := s.ensureGroup(ctx, key.account, key.group)
		if err != nil {
			return err
		}
		groupID = row.ID
	}
	defer s.keepBudget()
	s.writes.Lock()
	defer s.writes.Unlock()
	st, _, err := s.stream(key, groupID)
	if err != nil {
		return err
	}
	return s.write(st, events)
}

// Put writes events to a stream that exists and returns the sequence number of its last event.
func (s *Store) Put(_ context.Context, account, group, stream string, events []Event) (seq uint64, err error) {
	if _, err := s.group(account, group); err != nil {
		return 0, err
	}
	defer s.keepBudget()
	s.writes.Lock()
	defer s.writes.Unlock()
	st := s.find(streamKey{account, group, stream})
	if st == nil {
		return 0, fmt.Errorf("log stream %s: %w", stream, ErrStreamNotFound)
	}
	if err := s.write(st, events); err != nil {
		return 0, fmt.Errorf("put to log stream %s: %w", stream, err)
	}
	return st.lastSeq(), nil
}

// write appends events to the log and indexes them. It is called with writes held.
func (s *Store) write(st *stream, events []Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := s.space(); err != nil {
		return err
	}
	now, seq := s.cfg.Now().UnixMilli(), s.seq
	var recs [][]byte
	var entries []entry
	b := s.buf[:0]
	for len(events) > 0 {
		n := chunk(events)
		start := len(b)
		var e entry
		b, e = appendEvents(b, st.id, seq+1, now, events[:n])
		recs, entries = append(recs, b[start:len(b):len(b)]), append(entries, e)
		seq, events = e.last, events[n:]
	}
	if s.buf = b; cap(b) > 1<<20 {
		s.buf = nil // one big write is no reason to keep its size for ever
	}
	positions, err := s.log.AppendAll(recs)
	if err != nil {
		return err
	}
	s.seq = seq
	s.index(st, entries, positions)
	if id := positions[0].Segment; id != s.segment {
		s.segment = id
		s.grown.Store(true)
	}
	return nil
}

func (s *Store) index(st *stream, entries []entry, positions []segment.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		entries[i].pos = positions[i]
		st.add(entries[i])
	}
}

// chunk is how many of the events go into the next record: at least one.
func chunk(events []Event) int {
	size := 0
	for i := range events {
		if size += len(events[i].Message); i > 0 && (i == recordEvents || size > recordBytes) {
			return i
		}
	}
	return len(events)
}

// space returns ErrFull when the disk takes no more log events.
func (s *Store) space() error {
	if s.cfg.Full != nil && s.cfg.Full() {
		return ErrFull
	}
	return nil
}
