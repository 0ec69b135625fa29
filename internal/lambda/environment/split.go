package environment

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxLine is the longest log event made of function output; longer lines are split.
const maxLine = 256 << 10

// A splitter makes events of the bytes of a pipe. It keeps at most maxLine bytes.
type splitter interface {
	// split returns the events that p completes.
	split(now time.Time, p []byte) []LogEvent
	// flush returns what is pending as an event.
	flush(now time.Time) []LogEvent
}

// lines splits standard output and standard error: an event ends with its line break.
//
// AWS: a carriage return does not split (recorded).
type lines struct{ partial []byte }

func (l *lines) split(now time.Time, p []byte) (events []LogEvent) {
	s := string(p) // one copy for all lines in it
	events = slices.Grow(events, strings.Count(s, "\n"))
	for len(s) > 0 {
		n := strings.IndexByte(s, '\n') + 1
		whole := n > 0
		if !whole {
			n = len(s)
		}
		if room := maxLine - len(l.partial); n > room {
			n, whole = room, true
		}
		if !whole {
			l.partial = append(l.partial, s[:n]...)
			break
		}
		events = append(events, LogEvent{now, text(l.partial, s[:n])})
		l.partial, s = l.partial[:0], s[n:]
	}
	if cap(l.partial) > 16<<10 && len(l.partial) == 0 {
		l.partial = nil // an idle environment keeps no large buffer
	}
	return events
}

func (l *lines) flush(now time.Time) []LogEvent {
	if len(l.partial) == 0 {
		return nil
	}
	e := LogEvent{now, text(l.partial, "")}
	l.partial = nil
	return []LogEvent{e}
}

// text is a and b as valid UTF-8. It is called for every line that functions print.
func text(a []byte, b string) string {
	s := b
	if len(a) > 0 {
		s = string(a) + b
	}
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// frames splits AWS's telemetry log descriptor: each frame is one event, of many lines perhaps.
//
// A frame is a type of 4 bytes (0xa55a00xx: bits 2-5 are a level, bit 0 says text rather than
// JSON), a length of 4 bytes, for types 2 and 3 a time stamp of 8 bytes in microseconds, all
// big-endian, then the message. What is no frame is a line: code may write what it likes to
// the descriptor and can only spoil its own log.
type frames struct {
	buf   []byte
	plain lines
}

const frameMagic = 0xa55a0000

func (f *frames) split(now time.Time, p []byte) (events []LogEvent) {
	f.buf = append(f.buf, p...)
	rest := f.buf
	for {
		event, n, ok := f.frame(now, rest)
		if !ok {
			break
		}
		rest = rest[n:]
		events = append(events, event...)
	}
	if len(rest) == 0 && cap(f.buf) > 16<<10 {
		f.buf = nil
	} else {
		f.buf = append(f.buf[:0], rest...)
	}
	return events
}

// frame reads one frame from the start of p; false when it is not complete.
func (f *frames) frame(now time.Time, p []byte) (events []LogEvent, n int, ok bool) {
	if len(p) < 4 {
		return nil, 0, false
	}
	kind := binary.BigEndian.Uint32(p)
	if kind&^0xff != frameMagic {
		return f.junk(now, p)
	}
	head := 8
	if kind&2 != 0 {
		head = 16
	}
	if len(p) < head {
		return nil, 0, false
	}
	size := binary.BigEndian.Uint32(p[4:])
	if size > maxLine {
		// No client of AWS's writes such a frame in one piece: not a frame.
		return f.junk(now, p)
	}
	if len(p) < head+int(size) {
		return nil, 0, false
	}
	at := now
	if head == 16 {
		at = plausible(time.UnixMicro(int64(binary.BigEndian.Uint64(p[8:]))), now)
	}
	if size == 0 {
		return nil, head, true
	}
	return []LogEvent{{at, text(p[head:head+int(size)], "")}}, head + int(size), true
}

// junk takes bytes up to the next possible start of a frame as plain output.
func (f *frames) junk(now time.Time, p []byte) ([]LogEvent, int, bool) {
	magic := [3]byte{0xa5, 0x5a, 0x00}
	n := 1
	for n < len(p) {
		i := bytes.IndexByte(p[n:], magic[0])
		if i < 0 {
			n = len(p)
			break
		}
		n += i
		if k := min(len(magic), len(p)-n); bytes.Equal(p[n:n+k], magic[:k]) {
			break // it may be torn: the rest decides
		}
		n++
	}
	return f.plain.split(now, p[:n]), n, true
}

func (f *frames) flush(now time.Time) []LogEvent {
	events := f.plain.flush(now)
	if len(f.buf) > 0 && f.buf[0] != 0xa5 {
		events = append(events, LogEvent{now, text(f.buf, "")})
		f.buf = nil
	}
	return events
}

// plausible keeps code from writing events into the past or the future.
func plausible(at, now time.Time) time.Time {
	if at.After(now) || at.Before(now.Add(-time.Minute)) {
		return now
	}
	return at
}
