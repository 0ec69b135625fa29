package logstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"lambent.dev/lambent/internal/segment"
)

// warnEvery is how often the log says again that events are lost to the budget.
const warnEvery = 10 * time.Minute

// Stats is what the store takes and what it gave up.
type Stats struct {
	Bytes   int64 // of all segments
	Dropped int64 // events that Offer could not store, since Open
	Trimmed int64 // bytes of events that had to make room for newer ones, since Open
	Syncs   segment.Stats
}

// Stats counts.
func (s *Store) Stats() Stats {
	return Stats{Bytes: s.bytes(), Dropped: s.dropped.Load(), Trimmed: s.trimmed.Load(), Syncs: s.log.Stats()}
}

func (s *Store) bytes() (total int64) {
	for _, info := range s.log.Segments() {
		total += info.Bytes
	}
	return total
}

// Offer is Append for those who go on without: what does not fit on a full disk is dropped and
// counted. The log says so once until events are stored again.
func (s *Store) Offer(ctx context.Context, account, group, stream string, events []Event) error {
	err := s.Append(ctx, account, group, stream, events)
	switch {
	case errors.Is(err, ErrFull):
		if s.dropped.Add(int64(len(events))); !s.dropping.Swap(true) {
			s.cfg.Logger.Warn("log events are dropped: the disk is full", "group", group, "stream", stream)
		}
		return nil
	case err == nil && s.dropping.Load() && s.dropping.Swap(false):
		s.cfg.Logger.Info("log events are stored again", "dropped", s.dropped.Load())
	}
	return err
}

// keepBudget looks at the budget if a segment was begun. Who began it waits for that, and nobody else.
func (s *Store) keepBudget() {
	if !s.grown.Load() || !s.grown.Swap(false) {
		return
	}
	if err := s.budget(); err != nil {
		// The events are written; only the space of older ones is not given back.
		s.cfg.Logger.Warn("log events beyond the budget are not dropped", "error", err)
	}
}

// budget drops the oldest segments while the log is larger than its budget.
func (s *Store) budget() error {
	if s.cfg.MaxBytes == 0 || !s.sweeps.TryLock() {
		return nil // a sweep under way is giving space back, and its end looks, too
	}
	defer s.sweeps.Unlock()
	total, segments := s.bytes(), s.log.Segments()
	for _, info := range segments[:len(segments)-1] { // the last one is written to
		if total <= s.cfg.MaxBytes {
			break
		}
		if err := s.trim(info.ID); err != nil {
			return err
		}
		total -= info.Bytes
	}
	return nil
}

// trim drops the oldest segment with the events in it. It is called with sweeps held. Appends go on while
// it waits for the disk.
func (s *Store) trim(id uint64) error {
	newest, err := s.loseSegment(id)
	if err != nil {
		return err
	}
	if err := s.log.Sync(); err != nil {
		return err
	}
	if err := s.log.Drop(id); err != nil {
		return err
	}
	now := s.cfg.Now()
	if newest != minTime && (s.warned.IsZero() || now.Sub(s.warned).Abs() >= warnEvery) {
		s.warned = now
		s.cfg.Logger.Warn("the oldest log events make room for new ones: the disk budget of logs is used up",
			"budget", s.cfg.MaxBytes, "dropped until", time.UnixMilli(newest).UTC())
	}
	return nil
}

// loseSegment forgets the events in a segment and moves what else is in it: streams and deletions,
// which are small.
func (s *Store) loseSegment(id uint64) (newest int64, err error) {
	s.writes.Lock() // no writer holds a stream without events
	defer s.writes.Unlock()
	newest = s.loseEvents(id)
	if err := s.moveStreams(id); err != nil {
		return newest, err
	}
	return newest, s.moveDeletions(id, true)
}

// loseEvents forgets the events in a segment, and the streams that have no others. It returns the
// time of the newest one.
func (s *Store) loseEvents(id uint64) (newest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest = minTime
	for _, st := range s.streams {
		had := len(st.blocks)
		st.blocks = slices.DeleteFunc(st.blocks, func(b *block) bool {
			if b.segment != id {
				return false
			}
			newest = max(newest, b.max)
			st.stored -= b.stored
			s.trimmed.Add(b.size)
			return true
		})
		if had > 0 && len(st.blocks) == 0 {
			s.forget(st)
		}
	}
	return newest
}
