package logstore

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestFull: a full disk refuses events, groups and streams, and nothing else; room heals it.
func TestFull(t *testing.T) {
	st := start(t)
	full := false
	st.Store.cfg.Full = func() bool { return full }
	st.append("g", "s", epoch, "kept")
	full = true
	for what, err := range map[string]error{
		"append":      st.Append(t.Context(), account, "g", "s", []Event{{Time: epoch, Message: "x"}}),
		"append anew": st.Append(t.Context(), account, "new", "s", []Event{{Time: epoch, Message: "x"}}),
		"stream":      st.CreateStream(t.Context(), account, "g", "other"),
		"group":       st.CreateGroup(t.Context(), Group{Account: account, Name: "other"}),
		"put":         func() error { _, err := st.Put(t.Context(), account, "g", "s", []Event{{Time: epoch}}); return err }(),
	} {
		if !errors.Is(err, ErrFull) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	check(t, st.SetRetention(t.Context(), account, "g", 7))
	st.want(Query{Group: "g"}, "kept")
	full = false
	st.append("g", "s", epoch, "more")
	st.want(Query{Group: "g"}, "kept", "more")
}

// TestOffer: what a full disk does not take is counted, and said once.
func TestOffer(t *testing.T) {
	st := start(t)
	var out strings.Builder
	st.Store.cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
	full := true
	st.Store.cfg.Full = func() bool { return full }
	for i := range 5 {
		check(t, st.Offer(t.Context(), account, "g", fmt.Sprint(i), []Event{{Time: epoch, Message: "a"}, {Time: epoch, Message: "b"}}))
	}
	full = false
	check(t, st.Offer(t.Context(), account, "g", "s", []Event{{Time: epoch, Message: "kept"}}))
	if got := st.Stats().Dropped; got != 10 {
		t.Errorf("%d events were dropped", got)
	}
	if n := strings.Count(out.String(), "level=WARN"); n != 1 || strings.Count(out.String(), "stored again") != 1 {
		t.Errorf("the log says:\n%s", out.String())
	}
	st.want(Query{Group: "g"}, "kept")
}

// TestBudget: however much is written, the log stays within its budget, the newest events stay,
// one warning tells of the others, and a new start finds the same.
func TestBudget(t *testing.T) {
	st := start(t)
	var out strings.Builder
	st.cfg.MaxBytes = 64 << 10
	st.cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
	st.reopen()
	check(t, st.CreateGroup(t.Context(), Group{Account: account, Name: "g"}))
	check(t, st.CreateStream(t.Context(), account, "g", "empty"))
	text := strings.Repeat("x", 1000)
	const events = 1000
	for i := range events {
		at := epoch.Add(time.Duration(i) * time.Second)
		st.append("g", fmt.Sprint("s", i/100), at, fmt.Sprintf("%04d %s", i, text))
		if n := st.Stats().Bytes; n > 64<<10 {
			t.Fatalf("after %d events: %d bytes", i, n)
		}
	}
	if n := strings.Count(out.String(), "disk budget of logs is used up"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, out.String())
	}
	kept := st.messages(Query{Group: "g"})
	if len(kept) < 40 || !strings.HasPrefix(kept[0], fmt.Sprintf("%04d", events-len(kept))) {
		t.Errorf("%d events are left, from %.4s", len(kept), kept[0])
	}
	streams, err := st.Streams(account, "g", "")
	check(t, err)
	var names []string
	for _, s := range streams {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "empty s9" {
		t.Errorf("streams: %s", got)
	}
	g, err := st.Group(account, "g")
	check(t, err)
	if want := int64(len(kept) * (1005 + perEvent)); g.Bytes != want {
		t.Errorf("the group has %d bytes, want %d", g.Bytes, want)
	}
	st.reopen()
	st.want(Query{Group: "g"}, kept...)
}

// TestBudgetShrinks: a start with a smaller budget meets it at its first sweep.
func TestBudgetShrinks(t *testing.T) {
	st := start(t)
	for i := range 100 {
		st.append("g", "s", epoch.Add(time.Duration(i)*time.Second), strings.Repeat("x", 1000))
	}
	st.cfg.MaxBytes = 32 << 10
	st.reopen()
	check(t, st.Sweep(t.Context()))
	if n := st.Stats().Bytes; n > 32<<10 {
		t.Errorf("%d bytes", n)
	}
	st.append("g", "s", epoch.Add(time.Hour), "last")
	if got := st.messages(Query{Group: "g"}); got[len(got)-1] != "last" {
		t.Errorf("the last event is gone")
	}
}

// TestHold: while segments are held for a copy, none goes, whatever the budget and retention say, and
// writers are not held up; what was due happens afterwards.
func TestHold(t *testing.T) {
	st := start(t)
	st.cfg.MaxBytes = 32 << 10
	st.reopen()
	release := st.Hold()
	before := st.log.Segments()
	for i := range 100 {
		st.append("g", "s", epoch.Add(time.Duration(i)*time.Second), strings.Repeat("x", 1000))
	}
	held := st.log.Segments()
	if len(held) < 100*1000/(4<<10) || held[0].ID != before[0].ID {
		t.Errorf("%d segments are left, from %d", len(held), held[0].ID)
	}
	release()
	check(t, st.Sweep(t.Context()))
	if n := st.Stats().Bytes; n > 32<<10 {
		t.Errorf("%d bytes after the copy", n)
	}
}
