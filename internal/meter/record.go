package meter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"lambent.dev/lambent/internal/segment"
)

// Aborted is the Outcome of an invocation that was in flight when the server died. It is free.
const Aborted = "aborted"

// Record is one invocation.
type Record struct {
	RequestID, Account, Function, Version string

	Start          time.Time     // by the wall clock; the hour that the invocation is counted in
	Init, Duration time.Duration // Init is 0 unless the environment started for this invocation
	Billed         int64         // milliseconds

	Memory, EphemeralStorage int // MB
	Architecture, Outcome    string
	Cold                     bool
}

// Kinds of records in the log.
const (
	kindBegin  = 'B' // an invocation that the code is about to see
	kindEnd    = 'E' // its result, complete in itself, and where it began
	kindCancel = 'C' // no code saw it after all
)

var errRecord = errors.New("record is malformed")

// entry is a record of the log.
type entry struct {
	kind  byte
	begun segment.Position // of an end: where its begin is; zero when that could not be written
	Record
}

// encode appends an entry to buf: the kind, the place of the begin, numbers as varints, texts with
// their lengths before them.
func (e *entry) encode(buf []byte) []byte {
	buf = append(buf, e.kind)
	buf = binary.AppendUvarint(buf, e.begun.Segment)
	buf = binary.AppendVarint(buf, e.begun.Offset)
	if e.kind == kindCancel {
		return buf
	}
	for _, n := range [...]int64{
		e.Start.UnixNano(), int64(e.Init), int64(e.Duration), e.Billed, int64(e.Memory), int64(e.EphemeralStorage), flag(e.Cold),
	} {
		buf = binary.AppendVarint(buf, n)
	}
	for _, s := range [...]string{e.RequestID, e.Account, e.Function, e.Version, e.Architecture, e.Outcome} {
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	return buf
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// reader takes an entry apart; after the first fault everything is zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) number() int64 {
	n, size := binary.Varint(r.rest)
	return taken(r, n, size)
}

func (r *reader) unsigned() uint64 {
	n, size := binary.Uvarint(r.rest)
	return taken(r, n, size)
}

func taken[N int64 | uint64](r *reader, n N, size int) N {
	if size <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) text() string {
	n := r.unsigned()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

// decode reads what encode wrote.
func decode(rec []byte) (e entry, err error) {
	if len(rec) == 0 {
		return e, errRecord
	}
	r := &reader{rest: rec[1:]}
	e.kind = rec[0]
	e.begun = segment.Position{Segment: r.unsigned(), Offset: r.number()}
	switch e.kind {
	case kindCancel:
	case kindBegin, kindEnd:
		e.Start = time.Unix(0, r.number()).UTC()
		e.Init, e.Duration, e.Billed = time.Duration(r.number()), time.Duration(r.number()), r.number()
		e.Memory, e.EphemeralStorage, e.Cold = int(r.number()), int(r.number()), r.number() == 1
		for _, s := range []*string{&e.RequestID, &e.Account, &e.Function, &e.Version, &e.Architecture, &e.Outcome} {
			*s = r.text()
		}
	default:
		return e, fmt.Errorf("%w: kind %d", errRecord, e.kind)
	}
	if r.bad || len(r.rest) > 0 {
		return e, errRecord
	}
	return e, nil
}
