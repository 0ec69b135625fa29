// Package async runs events: invocations that the caller does not wait for.
//
// Publish returns when the event is durable. Run claims events and invokes their functions; an
// event is acknowledged after it ran, so it runs at least once. What becomes of an event after
// an attempt is decided by Next, a pure function; its counts of failures and of refusals are kept
// apart in the queue's records, and a crash resets neither. Every attempt has the request id that
// the event was accepted with. AWS: the same.
//
// An event belongs to the function that had the name when it was accepted: it goes with that
// function's deletion, in the same transaction, and never runs on one that was made later. A Queue
// is safe for concurrent use.
package async

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/queue"
)

// MaxPayload is the largest event.
const MaxPayload = 1 << 20

// Invoker runs invocations; it is *invoke.Router.
type Invoker interface {
	Invoke(ctx context.Context, inv function.Invocation) (function.Result, error)
}

// Claim is an event that this node has to run; *queue.Delivery and its message.
type Claim interface {
	Message() queue.Message
	Ack(ctx context.Context) error
	Nak(ctx context.Context, due time.Time) error
	Fail(ctx context.Context, due time.Time) error
}

// Messages is the durable queue underneath.
type Messages interface {
	Publish(ctx context.Context, msgs ...queue.Message) error
	Claim(ctx context.Context) (Claim, error)
}

// Config is what a Queue needs.
type Config struct {
	Messages Messages
	Invoker  Invoker
	Logger   *slog.Logger
	Now      func() time.Time // wall clock of due times and ages; default time.Now
	// InFlight is how many events run at the same time; default 1024. The queue bounds those of
	// one function: see PerFunction.
	InFlight int
	// Drain is how long Run waits, when it ends, for the events it has begun; default 15 s.
	Drain time.Duration
	// Retries is how often an event is tried again after a function error; default 0: events
	// run once. AWS's number is 2.
	Retries int
}

// Queue is the queue of events of this node.
type Queue struct {
	cfg       Config
	log       *slog.Logger
	tasks     lifecycle.Tasks
	abandoned chan struct{} // closed when what still runs is left to the next start
	counts    counts
}

// New returns a queue on cfg.Messages.
func New(cfg Config) *Queue {
	cfg.InFlight = cmp.Or(cfg.InFlight, 1024)
	cfg.Drain = cmp.Or(cfg.Drain, 15*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Queue{cfg: cfg, log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), abandoned: make(chan struct{})}
}

// event is an invocation at rest.
type event struct {
	Account, Name, Qualifier string
	FunctionID               string `json:",omitempty"`
	RequestID                string
	Payload                  []byte
	ClientContext, Trace     string `json:",omitempty"`
	InvokedARN, Caller       string `json:",omitempty"`
	Received                 time.Time
}

// Publish accepts an event. When it returns nil, the event survives this process. It may return
// queue.ErrFull, which callers are to see as a throttle.
func (q *Queue) Publish(ctx context.Context, inv function.Invocation) error {
	now := q.cfg.Now()
	id := cmp.Or(inv.RequestID, uuid.NewString())
	received := inv.Received
	if received.IsZero() {
		received = now
	}
	body, err := json.Marshal(event{
		Account: inv.Account, Name: inv.Name, Qualifier: inv.Qualifier, FunctionID: inv.FunctionID, RequestID: id, Payload: inv.Payload,
		ClientContext: inv.ClientContext, Trace: inv.Trace, InvokedARN: inv.InvokedARN, Caller: inv.Caller, Received: received,
	})
	if err != nil {
		return fmt.Errorf("encode event %s: %w", id, err)
	}
	err = q.cfg.Messages.Publish(ctx, queue.Message{
		ID: id, Account: inv.Account, Group: Group(inv.Name, inv.FunctionID), Body: body, Due: now, Published: now,
	})
	if err != nil {
		return fmt.Errorf("publish event %s: %w", id, err)
	}
	return nil
}

// PerFunction is how many events of one function are in flight at most: a burst for a slow one
// leaves the others their places.
const PerFunction = 64

// Group is the queue's group of a function's events: the queue is fair between groups, and
// purges by group when a function is deleted. id is the function's own.
func Group(name, id string) string { return name + "/" + id }

