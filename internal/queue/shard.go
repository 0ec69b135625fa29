package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/lifecycle"
)

const (
	leaseSeconds = 5   // how long a dead owner's shards wait for another node
	listPage     = 500 // records of one read; they can have 16 KiB each
	retryAfter   = 200 * time.Millisecond
	clockEvery   = time.Second // how long a step of the wall clock may go unnoticed
)

// Run owns the shards that no other node owns, and delivers their messages, until ctx ends. Then
// it gives them up: Ack and Nak of claims that are still open are ErrLost.
func (q *Queue) Run(ctx context.Context) error {
	var tasks lifecycle.Tasks
	tasks.Go("queue clock", func() { q.clock(ctx) })
	for ctx.Err() == nil {
		if err := q.term(ctx); err != nil && ctx.Err() == nil {
			q.cfg.Logger.Warn("queue lost its shards", "queue", q.cfg.Name, "err", err)
			pause(ctx, retryAfter)
		}
	}
	tasks.Wait()
	return nil
}

// clock delivers messages as they become due.
func (q *Queue) clock(ctx context.Context) {
	for ctx.Err() == nil {
		now := q.cfg.Now()
		wait := clockEvery
		if next := q.sched.advance(now); !next.IsZero() {
			wait = min(wait, max(next.Sub(now), 0)+time.Microsecond)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-q.sched.kick:
		}
		timer.Stop()
	}
}

// term owns shards for as long as one lease lives.
func (q *Queue) term(ctx context.Context) error {
	lease, err := q.cfg.Client.Grant(ctx, leaseSeconds)
	if err != nil {
		return fmt.Errorf("grant lease: %w", err)
	}
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	alive, err := q.cfg.Client.KeepAlive(own, lease.ID)
	if err != nil {
		return fmt.Errorf("keep lease: %w", err)
	}
	var tasks lifecycle.Tasks
	for shard := range q.cfg.Shards {
		tasks.Go("queue shard", func() { q.own(own, lease.ID, shard) })
	}
	for range alive {
	}
	cancel()
	tasks.Wait()
	// ctx has probably ended, and the shards should not wait for the lease to run out.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	if _, err := q.cfg.Client.Revoke(last, lease.ID); err != nil {
		q.cfg.Logger.Debug("queue lease is not revoked", "queue", q.cfg.Name, "err", err)
	}
	return errors.New("lease ended")
}

// own acquires a shard and serves it, again and again until ctx ends.
func (q *Queue) own(ctx context.Context, lease clientv3.LeaseID, shard int) {
	for ctx.Err() == nil {
		fence, err := q.acquire(ctx, lease, shard)
		if err == nil {
			err = q.serve(ctx, shard, fence)
			q.sched.retain(shard, nil)
		}
		if err != nil && ctx.Err() == nil {
			q.cfg.Logger.Warn("queue shard is not served", "queue", q.cfg.Name, "shard", shard, "err", err)
			pause(ctx, retryAfter)
		}
	}
}

// acquire waits until the shard is free and takes it. The fence is the revision that wrote the
// owner's key, which no later owner can have.
func (q *Queue) acquire(ctx context.Context, lease clientv3.LeaseID, shard int) (fence int64, err error) {
	key := q.ownerKey(shard)
	seen := int64(0) // no key
	for {
		resp, err := q.cfg.Client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", seen)).
			Then(clientv3.OpPut(key, q.cfg.Node, clientv3.WithLease(lease))).
			Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return 0, fmt.Errorf("acquire: %w", err)
		}
		if resp.Succeeded {
			return resp.Header.Revision, nil
		}
		seen = 0
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			if string(kv.Value) == q.cfg.Node && kv.ModRevision <= q.opened {
				// An earlier life of this node, which kill -9 ended: nobody needs to wait for
				// its lease.
				seen = kv.ModRevision
			} else if err := q.vacated(ctx, key, resp.Header.Revision); err != nil {
				return 0, fmt.Errorf("acquire: %w", err)
			}
		}
	}
}

// vacated waits for a change of an owner's key after rev.
func (q *Queue) vacated(ctx context.Context, key string, rev int64) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range q.cfg.Client.Watch(watching, key, clientv3.WithRev(rev+1)) {
		if err := resp.Err(); err != nil {
			return err
		}
		if len(resp.Events) > 0 {
			return nil
		}
	}
	return ctx.Err()
}

// serve loads a shard and follows it until the shard is lost or ctx ends.
func (q *Queue) serve(ctx context.Context, shard int, fence int64) error {
	for {
		keep := map[string]bool{}
		rev, err := q.list(ctx, shard, func(key string, rev int64, h header) {
			keep[key] = true
			q.put(shard, fence, key, rev, h)
		})
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue
		}
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		q.sched.retain(shard, keep)
		// What happened to the owner's key between acquire and this revision is not followed.
		held, err := q.cfg.Client.Get(ctx, q.ownerKey(shard), clientv3.WithRev(rev))
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			return fmt.Errorf("load: %w", err)
		}
		if err == nil && (len(held.Kvs) == 0 || held.Kvs[0].ModRevision != fence) {
			return nil
		}
		// Falling behind the engine's history means to load again.
		if err := q.follow(ctx, shard, fence, rev); !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
	}
}

// list reads the headers of a shard's records as they are at one revision.
func (q *Queue) list(ctx context.Context, shard int, fn func(key string, rev int64, h header)) (rev int64, err error) {
	from := q.messages(shard)
	end := clientv3.GetPrefixRangeEnd(from)
	for {
		resp, err := q.cfg.Client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(rev))
		if err != nil {
			return 0, err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			from = string(kv.Key) + "\x00"
			if h, ok := q.parse(kv); ok {
				fn(string(kv.Key), kv.ModRevision, h)
			}
		}
		if !resp.More {
			return rev, nil
		}
	}
}

// parse reads a record's header. One that cannot be read stays where it is, and the log says so.
func (q *Queue) parse(kv *mvccpb.KeyValue) (header, bool) {
	h, _, err := decode(kv.Value)
	if err != nil {
		q.cfg.Logger.Error("message cannot be read", "queue", q.cfg.Name, "key", string(kv.Key), "err", err)
	}
	return h, err == nil
}

func (q *Queue) put(shard int, fence int64, key string, rev int64, h header) {
	q.sched.put(&item{
		key: key, group: h.Account + "/" + h.Group, shard: shard, fence: fence, rev: rev,
		due: h.Due, from: h.Written, published: h.Published,
	}, q.cfg.Now())
}

// follow tells the scheduler of every change of a shard after rev. It returns nil when the shard
// is no longer this owner's.
func (q *Queue) follow(ctx context.Context, shard int, fence, rev int64) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	owner := q.ownerKey(shard)
	for resp := range q.cfg.Client.Watch(watching, q.shardPrefix(shard), clientv3.WithPrefix(), clientv3.WithRev(rev+1)) {
		if err := resp.Err(); err != nil {
			return err
		}
		for _, e := range resp.Events {
			key := string(e.Kv.Key)
			switch {
			case key == owner:
				return nil
			case e.Type == mvccpb.DELETE:
				q.sched.remove(key)
			default:
				if h, ok := q.parse(e.Kv); ok {
					q.put(shard, fence, key, e.Kv.ModRevision, h)
				}
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("watch ended")
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
