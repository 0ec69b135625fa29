package environment

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// messages feeds input in pieces and returns what comes out, the rest included.
func messages(s splitter, pieces ...[]byte) (out []string) {
	now := time.Now()
	for _, p := range pieces {
		for _, e := range s.split(now, p) {
			out = append(out, e.Message)
		}
	}
	for _, e := range s.flush(now) {
		out = append(out, e.Message)
	}
	return out
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{"lines", []string{"a\nb\n\nc"}, []string{"a\n", "b\n", "\n", "c"}},
		{"torn", []string{"a", "b\nc", "\n"}, []string{"ab\n", "c\n"}},
		{"carriage returns", []string{"1%\r2%\r\n"}, []string{"1%\r2%\r\n"}},
		{"too long", []string{long + "yz\n"}, []string{long, "yz\n"}},
		{"too long, torn", []string{long[1:], "xy", "z\n"}, []string{long, "yz\n"}},
		{"no UTF-8", []string{"a\xffb\n"}, []string{"a\uFFFDb\n"}},
		{"nothing", nil, nil},
	} {
		var in [][]byte
		for _, s := range tc.in {
			in = append(in, []byte(s))
		}
		if d := cmp.Diff(tc.want, messages(&lines{}, in...)); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

func frame(kind uint32, at time.Time, text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	if kind&2 != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro()))
	}
	return append(b, text...)
}

// TestFrames tears a stream of frames and other bytes at random places: the events are the same.
func TestFrames(t *testing.T) {
	now := time.Now()
	all := slices.Concat(
		frame(0xa55a0003, now, "two\nlines\n"), frame(0xa55a0001, now, "old kind\n"), []byte("no frame\n"), frame(0xa55a001b, now, "level\n"),
		[]byte("ends in a5: \xa5\x5a\n"), frame(0xa55a0002, now, `{"json":1}`), frame(0xa55a0003, now, ""), []byte("\xa5\xa5\x5a"), []byte("\x01\n"),
		frame(0xa55a0003, now, "last"),
	)
	want := messages(&frames{}, all)
	if d := cmp.Diff([]string{
		"two\nlines\n", "old kind\n", "no frame\n", "level\n", "ends in a5: \uFFFDZ\n", `{"json":1}`, "\uFFFDZ\x01\n", "last",
	}, want); d != "" {
		t.Error(d)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var pieces [][]byte
		for rest := all; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 12))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		if d := cmp.Diff(want, messages(&frames{}, pieces...)); d != "" {
			t.Fatalf("torn differently: %s", d)
		}
	}
}

func TestFrameTimesAreBelievedWithinReason(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct{ at, want time.Time }{
		{now.Add(-time.Second), now.Add(-time.Second)}, {now.Add(time.Second), now}, {now.Add(-time.Hour), now},
	} {
		events := (&frames{}).split(now, frame(0xa55a0003, tc.at, "x"))
		if len(events) != 1 || events[0].Time.UnixMicro() != tc.want.UnixMicro() {
			t.Errorf("%v: %v", tc.at, events)
		}
	}
}

// TestFramesAreBounded: a frame that claims to be huge is output like any other.
func TestFramesAreBounded(t *testing.T) {
	f := &frames{}
	huge := binary.BigEndian.AppendUint32(frame(0xa55a0003, time.Now(), "")[:4], 1<<31)
	chunk := append(huge, bytes.Repeat([]byte("y"), 1<<16)...)
	for range 64 {
		f.split(time.Now(), chunk)
		if n := cap(f.buf) + cap(f.plain.partial); n > 4*maxLine {
			t.Fatalf("%d bytes kept", n)
		}
	}
}

func TestReportLine(t *testing.T) {
	for _, tc := range []struct {
		r    report
		want string
	}{
		{
			report{requestID: "id", duration: 3010 * time.Microsecond, memory: 128, used: 36, init: 110100 * time.Microsecond},
			"REPORT RequestId: id\tDuration: 3.01 ms\tBilled Duration: 114 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 110.10 ms\t\n",
		},
		{
			report{requestID: "id", duration: 2 * time.Millisecond, memory: 128, used: 36},
			"REPORT RequestId: id\tDuration: 2.00 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\t\n",
		},
		{
			report{requestID: "id", duration: 3 * time.Second, memory: 128, used: 36, failure: timedOut(3 * time.Second)},
			"REPORT RequestId: id\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tStatus: timeout\n",
		},
	} {
		if d := cmp.Diff(tc.want, tc.r.line()); d != "" {
			t.Error(d)
		}
	}
}

func TestShares(t *testing.T) {
	for _, tc := range []struct{ memory, share, cores int }{
		{128, 72, 2}, {884, 499, 2}, {1769, 1000, 2}, {3538, 2000, 2}, {3539, 2000, 3}, {10240, 5788, 6},
	} {
		if share(tc.memory) != tc.share || cores(tc.memory) != tc.cores {
			t.Errorf("%d MB: %d milli-cores, %d cores", tc.memory, share(tc.memory), cores(tc.memory))
		}
	}
}
