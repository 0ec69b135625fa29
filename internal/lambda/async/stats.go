package async

import "sync/atomic"

type counts struct{ retried, dropped atomic.Uint64 }

// Stats counts what became of events since the start.
type Stats struct {
	Retried uint64 // attempts that another follows
	Dropped uint64 // events given up
}

// Stats counts.
func (q *Queue) Stats() Stats {
	return Stats{Retried: q.counts.retried.Load(), Dropped: q.counts.dropped.Load()}
}
