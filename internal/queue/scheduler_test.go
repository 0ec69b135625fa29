package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/lifecycle"
)

var epoch = time.Unix(1_800_000_000, 0)

// add puts messages named group+number, due some seconds after epoch.
func (s *scheduler) add(now time.Time, names ...string) {
	for _, n := range names {
		name, due, _ := strings.Cut(n, "@")
		var seconds int
		fmt.Sscan(due, &seconds)
		s.put(&item{key: name, group: name[:1], rev: 1, due: epoch.Add(time.Duration(seconds) * time.Second).UnixNano()}, now)
	}
}

// drain claims everything that is due.
func (s *scheduler) drain() (got []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.turns.Len() > 0 {
		got = append(got, s.take().key)
	}
	return got
}

func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name, put, want string
	}{
		{"groups take turns", "a1 a2 a3 a4 b1 c1 c2", "a1 b1 c1 a2 c2 a3 a4"},
		{"earliest of a group first", "a3@3 a1@1 a2@2 b9@0", "a1 b9 a2 a3"},
		{"equal times by key", "a2 a1 a3", "a1 a2 a3"},
		{"later ones wait", "a1@11 b1@10 c1@60", "b1 a1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScheduler(0)
			s.add(epoch.Add(10*time.Second), strings.Fields(tt.put)...)
			s.advance(epoch.Add(20 * time.Second))
			if got := s.drain(); tt.want != strings.Join(got, " ") {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

func TestBurstDelaysNobody(t *testing.T) {
	s := newScheduler(0)
	for i := range 10_000 {
		s.add(epoch, fmt.Sprintf("a%05d", i))
	}
	s.add(epoch, "b1")
	if got := s.drain(); !slices.Contains(got[:2], "b1") {
		t.Errorf("one message after a burst of 10,000 of another group is number %d", slices.Index(got, "b1"))
	}
}

// TestSlowGroup: a group whose messages take long has no more claims than it may, whatever it has
// in store; each that ends makes room for one.
func TestSlowGroup(t *testing.T) {
	s := newScheduler(3)
	for i := range 10_000 {
		s.add(epoch, fmt.Sprintf("a%05d", i))
	}
	if got := s.drain(); len(got) != 3 {
		t.Fatalf("%d claims of one group", len(got))
	}
	s.add(epoch, "b1", "b2")
	if got := s.drain(); !slices.Equal(got, []string{"b1", "b2"}) {
		t.Errorf("beside a slow group: %v", got)
	}
	s.acked(s.items["a00000"])
	s.release(s.items["a00001"])
	if got := s.drain(); !slices.Equal(got, []string{"a00001", "a00003"}) {
		t.Errorf("after one claim has ended and one was given back: %v", got)
	}
	s.put(&item{key: "a00002", group: "a", rev: 2, due: epoch.Add(time.Minute).UnixNano()}, epoch) // a Nak
	if got := s.drain(); !slices.Equal(got, []string{"a00004"}) {
		t.Errorf("after one claim has ended in a Nak: %v", got)
	}
	s.retain(0, nil)
	if st := s.stats(); st != (Stats{}) || len(s.groups) != 0 || s.turns.Len() != 0 {
		t.Errorf("left after everything is removed: %+v, %v", st, s.groups)
	}
}

func TestAdvance(t *testing.T) {
	s := newScheduler(0)
	s.add(epoch, "a1@5", "a2@3", "b1@9")
	if got := s.drain(); len(got) != 0 {
		t.Errorf("delivered early: %v", got)
	}
	if next := s.advance(epoch.Add(3 * time.Second)); !next.Equal(epoch.Add(5 * time.Second)) {
		t.Errorf("next is %v", next)
	}
	if got := s.drain(); !slices.Equal(got, []string{"a2"}) {
		t.Errorf("at 3 s: %v", got)
	}
	// A clock that is set back delays what waits, and takes nothing back.
	s.advance(epoch.Add(-time.Hour))
	if next := s.advance(epoch.Add(time.Hour)); !next.IsZero() {
		t.Errorf("next after all is due: %v", next)
	}
	if got := s.drain(); !slices.Equal(got, []string{"a1", "b1"}) {
		t.Errorf("after an hour: %v", got)
	}
	if st := s.stats(); st.Depth != 3 || st.Claimed != 3 || st.Ready != 0 {
		t.Errorf("stats: %+v", st)
	}
}

func TestReplaceAndRemove(t *testing.T) {
	s := newScheduler(0)
	s.add(epoch, "a1", "a2", "b1@5")
	first := s.items["a1"]
	s.add(epoch, "a1") // the same revision
	if s.items["a1"] != first {
		t.Error("a listing replaces an item that has not changed")
	}
	got, err := s.claim(t.Context())
	if err != nil || got != first {
		t.Fatalf("claim: %v, %v", got, err)
	}
	s.put(&item{key: "a1", group: "a", rev: 2, due: epoch.Add(time.Minute).UnixNano()}, epoch)
	s.release(got) // of a claim that is void
	if got := s.drain(); !slices.Equal(got, []string{"a2"}) {
		t.Errorf("after a replacement that is due later: %v", got)
	}
	s.remove("a1")
	s.remove("a2")
	s.remove("unknown")
	s.retain(0, map[string]bool{})
	if st := s.stats(); st != (Stats{}) || len(s.groups) != 0 || s.turns.Len() != 0 || len(s.future) != 0 {
		t.Errorf("left after everything is removed: %+v, %v", st, s.groups)
	}
}

func TestClaimWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScheduler(0)
		var got []string
		claim := func() func() {
			return lifecycle.Go("claim", func() {
				it, err := s.claim(t.Context())
				if err == nil {
					got = append(got, it.key)
				}
			})
		}
		wait := claim()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var gaveUp error
		waitSecond := lifecycle.Go("claim", func() { _, gaveUp = s.claim(ctx) })
		synctest.Wait()
		cancel()
		waitSecond()
		if !errors.Is(gaveUp, context.Canceled) {
			t.Errorf("claim after its context ended: %v", gaveUp)
		}
		s.add(epoch, "a1", "a2")
		wait()
		if !slices.Equal(got, []string{"a1"}) || s.stats().Ready != 1 {
			t.Errorf("claimed %v; %+v", got, s.stats())
		}
		s.release(s.items["a1"])
		if got := s.drain(); !slices.Equal(got, []string{"a1", "a2"}) {
			t.Errorf("after a release: %v", got)
		}
	})
}

