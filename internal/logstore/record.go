package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"lambent.dev/lambent/internal/segment"
)

// The kinds of records. Numbers are varints, texts have their length before them.
const (
	recStream  = 1 // id, account, group, group's ID, name, created
	recDeleted = 2 // id
	recEvents  = 3 // how moved, stream's id, sequence number of the first, ingested, count; per event time after ingested, message
)

// Whether a sweep wrote a record, and as the first of a block.
const (
	notMoved = iota
	movedFirst
	movedNext
)

// perEvent is what AWS adds to the bytes of each event's message.
const perEvent = 26

// frame is what the log adds to each record.
const frame = 8

var errRecord = errors.New("malformed record")

// Event is one line of a log. Times are of milliseconds.
type Event struct {
	Time     time.Time
	Ingested time.Time // set by the store
	Message  string
}

// entry is a record of events as the index sees it.
type entry struct {
	pos         segment.Position
	stream      uint64
	moved       int
	first, last uint64
	min, max    int64
	ingested    int64
	size        int64
	stored      int64
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (st *stream) record(b []byte) []byte {
	b = binary.AppendUvarint(append(b, recStream), st.id)
	for _, s := range []string{st.key.account, st.key.group, st.groupID, st.key.name} {
		b = appendText(b, s)
	}
	return binary.AppendVarint(b, st.created)
}

func appendDeletion(b []byte, id uint64) []byte {
	return binary.AppendUvarint(append(b, recDeleted), id)
}

// appendEvents makes a record and what the index keeps of it, but for its position.
func appendEvents(b []byte, stream, first uint64, ingested int64, events []Event) ([]byte, entry) {
	start := len(b)
	e := entry{stream: stream, first: first, last: first + uint64(len(events)) - 1, min: maxTime, max: minTime, ingested: ingested}
	b = append(b, recEvents, notMoved)
	b = binary.AppendUvarint(b, stream)
	b = binary.AppendUvarint(b, first)
	b = binary.AppendVarint(b, ingested)
	b = binary.AppendUvarint(b, uint64(len(events)))
	for _, ev := range events {
		t := ev.Time.UnixMilli()
		e.min, e.max = min(e.min, t), max(e.max, t)
		e.stored += int64(len(ev.Message)) + perEvent
		b = appendText(binary.AppendVarint(b, t-ingested), ev.Message)
	}
	e.size = int64(len(b)-start) + frame
	return b, e
}

// setMoved marks a record of events as one that a sweep wrote.
func setMoved(rec []byte, how byte) { rec[1] = how }

// reader takes a record apart. After an error it reads zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	return r.advance(v, n)
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	return int64(r.advance(uint64(v), n))
}

func (r *reader) advance(v uint64, n int) uint64 {
	if n <= 0 || r.err != nil {
		r.b, r.err = nil, errRecord
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.b, r.err = nil, errRecord
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func readStream(rec []byte) (*stream, error) {
	r := reader{b: rec[1:]}
	st := &stream{id: r.uint()}
	st.key.account, st.key.group = string(r.bytes()), string(r.bytes())
	st.groupID, st.key.name = string(r.bytes()), string(r.bytes())
	st.created = r.int()
	return st, r.err
}

func readDeletion(rec []byte) (id uint64, err error) {
	r := reader{b: rec[1:]}
	return r.uint(), r.err
}

// readEvents calls fn, if it is not nil, for each event of a record.
func readEvents(rec []byte, fn func(seq uint64, at, ingested int64, message []byte)) (entry, error) {
	if len(rec) < 2 {
		return entry{}, errRecord
	}
	r := reader{b: rec[2:]}
	e := entry{moved: int(rec[1]), stream: r.uint(), first: r.uint(), ingested: r.int(), min: maxTime, max: minTime, size: int64(len(rec)) + frame}
	n := r.uint()
	if n == 0 || n > uint64(len(r.b)) {
		return entry{}, errRecord
	}
	e.last = e.first + n - 1
	for i := range n {
		t := e.ingested + r.int()
		m := r.bytes()
		if r.err != nil {
			return entry{}, r.err
		}
		e.min, e.max = min(e.min, t), max(e.max, t)
		e.stored += int64(len(m)) + perEvent
		if fn != nil {
			fn(e.first+i, t, e.ingested, m)
		}
	}
	return e, r.err
}

func recordError(pos segment.Position, err error) error {
	return fmt.Errorf("record at %d/%d: %w", pos.Segment, pos.Offset, err)
}
