package async

import (
	"context"
	"time"

	"lambent.dev/lambent/internal/queue"
)

// On is q as Messages.
func On(q *queue.Queue) Messages { return durable{q} }

type durable struct{ q *queue.Queue }

func (d durable) Publish(ctx context.Context, msgs ...queue.Message) error {
	return d.q.Publish(ctx, msgs...)
}

func (d durable) Claim(ctx context.Context) (Claim, error) {
	x, err := d.q.Claim(ctx)
	if err != nil {
		return nil, err
	}
	return delivery{x}, nil
}

// delivery is a queue's delivery; its Message is a field there.
type delivery struct{ d *queue.Delivery }

func (d delivery) Message() queue.Message                        { return d.d.Message }
func (d delivery) Ack(ctx context.Context) error                 { return d.d.Ack(ctx) }
func (d delivery) Fail(ctx context.Context, due time.Time) error { return d.d.Fail(ctx, due) }
func (d delivery) Nak(ctx context.Context, due time.Time) error  { return d.d.Nak(ctx, due) }
