// Package queue keeps durable messages that become due, on etcd.
package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/kv"
)

var (
	// ErrTooLarge is returned for a body above MaxBody.
	ErrTooLarge = errors.New("message body too large")
	// ErrFull is returned when the queue takes no more messages for now.
	ErrFull = errors.New("queue is full")
	// ErrLost is returned by Ack and Nak when the claim is void: this node no longer owns the
	// message, or the message is gone or was replaced. It is delivered again if it still exists.
	ErrLost = errors.New("claim is lost")
)

var errUnfinished = errors.New("unfinished")

// Config is what Open needs; zero fields have defaults where one is given.
type Config struct {
	Store  *kv.Store
	Client *clientv3.Client
	Name   string           // the queue's, within the state
	Shards int              // parts that can have different owners; default 16; fixed for the queue's life
	Node   string           // this process, by a name no other living process has
	Now    func() time.Time // wall clock; default time.Now
	Blobs  *blob.Store      // takes bodies above 16 KiB; without it they stay in the records
	Full   func() bool      // asked before a publish; nil means never full
	Logger *slog.Logger
}

// Message is one unit of work. ID, Due and Published are filled in by a publish if they are zero.
type Message struct {
	ID             string
	Account, Group string
	Body           []byte
	Due            time.Time // not delivered earlier; wall clock
	Attempts       int       // deliveries that ended with Nak
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
type Queue struct{}

// Open prepares a queue.
func Open(ctx context.Context, cfg Config) (*Queue, error) { return nil, errUnfinished }

// Run owns shards until ctx ends.
func (q *Queue) Run(ctx context.Context) error { return errUnfinished }

// Publish stores messages.
func (q *Queue) Publish(ctx context.Context, msgs ...Message) error { return errUnfinished }

// PublishOp is a publish that commits with another write.
func (q *Queue) PublishOp(m Message) kv.Op { return kv.Failed(errUnfinished) }

// Claim blocks until a message is due.
func (q *Queue) Claim(ctx context.Context) (*Delivery, error) { return nil, errUnfinished }

// Purge removes the messages of a group.
func (q *Queue) Purge(ctx context.Context, account, group string) error { return errUnfinished }

// Stats counts messages.
func (q *Queue) Stats() Stats { return Stats{} }

// Delivery is a claimed message.
type Delivery struct{ Message }

// Ack removes the message.
func (d *Delivery) Ack(ctx context.Context) error { return errUnfinished }

// Nak gives the message back.
func (d *Delivery) Nak(ctx context.Context, due time.Time) error { return errUnfinished }
