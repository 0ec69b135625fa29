package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/lifecycle"
)

const (
	maxBatch      = 128              // operations of a transaction
	maxBatchBytes = 1 << 20          // of their values
	commitTimeout = 10 * time.Second // a commit outlives the callers that wait for it, but not for ever
)

// job is one write that shares a transaction with others.
type job struct {
	key   string
	op    clientv3.Op
	size  int
	owner *owner // whose fence must hold; nil for a publish, which anyone may do
	done  chan error
}

// owner is the right to change messages of a shard.
type owner struct {
	key   string
	fence int64 // revision that wrote key
}

// batcher puts concurrent jobs into common transactions, one transaction at a time. It has a
// goroutine only while there is something to commit.
type batcher struct {
	commit func(ctx context.Context, batch []*job)

	mu      sync.Mutex // guards what follows
	pending []*job
	running bool
}

func newBatcher(commit func(ctx context.Context, batch []*job)) *batcher {
	return &batcher{commit: commit}
}

// do returns when all jobs are committed, with the first error of one. When ctx ends first, the
// jobs may be committed all the same.
func (b *batcher) do(ctx context.Context, jobs ...*job) error {
	for _, j := range jobs {
		j.done = make(chan error, 1)
	}
	b.mu.Lock()
	b.pending = append(b.pending, jobs...)
	if !b.running && len(b.pending) > 0 {
		b.running = true
		// Nobody waits for this goroutine as such: whoever needs its work waits for the jobs.
		lifecycle.Go("queue batch", b.drain)
	}
	b.mu.Unlock()
	var first error
	for _, j := range jobs {
		select {
		case err := <-j.done:
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return first
}

func (b *batcher) drain() {
	for {
		batch := b.next()
		if len(batch) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		b.commit(ctx, batch)
		cancel()
	}
}

// next takes the jobs of the next transaction, in order of arrival. A transaction can write a key
// only once, so a second job for one waits, and those after it do not.
func (b *batcher) next() (batch []*job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := map[string]bool{}
	size := 0
	rest := b.pending[:0:0]
	for i, j := range b.pending {
		if len(batch) == maxBatch || size+j.size > maxBatchBytes && len(batch) > 0 {
			rest = append(rest, b.pending[i:]...)
			break
		}
		if keys[j.key] {
			rest = append(rest, j)
			continue
		}
		keys[j.key] = true
		size += j.size
		batch = append(batch, j)
	}
	b.pending = rest
	b.running = len(batch) > 0
	return batch
}

// commit writes a batch and answers every job of it. A fence that does not hold, or a full engine,
// refuses the whole transaction: then the jobs of each owner, and the publishes, go on their own.
func (q *Queue) commit(ctx context.Context, batch []*job) {
	parts := map[owner][]*job{}
	var cmps []clientv3.Cmp
	var ops []clientv3.Op
	for _, j := range batch {
		o := owner{}
		if j.owner != nil {
			o = *j.owner
		}
		if _, seen := parts[o]; !seen && j.owner != nil {
			cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(o.key), "=", o.fence))
		}
		parts[o] = append(parts[o], j)
		ops = append(ops, j.op)
	}
	resp, err := q.cfg.Client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	switch {
	case err == nil && resp.Succeeded:
		for i, j := range batch {
			if own := resp.Responses[i].GetResponseTxn(); own != nil && !own.Succeeded {
				j.done <- ErrLost
				continue
			}
			j.done <- nil
		}
	case len(parts) > 1 && (err == nil || errors.Is(err, rpctypes.ErrNoSpace)):
		for _, part := range parts {
			q.commit(ctx, part)
		}
	case err == nil:
		answer(batch, ErrLost)
	default:
		answer(batch, translate(err))
	}
}

func answer(batch []*job, err error) {
	for _, j := range batch {
		j.done <- err
	}
}
