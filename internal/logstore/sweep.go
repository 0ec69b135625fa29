package logstore

import (
	"context"
	"fmt"
	"slices"

	"lambent.dev/lambent/internal/segment"
)

// Sweep forgets what has expired, drops the segments that hold
// nothing else, rewrites those of which less than half is wanted, and drops the oldest ones
// while the log is beyond its budget. Run calls it.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.giveBack(ctx); err != nil {
		return err
	}
	return s.budget()
}

// Hold leaves every segment where it is, for whoever copies them, until release. Appends go on.
func (s *Store) Hold() (release func()) {
	s.sweeps.Lock()
	return s.sweeps.Unlock
}

// giveBack drops and rewrites segments.
func (s *Store) giveBack(ctx context.Context) error {
	s.sweeps.Lock()
	defer s.sweeps.Unlock()
	if err := s.expire(); err != nil {
		return err
	}
	segments := s.log.Segments()
	used, oldest := s.used(), true
	for _, info := range segments[:len(segments)-1] { // the last one is written to
		if err := ctx.Err(); err != nil {
			return err
		}
		if 2*used[info.ID] >= info.Bytes {
			oldest = false
			continue
		}
		if err := s.rewrite(ctx, info.ID, oldest); err != nil {
			return fmt.Errorf("sweep segment %d: %w", info.ID, err)
		}
	}
	return nil
}

// expire drops blocks from the index whose events have all expired.
func (s *Store) expire() error {
	rows, err := s.groups.All()
	if err != nil {
		return fmt.Errorf("list log groups: %w", err)
	}
	groups := make(map[groupKey]groupRow, len(rows))
	for _, row := range rows {
		groups[groupKey{row.Account, row.Key}] = row.Value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, streams := range s.byGroup {
		g, ok := groups[key]
		cutoff := s.cutoff(g)
		for _, st := range streams {
			if ok && st.groupID == g.ID {
				st.expire(cutoff)
			}
		}
	}
	return nil
}

func (st *stream) expire(cutoff int64) {
	st.blocks = slices.DeleteFunc(st.blocks, func(b *block) bool {
		if b.max < cutoff {
			st.stored -= b.stored
		}
		return b.max < cutoff
	})
}

// used is how many bytes of each segment the index refers to.
func (s *Store) used() map[uint64]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[uint64]int64{}
	for _, st := range s.streams {
		out[st.home] += int64(len(st.record(nil))) + frame
		for _, b := range st.blocks {
			out[b.segment] += b.size
		}
	}
	return out
}

// rewrite writes what is wanted of a segment to the end of the log and drops it. A crash in
// between leaves records twice, of which recovery takes one.
func (s *Store) rewrite(ctx context.Context, id uint64, oldest bool) error {
	if err := s.moveRest(id, oldest); err != nil {
		return err
	}
	s.mu.RLock()
	var blocks []move
	for _, st := range s.streams {
		for _, b := range st.blocks {
			if b.segment == id {
				blocks = append(blocks, move{st, b})
			}
		}
	}
	s.mu.RUnlock()
	for _, m := range blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.moveBlock(m); err != nil {
			return err
		}
	}
	if err := s.log.Sync(); err != nil {
		return err
	}
	return s.log.Drop(id)
}

type move struct {
	st *stream
	b  *block
}

// moveRest moves what is in a segment beside events.
func (s *Store) moveRest(id uint64, oldest bool) error {
	s.writes.Lock()
	defer s.writes.Unlock()
	if err := s.moveStreams(id); err != nil {
		return err
	}
	return s.moveDeletions(id, oldest)
}

// moveStreams and moveDeletions are called with writes held.
func (s *Store) moveStreams(id uint64) error {
	s.mu.RLock()
	var home []*stream
	for _, st := range s.streams {
		if st.home == id {
			home = append(home, st)
		}
	}
	s.mu.RUnlock()
	for _, st := range home {
		pos, err := s.log.Append(st.record(nil))
		if err != nil {
			return err
		}
		s.mu.Lock()
		st.home = pos.Segment
		s.mu.Unlock()
	}
	return nil
}

// moveDeletions keeps the deletions of streams whose other records may still be in older segments.
func (s *Store) moveDeletions(id uint64, oldest bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream, in := range s.tombs {
		if in != id {
			continue
		}
		if oldest {
			delete(s.tombs, stream)
			continue
		}
		pos, err := s.log.Append(appendDeletion(nil, stream))
		if err != nil {
			return err
		}
		s.tombs[stream] = pos.Segment
	}
	return nil
}

func (s *Store) moveBlock(m move) error {
	recs := make([][]byte, len(m.b.offsets))
	for i, offset := range m.b.offsets {
		rec, err := s.log.Read(segment.Position{Segment: m.b.segment, Offset: int64(offset)})
		if err != nil {
			return err
		}
		if setMoved(rec, movedNext); i == 0 {
			setMoved(rec, movedFirst)
		}
		recs[i] = rec
	}
	s.writes.Lock()
	defer s.writes.Unlock()
	s.mu.RLock()
	gone := m.st.gone
	s.mu.RUnlock()
	if gone {
		return nil
	}
	positions, err := s.log.AppendAll(recs)
	if err != nil {
		return err
	}
	moved := *m.b
	moved.segment, moved.moved = positions[0].Segment, true
	moved.offsets = make([]uint32, len(positions))
	for i, pos := range positions {
		moved.offsets[i] = uint32(pos.Offset)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(m.st.blocks, m.b); i >= 0 {
		m.st.blocks[i] = &moved
	}
	return nil
}
