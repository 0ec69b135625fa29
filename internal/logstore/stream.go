package logstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	minTime = math.MinInt64
	maxTime = math.MaxInt64
)

// Stream is a sequence of events from one source.
type Stream struct {
	Name         string
	Created      time.Time
	First, Last  time.Time // of its events; zero if it has none
	LastIngested time.Time
	Seq          uint64 // of the last event
}

type streamKey struct{ account, group, name string }

// stream is the index of a stream: which records hold its events.
type stream struct {
	id      uint64
	key     streamKey
	groupID string
	created int64
	home    uint64 // segment of the record that says all this
	stored  int64  // bytes of the events as AWS counts them
	gone    bool
	blocks  []*block // by sequence number
}

// block is a run of a stream's records that no other record of the stream comes between, all in
// one segment.
type block struct {
	segment     uint64
	offsets     []uint32
	first, last uint64 // sequence numbers of events
	min, max    int64  // times of events
	ingested    int64
	size        int64 // of the records
	stored      int64
	moved       bool // written by a sweep: appends begin a new block
}

// A block is loaded as a whole.
const (
	blockRecords = 64
	blockBytes   = 256 << 10
)

// CreateStream makes an empty stream in a group that exists.
func (s *Store) CreateStream(_ context.Context, account, group, name string) error {
	row, err := s.group(account, group)
	if err != nil {
		return err
	}
	s.writes.Lock()
	_, made, err := s.stream(streamKey{account, group, name}, row.Value.ID)
	s.writes.Unlock()
	if err != nil {
		return fmt.Errorf("create log stream %s: %w", name, err)
	}
	if !made {
		return fmt.Errorf("create log stream %s: %w", name, ErrStreamExists)
	}
	return s.log.Sync()
}

// DeleteStream removes a stream with its events.
func (s *Store) DeleteStream(_ context.Context, account, group, name string) error {
	if _, err := s.group(account, group); err != nil {
		return err
	}
	s.writes.Lock()
	err := s.deleteStream(streamKey{account, group, name})
	s.writes.Unlock()
	if err != nil {
		return fmt.Errorf("delete log stream %s: %w", name, err)
	}
	return s.log.Sync()
}

func (s *Store) deleteStream(key streamKey) error {
	st := s.find(key)
	if st == nil {
		return ErrStreamNotFound
	}
	pos, err := s.log.Append(appendDeletion(nil, st.id))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tombs[st.id] = pos.Segment
	s.forget(st)
	return nil
}

// Streams returns the streams of a group whose names start with prefix, sorted by name.
func (s *Store) Streams(account, group, prefix string) ([]Stream, error) {
	row, err := s.group(account, group)
	if err != nil {
		return nil, err
	}
	cutoff := s.cutoff(row.Value)
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Stream
	for name, st := range s.byGroup[groupKey{account, group}] {
		if strings.HasPrefix(name, prefix) {
			out = append(out, st.shown(cutoff))
		}
	}
	slices.SortFunc(out, func(a, b Stream) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (st *stream) shown(cutoff int64) Stream {
	out := Stream{Name: st.key.name, Created: time.UnixMilli(st.created), Seq: st.lastSeq()}
	first, last, ingested := int64(maxTime), int64(minTime), int64(minTime)
	for _, b := range st.blocks {
		if b.max >= cutoff {
			first, last, ingested = min(first, max(b.min, cutoff)), max(last, b.max), max(ingested, b.ingested)
		}
	}
	if last != minTime {
		out.First, out.Last, out.LastIngested = time.UnixMilli(first), time.UnixMilli(last), time.UnixMilli(ingested)
	}
	return out
}

// lastSeq is the sequence number of the stream's last event or, before the first, its own.
func (st *stream) lastSeq() uint64 {
	if len(st.blocks) == 0 {
		return st.id
	}
	return st.blocks[len(st.blocks)-1].last
}

// find returns a stream, nil if there is none.
func (s *Store) find(key streamKey) *stream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.streams[key]
}

// stream returns a stream of a group, which it makes if there is none. It is called with writes
// held.
func (s *Store) stream(key streamKey, groupID string) (st *stream, made bool, err error) {
	if st := s.find(key); st != nil && st.groupID == groupID {
		return st, false, nil
	}
	// Whoever still has the ID of a group that was deleted must not put its stream in the place of
	// one that the group's successor has.
	if err := s.current(key, groupID); err != nil {
		return nil, false, err
	}
	if err := s.space(); err != nil {
		return nil, false, err
	}
	st = &stream{id: s.seq + 1, key: key, groupID: groupID, created: s.cfg.Now().UnixMilli()}
	pos, err := s.log.Append(st.record(nil))
	if err != nil {
		return nil, false, err
	}
	s.seq++
	st.home = pos.Segment
	s.mu.Lock()
	s.remember(st)
	s.mu.Unlock()
	// Whoever deletes the group either finds the stream, or has done so before this look.
	if err := s.current(key, groupID); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(st)
		return nil, false, err
	}
	return st, true, nil
}

// current returns an error unless the group of a stream is the one with the ID.
func (s *Store) current(key streamKey, groupID string) error {
	row, err := s.group(key.account, key.group)
	if err == nil && row.Value.ID != groupID {
		return errGroupReplaced
	}
	return err
}

// errGroupReplaced is of a group that was deleted and made again meanwhile.
var errGroupReplaced = fmt.Errorf("another group of this name: %w", ErrGroupNotFound)

// remember and forget are called with mu held.
func (s *Store) remember(st *stream) {
	s.streams[st.key] = st
	k := groupKey{st.key.account, st.key.group}
	if s.byGroup[k] == nil {
		s.byGroup[k] = map[string]*stream{}
	}
	s.byGroup[k][st.key.name] = st
}

func (s *Store) forget(st *stream) {
	st.gone = true
	if s.streams[st.key] != st {
		return
	}
	delete(s.streams, st.key)
	k := groupKey{st.key.account, st.key.group}
	if delete(s.byGroup[k], st.key.name); len(s.byGroup[k]) == 0 {
		delete(s.byGroup, k)
	}
}

// add indexes a record. A record among those of a block is one that a crashed sweep wrote and is
// passed over. It is called with mu held, or while nobody else knows the stream.
func (st *stream) add(e entry) {
	i, _ := slices.BinarySearchFunc(st.blocks, e.first, func(b *block, seq uint64) int {
		if b.last < seq {
			return -1
		}
		return 1
	})
	if i < len(st.blocks) && st.blocks[i].first <= e.first {
		return
	}
	st.stored += e.stored
	if i > 0 && st.blocks[i-1].takes(e) {
		st.blocks[i-1].add(e)
		return
	}
	b := &block{segment: e.pos.Segment, first: e.first, min: e.min, max: e.max, moved: e.moved != notMoved}
	b.add(e)
	st.blocks = slices.Insert(st.blocks, i, b)
}

// takes tells whether a record directly follows those of the block. Sweeps write a block's
// records together, in their order and all moved; only the first of them begins a block.
func (b *block) takes(e entry) bool {
	return b.segment == e.pos.Segment && len(b.offsets) < blockRecords && b.size < blockBytes &&
		b.moved == (e.moved == movedNext) && e.moved != movedFirst
}

func (b *block) add(e entry) {
	b.offsets = append(b.offsets, uint32(e.pos.Offset))
	b.last, b.ingested = e.last, max(b.ingested, e.ingested)
	b.min, b.max = min(b.min, e.min), max(b.max, e.max)
	b.size += e.size
	b.stored += e.stored
}
