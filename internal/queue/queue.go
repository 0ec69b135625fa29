// Package queue keeps durable messages that are delivered when they are due, at least once.
//
// A message is a record in etcd; a publish that was acknowledged is on disk. The records are
// spread over shards, and each shard is owned by one node through a lease. The owner follows its
// shards by a watch and keeps the order of due times and the claims in memory only: a claim lives
// until Ack, Nak, Release or the end of the process, after which the message is delivered again.
// Every Ack and Nak carries the owner's fence and the revision of the record, so a node that lost
// its shard, or a claim on a message that was replaced or purged, changes nothing and is told
// ErrLost.
//
// Delivery is fair over groups: those with due messages take turns, each giving its earliest, so
// that a burst of one delays no other by more than one message per turn. With Config.Claims a group whose
// messages take long keeps no more than so many claims from the others. Due times are wall clock,
// read again every second at least, so a clock that is set moves what waits for it. Only what was
// to wait for a quarter of an hour or less, such as a retry, waits no longer than that again when
// the clock is set back.
//
// Large bodies are blobs, named by content: an Ack leaves its own to the blob store's sweep, since a
// publish of the same body may have stored it and not written its record yet.
//
// Concurrent publishes, acks and naks share transactions: one is begun at once when none is under
// way, and what arrives meanwhile goes with the next. Everything is safe for concurrent use.
package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/kv"
)

var (
	// ErrTooLarge is returned for a body that the queue does not take.
	ErrTooLarge = errors.New("message body too large")
	// ErrFull is returned when the queue takes no more messages for now.
	ErrFull = errors.New("queue is full")
	// ErrLost is returned by Ack and Nak when the claim is void: this node no longer owns the
	// message, or the message is gone or was replaced. It is delivered again if it still exists.
	ErrLost = errors.New("claim is lost")
)

const (
	maxBody   = 1536 << 10 // with a blob store
	maxInline = 1 << 20    // without one: the record must fit a transaction
	blobAbove = 16 << 10   // larger bodies go to the blob store
	maxShards = 256
)

// Config is what Open needs; zero fields have defaults where one is given.
type Config struct {
	Store  *kv.Store
	Client *clientv3.Client
	Name   string           // the queue's, within the state
	Shards int              // parts that can have different owners; default 16; fixed when the queue is first opened
	Node   string           // this process, by a name that no other living process has
	Now    func() time.Time // wall clock; default time.Now
	Blobs  *blob.Store      // takes bodies above 16 KiB; without it they stay in the records
	Claims int              // of one group that may be open at a time; 0 means any number
	Full   func() bool      // asked before a publish; nil means never full
	Logger *slog.Logger
}

// Message is one unit of work. A publish fills in ID, Due and Published where they are zero. A
// message published under an ID that its group has already replaces that one.
type Message struct {
	ID             string
	Account, Group string
	Body           []byte
	Due            time.Time // not delivered earlier; wall clock
	Attempts       int       // deliveries that ended with Nak or Fail
	Failures       int       // of them those that ended with Fail
	Published      time.Time
}

// Stats is the state of the shards that this node owns.
type Stats struct {
	Depth   int       // messages, whether due, claimed or waiting for their time
	Ready   int       // of them due and not claimed
	Claimed int       // of them claimed
	Oldest  time.Time // when the oldest was published; zero if there is none
}

// Queue is a durable queue.
type Queue struct {
	cfg    Config
	prefix string // of all its keys
	opened int64  // revision at which it was opened
	sched  *scheduler
	batch  *batcher
}

// Open prepares a queue. Publish works from then on; messages are delivered while Run runs.
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	cfg.Shards = cmp.Or(cfg.Shards, 16)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Name == "" || cfg.Node == "" || cfg.Shards < 1 || cfg.Shards > maxShards {
		return nil, fmt.Errorf("open queue %q: name, node and 1 to %d shards are needed", cfg.Name, maxShards)
	}
	q := &Queue{cfg: cfg, prefix: "/q/" + url.PathEscape(cfg.Name) + "/", sched: newScheduler(cfg.Claims)}
	q.batch = newBatcher(q.commit)
	if err := q.fixShards(ctx); err != nil {
		return nil, fmt.Errorf("open queue %s: %w", cfg.Name, err)
	}
	return q, nil
}

// fixShards stores the number of shards, or takes the one that is stored: with another number
// the records of some shards would have no owner.
func (q *Queue) fixShards(ctx context.Context) error {
	key := q.prefix + "shards"
	resp, err := q.cfg.Client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, strconv.Itoa(q.cfg.Shards))).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return translate(err)
	}
	q.opened = resp.Header.Revision
	if resp.Succeeded {
		return nil
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		if err != nil || n < 1 || n > maxShards {
			return fmt.Errorf("number of shards is %q", kv.Value)
		}
		q.cfg.Shards = n
	}
	return nil
}