// TestBatches: what arrives during a commit goes together, but never twice the same key.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		release := make(chan struct{})
		b := newBatcher(func(_ context.Context, batch []*job) {
			sizes = append(sizes, len(batch))
			<-release
			answer(batch, nil)
		})
		var tasks lifecycle.Tasks
		do := func(key string, size int) {
			tasks.Go("job", func() {
				if err := b.do(t.Context(), &job{key: key, size: size}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		do("first", 1) // begins at once, alone
		for i := range maxBatch + 10 {
			do(fmt.Sprint(i), 1)
		}
		do("0", 1)
		do("big", maxBatchBytes)
		do("bigger", 2*maxBatchBytes)
		close(release)
		tasks.Wait()
		if want := []int{1, maxBatch, 11, 1, 1}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
	})
}

func FuzzDecode(f *testing.F) {
	value, err := encode(header{ID: "x", Account: "1", Group: "g", Due: 5, Attempts: 2, Published: 3}, []byte("body\nwith a line"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte("{}\n"))
	f.Add([]byte("no record"))
	f.Fuzz(func(t *testing.T, value []byte) {
		h, body, err := decode(value)
		if err != nil {
			return
		}
		again, err := encode(h, body)
		if err != nil {
			t.Fatal(err)
		}
		h2, body2, err := decode(again)
		if err != nil || h2 != h || string(body2) != string(body) {
			t.Errorf("%q: %+v %q became %+v %q (%v)", value, h, body, h2, body2, err)
		}
	})
}
