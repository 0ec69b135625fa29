package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/blob"
)

// Delivery is a claimed message. Whoever claimed it must end it with Ack, Nak, Fail or
// Release; when Ack, Nak or Fail fails with anything but ErrLost, it may be called again.
type Delivery struct {
	Message
	q    *Queue
	item *item
	head header
	body []byte // as it stands in the record
}

// Claim blocks until a message is due, or ctx ends.
func (q *Queue) Claim(ctx context.Context) (*Delivery, error) {
	for {
		it, err := q.sched.claim(ctx)
		if err != nil {
			return nil, fmt.Errorf("claim from %s: %w", q.cfg.Name, err)
		}
		d, err := q.fetch(ctx, it)
		switch {
		case err == nil:
			return d, nil
		case errors.Is(err, ErrLost):
			// Purged or replaced a moment ago: the watch is about to say so.
		case errors.Is(err, errRecord):
			// Claimed until the next start: delivering it again would fail again.
			q.cfg.Logger.Error("message cannot be delivered", "queue", q.cfg.Name, "key", it.key, "err", err)
		default:
			q.sched.release(it)
			return nil, fmt.Errorf("claim from %s: %w", q.cfg.Name, err)
		}
	}
}

// fetch reads the record and the body of a claimed message, from this member's own state. The
// engine notifies watches a moment before it lets reads see the write, so a read that is older
// than the message is repeated as one that waits. ErrLost means that the record is gone or newer,
// which the watch will tell.
func (q *Queue) fetch(ctx context.Context, it *item) (*Delivery, error) {
	resp, err := q.cfg.Client.Get(ctx, it.key, clientv3.WithSerializable())
	if err == nil && resp.Header.Revision < it.rev {
		resp, err = q.cfg.Client.Get(ctx, it.key)
	}
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 || resp.Kvs[0].ModRevision != it.rev {
		return nil, ErrLost
	}
	head, body, err := decode(resp.Kvs[0].Value)
	if err != nil {
		return nil, err
	}
	d := &Delivery{q: q, item: it, head: head, body: body, Message: head.message(body)}
	if head.Blob == "" {
		return d, nil
	}
	if q.cfg.Blobs == nil {
		return nil, fmt.Errorf("%w: body is a blob, and there is no blob store", errRecord)
	}
	d.Body, err = q.cfg.Blobs.Get(head.Blob)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrDigest) {
		err = fmt.Errorf("%w: %w", errRecord, err)
	}
	return d, err
}

// Ack removes the message; it is gone for good when Ack returns nil.
func (d *Delivery) Ack(ctx context.Context) error {
	if err := d.write(ctx, clientv3.OpDelete(d.item.key), 0); err != nil {
		return fmt.Errorf("ack %s: %w", d.ID, err)
	}
	d.q.sched.acked(d.item) // the watch would say the same a moment later
	return nil
}

// Nak has the message delivered again at due, with one attempt more; both are durable when Nak
// returns nil.
func (d *Delivery) Nak(ctx context.Context, due time.Time) error { return d.again(ctx, due, 0) }

// Fail is Nak for an attempt that Failures is to count too: for those who bound the attempts that
// fail in one way apart from those that fail in another.
func (d *Delivery) Fail(ctx context.Context, due time.Time) error { return d.again(ctx, due, 1) }

func (d *Delivery) again(ctx context.Context, due time.Time, failures int) error {
	head := d.head
	head.Due, head.Attempts, head.Written = due.UnixNano(), head.Attempts+1, d.q.cfg.Now().UnixNano()
	head.Failures += failures
	value, err := encode(head, d.body)
	if err == nil {
		err = d.write(ctx, clientv3.OpPut(d.item.key, string(value)), len(value))
	}
	if err != nil {
		return fmt.Errorf("nak %s: %w", d.ID, err)
	}
	return nil
}

// Release gives the message back at once, as if it had not been claimed: for a worker that stops
// before it has begun. It does nothing after Ack or Nak.
func (d *Delivery) Release() { d.q.sched.release(d.item) }

// write changes the record if it is still the one that was claimed and this node still owns it.
func (d *Delivery) write(ctx context.Context, op clientv3.Op, size int) error {
	it := d.item
	same := clientv3.Compare(clientv3.ModRevision(it.key), "=", it.rev)
	return d.q.batch.do(ctx, &job{
		key: it.key, size: size,
		op:    clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{op}, nil),
		owner: &owner{key: d.q.ownerKey(it.shard), fence: it.fence},
	})
}
