package logstore

import (
	"fmt"

	"lambent.dev/lambent/internal/segment"
)

// recover builds the index from the records. Events may come before the record of their stream,
// which a sweep may have written anew.
func (s *Store) recover() error {
	live, err := s.liveGroups()
	if err != nil {
		return err
	}
	byID := map[uint64]*stream{}
	err = s.log.Scan(segment.Position{}, func(pos segment.Position, rec []byte) error {
		if err := s.replay(byID, pos, rec); err != nil {
			return recordError(pos, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, st := range byID {
		_, deleted := s.tombs[id]
		if !deleted && st.home != 0 && live[groupKey{st.key.account, st.key.group}] == st.groupID {
			s.remember(st)
		}
	}
	return nil
}

// replay indexes one record.
func (s *Store) replay(byID map[uint64]*stream, pos segment.Position, rec []byte) error {
	if len(rec) == 0 {
		return errRecord
	}
	switch rec[0] {
	case recStream:
		st, err := readStream(rec)
		if err != nil {
			return err
		}
		if known := byID[st.id]; known != nil {
			st.blocks, st.stored = known.blocks, known.stored
		}
		st.home, byID[st.id], s.seq = pos.Segment, st, max(s.seq, st.id)
		return nil
	case recDeleted:
		id, err := readDeletion(rec)
		s.tombs[id], s.seq = pos.Segment, max(s.seq, id)
		return err
	case recEvents:
		e, err := readEvents(rec, nil)
		if err != nil {
			return err
		}
		e.pos, s.seq = pos, max(s.seq, e.last)
		if byID[e.stream] == nil {
			byID[e.stream] = &stream{id: e.stream}
		}
		byID[e.stream].add(e)
		return nil
	}
	return fmt.Errorf("%w: kind %d", errRecord, rec[0])
}

// liveGroups are the IDs of the groups that exist.
func (s *Store) liveGroups() (map[groupKey]string, error) {
	rows, err := s.groups.All()
	if err != nil {
		return nil, err
	}
	out := make(map[groupKey]string, len(rows))
	for _, row := range rows {
		out[groupKey{row.Account, row.Key}] = row.Value.ID
	}
	return out, nil
}
