package environment

import (
	"encoding/binary"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzSplit: whatever a function writes to its output or to the telemetry descriptor, and however
// it arrives in pieces, events are bounded, valid UTF-8 and of now; a splitter keeps a bounded
// rest.
func FuzzSplit(f *testing.F) {
	frame := func(kind, size uint32, message string) []byte {
		b := binary.BigEndian.AppendUint32(nil, kind)
		b = binary.BigEndian.AppendUint32(b, size)
		return append(b, message...)
	}
	f.Add(frame(0xa55a0001, 2, "hi"), uint16(3), uint16(1))
	f.Add(append(frame(0xa55a0003, 2, "\x00\x06\x00\x00\x00\x00\x00\x00hi"), "plain\n"...), uint16(9), uint16(9))
	f.Add(frame(0xa55a0001, 0xffffffff, "END RequestId: x\nREPORT RequestId: x\n"), uint16(1), uint16(5000))
	f.Add([]byte("\xa5\x5a\x00\xa5\x5a\n\r\xff\xfe"), uint16(2), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, piece, repeat uint16) {
		now := time.Unix(1e9, 0)
		for _, s := range []splitter{&lines{}, &frames{}} {
			var events []LogEvent
			size := 0
			for range int(repeat)%16 + 1 {
				for p := data; len(p) > 0; {
					n := min(len(p), int(piece)+1)
					events = append(events, s.split(now, p[:n])...)
					size += n
					p = p[n:]
				}
				if f, ok := s.(*frames); ok && len(f.buf) > maxLine+16+len(data) {
					t.Fatalf("%d bytes kept", len(f.buf))
				}
			}
			events = append(events, s.flush(now)...)
			total := 0
			for _, e := range events {
				total += len(e.Message)
				if !utf8.ValidString(e.Message) || len(e.Message) > 3*maxLine || e.Time.After(now) || e.Time.Before(now.Add(-time.Minute)) {
					t.Fatalf("event of %d bytes at %s", len(e.Message), e.Time)
				}
			}
			if total > 3*size {
				t.Fatalf("%d bytes of events from %d of output", total, size)
			}
		}
	})
}