// Run claims and runs events until ctx ends, then waits for those it has begun: an event whose
// function is running must be acknowledged, or it runs twice. It does not wait for longer than
// Config.Drain: what runs then is not settled, whatever comes of it, and runs again after the
// next start. Wait returns when that has ended too.
func (q *Queue) Run(ctx context.Context) error {
	defer q.drain()
	room := make(chan struct{}, q.cfg.InFlight)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := q.cfg.Messages.Claim(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// The engine has trouble; events wait in it meanwhile.
			q.log.Error("claim event", "error", err)
			<-room
			pause(ctx, claimPause)
			continue
		}
		q.tasks.Go("event", func() {
			defer func() { <-room }()
			q.runOnce(ctx, c)
		})
	}
}

// drain waits for the events in flight, and abandons those that take too long.
func (q *Queue) drain() {
	done := make(chan struct{})
	// It ends with the tasks, for which Wait waits.
	lifecycle.Go("events drain", func() { q.tasks.Wait(); close(done) })
	t := time.NewTimer(q.cfg.Drain)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		q.log.Warn("events in flight are left to the next start")
		close(q.abandoned)
	}
}

// Wait returns when no event is in flight. It is for whoever has ended Run and the environments.
func (q *Queue) Wait() { q.tasks.Wait() }

// claimPause is how long Run waits after a claim, or the settling of one, that failed.
const claimPause = time.Second

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// runOnce runs one event and settles it.
func (q *Queue) runOnce(ctx context.Context, c Claim) {
	m := c.Message()
	ctx = context.WithoutCancel(ctx) // see Run
	outcome, reason := q.attempt(ctx, m)
	select {
	case <-q.abandoned:
		return // its environment was killed under it; the claim ends with the process
	default:
	}
	age := q.cfg.Now().Sub(m.Published)
	v := Next(outcome, m.Failures+1, m.Attempts-m.Failures+1, q.cfg.Retries, age)
	switch {
	case v.Retry && outcome == FunctionError:
		q.counts.retried.Add(1)
		q.settle(m, func() error { return c.Fail(ctx, q.cfg.Now().Add(v.After)) })
	case v.Retry:
		q.counts.retried.Add(1)
		q.settle(m, func() error { return c.Nak(ctx, q.cfg.Now().Add(v.After)) })
	default:
		if outcome != Done {
			q.counts.dropped.Add(1)
			q.log.Warn("event dropped", "request", m.ID, "account", m.Account, "function", nameOf(m), "condition", v.Reason, "attempts", m.Attempts+1, "error", reason)
		}
		q.settle(m, func() error { return c.Ack(ctx) })
	}
}

// settle writes what became of a claim, until that is durable: an engine that has trouble for a while
// must not keep the event until the next start.
func (q *Queue) settle(m queue.Message, write func() error) {
	for tries := 0; ; tries++ {
		err := write()
		switch {
		case err == nil:
			return
		case errors.Is(err, queue.ErrLost):
			// Its function was deleted while it ran; or another owner has the event and runs it again.
			q.log.Info("event is not settled", "request", m.ID, "function", nameOf(m), "error", err)
			return
		case tries == 0:
			q.log.Warn("event is not settled yet", "request", m.ID, "function", nameOf(m), "error", err)
		}
		t := time.NewTimer(claimPause)
		select {
		case <-t.C:
		case <-q.abandoned:
			t.Stop()
			return
		}
	}
}

// nameOf is the name of the function that an event is for.
func nameOf(m queue.Message) string {
	name, _, _ := strings.Cut(m.Group, "/")
	return name
}

// attempt invokes the function once.
func (q *Queue) attempt(ctx context.Context, m queue.Message) (Outcome, string) {
	var e event
	if err := json.Unmarshal(m.Body, &e); err != nil {
		return Gone, "unreadable event: " + err.Error()
	}
	r, err := q.cfg.Invoker.Invoke(ctx, function.Invocation{
		Account: e.Account, Name: e.Name, Qualifier: e.Qualifier, FunctionID: e.FunctionID, RequestID: e.RequestID, Payload: e.Payload,
		ClientContext: e.ClientContext, Trace: e.Trace, InvokedARN: e.InvokedARN, Caller: e.Caller, Received: e.Received, Async: true,
	})
	var state *invoke.StateError
	switch {
	case errors.Is(err, function.ErrNotFound):
		return Gone, err.Error()
	case errors.Is(err, invoke.ErrRecursive):
		return Circular, err.Error()
	case errors.As(err, &state) && state.State == function.Failed:
		return Gone, err.Error()
	case err != nil:
		return Refused, err.Error()
	}
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	if r.Error != "" {
		return FunctionError, r.Report.Outcome
	}
	return Done, ""
}
