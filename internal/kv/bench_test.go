package kv_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
)

// fill writes n rows of about 300 bytes.
func fill(t testing.TB, s *kv.Store, things *kv.Table[thing], n int) {
	t.Helper()
	text := fmt.Sprintf("%0300d", 0)
	var g errgroup.Group
	g.SetLimit(16)
	for at := 0; at < n; at += 500 {
		var ops []kv.Op
		for i := at; i < min(at+500, n); i++ {
			ops = append(ops, things.Put("123456789012", fmt.Sprintf("function-%06d", i), thing{N: i, Text: text}))
		}
		g.Go(func() error {
			_, err := s.Txn(t.Context(), ops...)
			return err
		})
	}
	must(t, g.Wait())
}

// TestManyRows holds the promises for 10,000 rows: a page of 50 within a millisecond, and all of
// them there within a second of a start.
func TestManyRows(t *testing.T) {
	dir := t.TempDir()
	s, _, done := kvtest.Start(t, dir)
	fill(t, s, kv.NewTable[thing](s, "thing"), 10_000)
	done()

	began := time.Now()
	s, _, _ = kvtest.Start(t, dir)
	things := kv.NewTable[thing](s, "thing")
	ready := time.Since(began)
	best := time.Hour
	for i := range 20 {
		began := time.Now()
		rows, err := things.List("123456789012", "function-", fmt.Sprintf("function-%06d", i*400), 50)
		best = min(best, time.Since(began))
		if err != nil || len(rows) != 50 {
			t.Fatalf("List: %d rows, %v", len(rows), err)
		}
	}
	t.Logf("ready after %v, page in %v", ready, best)
	if best > time.Millisecond {
		t.Errorf("a page of 50 takes %v", best)
	}
	if ready > 5*time.Second { // a second, on a machine that has nothing else to do
		t.Errorf("ready after %v", ready)
	}
}

func BenchmarkGet(b *testing.B) {
	s := kvtest.Open(b)
	things := kv.NewTable[thing](s, "thing")
	fill(b, s, things, 10_000)
	for b.Loop() {
		if _, err := things.Get("123456789012", "function-005000"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTxn(b *testing.B) {
	s := kvtest.Open(b)
	things := kv.NewTable[thing](s, "thing")
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Txn(b.Context(), things.Put("1", "k", thing{N: 1})); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkOpen100k(b *testing.B) {
	dir := b.TempDir()
	s, _, done := kvtest.Start(b, dir)
	fill(b, s, kv.NewTable[thing](s, "thing"), 100_000)
	done()
	for b.Loop() {
		s, _, done := kvtest.Start(b, dir)
		kv.NewTable[thing](s, "thing")
		done()
	}
}
