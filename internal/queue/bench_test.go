package queue_test

import (
	"sync/atomic"
	"testing"

	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/queue"
)

// BenchmarkPublish has 32 clients publish; every publish is durable when it returns.
func BenchmarkPublish(b *testing.B) {
	q := start(b, nil)
	body := make([]byte, 256)
	b.SetParallelism(16) // times the cores
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := q.Publish(b.Context(), queue.Message{Account: "1", Group: "g", Body: body}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkCycle has 32 clients publish and 32 workers claim and ack.
func BenchmarkCycle(b *testing.B) {
	q := start(b, nil)
	body := make([]byte, 256)
	var left atomic.Int64
	left.Store(int64(b.N))
	var tasks lifecycle.Tasks
	b.ResetTimer()
	for range 32 {
		tasks.Go("worker", func() {
			for left.Add(-1) >= 0 {
				d, err := q.Claim(b.Context())
				if err != nil {
					b.Error(err)
					return
				}
				if err := d.Ack(b.Context()); err != nil {
					b.Error(err)
				}
			}
		})
	}
	var put atomic.Int64
	for range 32 {
		tasks.Go("client", func() {
			for put.Add(1) <= int64(b.N) {
				if err := q.Publish(b.Context(), queue.Message{Account: "1", Group: "g", Body: body}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	tasks.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cycles/s")
}