// Publish stores messages; all of them are durable when it returns nil. After an error any of
// them may have been stored.
func (q *Queue) Publish(ctx context.Context, msgs ...Message) error {
	jobs := make([]*job, 0, len(msgs))
	for _, m := range msgs {
		key, value, err := q.record(ctx, m)
		if err != nil {
			return fmt.Errorf("publish to %s: %w", q.cfg.Name, err)
		}
		jobs = append(jobs, &job{key: key, op: clientv3.OpPut(key, string(value)), size: len(value)})
	}
	if err := q.batch.do(ctx, jobs...); err != nil {
		return fmt.Errorf("publish to %s: %w", q.cfg.Name, err)
	}
	return nil
}

// PublishOp is a publish that commits together with the write that causes it. A body for the
// blob store is written by this call already; it is swept if the transaction never commits.
func (q *Queue) PublishOp(m Message) kv.Op {
	key, value, err := q.record(context.Background(), m)
	if err != nil {
		return kv.Failed(fmt.Errorf("publish to %s: %w", q.cfg.Name, err))
	}
	return kv.Raw(nil, clientv3.OpPut(key, string(value)))
}

// record completes a message and returns where and how it is stored.
func (q *Queue) record(ctx context.Context, m Message) (key string, value []byte, err error) {
	if q.cfg.Full != nil && q.cfg.Full() {
		return "", nil, ErrFull
	}
	if m.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return "", nil, err
		}
		m.ID = id.String()
	}
	if m.Published.IsZero() {
		m.Published = q.cfg.Now()
	}
	if m.Due.IsZero() {
		m.Due = m.Published
	}
	h := header{ID: m.ID, Account: m.Account, Group: m.Group, Due: m.Due.UnixNano(), Attempts: m.Attempts, Failures: m.Failures, Published: m.Published.UnixNano(), Written: q.cfg.Now().UnixNano()}
	if h.Blob, m.Body, err = q.body(ctx, m.Body); err != nil {
		return "", nil, err
	}
	value, err = encode(h, m.Body)
	return q.key(m.Account, m.Group, m.ID), value, err
}

// body decides where a body is kept: in the record, or in a blob.
func (q *Queue) body(ctx context.Context, body []byte) (blob.Digest, []byte, error) {
	limit := maxInline
	if q.cfg.Blobs != nil {
		limit = maxBody
	}
	if len(body) > limit {
		return "", nil, fmt.Errorf("%d bytes: %w", len(body), ErrTooLarge)
	}
	if q.cfg.Blobs == nil || len(body) <= blobAbove {
		return "", body, nil
	}
	d, err := putBlob(ctx, q.cfg.Blobs, body)
	return d, nil, err
}

// shardOf spreads messages evenly, whatever their groups.
func (q *Queue) shardOf(id string) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % uint32(q.cfg.Shards))
}

func (q *Queue) shardPrefix(shard int) string { return fmt.Sprintf("%s%02x/", q.prefix, shard) }

func (q *Queue) ownerKey(shard int) string { return q.shardPrefix(shard) + "owner" }

func (q *Queue) messages(shard int) string { return q.shardPrefix(shard) + "m/" }

func (q *Queue) groupPrefix(shard int, account, group string) string {
	return q.messages(shard) + url.PathEscape(account) + "/" + url.PathEscape(group) + "/"
}

func (q *Queue) key(account, group, id string) string {
	return q.groupPrefix(q.shardOf(id), account, group) + url.PathEscape(id)
}

// Purge removes every message of a group, claimed ones too: their Ack or Nak will be ErrLost.
func (q *Queue) Purge(ctx context.Context, account, group string) error {
	if _, err := q.cfg.Client.Txn(ctx).Then(q.purge(account, group)...).Commit(); err != nil {
		return fmt.Errorf("purge %s of %s: %w", group, q.cfg.Name, translate(err))
	}
	return nil
}

// PurgeOp is a purge that commits together with the write that causes it.
func (q *Queue) PurgeOp(account, group string) kv.Op { return kv.Raw(nil, q.purge(account, group)...) }

func (q *Queue) purge(account, group string) []clientv3.Op {
	ops := make([]clientv3.Op, q.cfg.Shards)
	for shard := range ops {
		ops[shard] = clientv3.OpDelete(q.groupPrefix(shard, account, group), clientv3.WithPrefix())
	}
	return ops
}

// Stats counts the messages of the shards that this node owns.
func (q *Queue) Stats() Stats { return q.sched.stats() }

// Tick reads the clock and delivers what has become due. Run does so by itself, at the next due
// time and every second; tests that move the clock call it.
func (q *Queue) Tick() { q.sched.advance(q.cfg.Now()) }

// Blobs lists the blobs that messages of any shard refer to, for the blob store's sweep.
func (q *Queue) Blobs(ctx context.Context) (map[blob.Digest]bool, error) {
	out := map[blob.Digest]bool{}
	for shard := range q.cfg.Shards {
		_, err := q.list(ctx, shard, func(_ string, _ int64, h header) {
			if h.Blob != "" {
				out[h.Blob] = true
			}
		})
		if err != nil {
			return nil, fmt.Errorf("list bodies of %s: %w", q.cfg.Name, err)
		}
	}
	return out, nil
}
