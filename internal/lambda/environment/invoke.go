package environment

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"lambent.dev/lambent/internal/lambda/environment/runtimeapi"
	"lambent.dev/lambent/internal/lambda/function"
)

// sampleAtEnd is how old a measurement may be to count as one at the end of an invocation that
// took as long. Shorter ones share a measurement for sampleEvery: it costs as much as all else
// that is done between an answer and its sender.
const sampleAtEnd = 10 * time.Millisecond

// verdict is how an invocation ended.
type verdict struct {
	failure  failure // why there is no answer
	answer   runtimeapi.Answer
	duration time.Duration
}

// Invoke runs one invocation. It returns ErrGone or ErrBusy if no code has seen the event, or
// ctx's error if it ended before that; once the runtime has the event, the end of ctx is
// ignored: the invocation goes on to its own end, as on AWS when a client hangs up.
func (e *Environment) Invoke(ctx context.Context, inv function.Invocation) (function.Result, error) {
	b, cold, err := e.enter(ctx)
	if err != nil {
		return function.Result{}, err
	}
	defer e.leave()
	if b == nil {
		return e.invokeWithInit(ctx, inv)
	}
	return e.hand(ctx, b, inv, handing{limit: e.limit(), cold: cold, charge: e.newCharge(inv, cold)})
}

// handing says under which circumstances an event is handed over.
type handing struct {
	limit  time.Duration // what is left of the function's time
	began  time.Time     // when the invocation began, if initialisation was part of it
	cold   bool          // the environment has run nothing before
	charge *charge
}

// enter makes the environment busy, thawed if it was frozen. The first to enter is cold.
func (e *Environment) enter(ctx context.Context) (b *boot, cold bool, err error) {
	e.freezing.Lock()
	defer e.freezing.Unlock()
	e.mu.Lock()
	b, cold = e.boot, !e.used
	gone := e.dead || b != nil && b.ended()
	e.busy = !gone
	e.mu.Unlock()
	if gone {
		e.die()
		return nil, false, ErrGone
	}
	if e.frozen {
		if err := b.workload.Thaw(context.WithoutCancel(ctx)); err != nil {
			e.die()
			e.log.Warn("frozen sandbox does not thaw", "error", err)
			return nil, false, ErrGone
		}
		e.frozen = false
	}
	return b, cold, nil
}

// leave ends what enter began. A sandbox that has ended meanwhile is a dead environment.
func (e *Environment) leave() {
	e.mu.Lock()
	b := e.boot
	e.busy = false
	e.mu.Unlock()
	if b != nil && b.ended() {
		e.die()
	}
}

// invokeWithInit repeats a failed initialisation inside the invocation, under its time limit.
func (e *Environment) invokeWithInit(ctx context.Context, inv function.Invocation) (function.Result, error) {
	limit := e.limit()
	e.stream.early(inv.Tail)
	b, err := e.launch(ctx)
	if err != nil {
		e.die()
		return function.Result{}, err
	}
	c := e.newCharge(inv, true)
	c.begin() // initialisation is part of it
	f, took, err := e.awaitInit(ctx, b, limit)
	if err == nil && f.status == "" {
		err = e.begin(ctx, b)
	}
	switch {
	case err != nil:
		e.die()
		c.cancel()
		_ = b.remove(ctx)
		return function.Result{}, err
	case f.status != "":
		defer e.die()
		e.endInit(ctx, b, "invoke", took, f)
		e.stream.start(ctx, e.startEvent(inv), inv.Tail)
		r := e.finish(ctx, inv, verdict{failure: f, duration: min(took, limit)}, 0, c)
		return r, b.remove(ctx)
	}
	return e.hand(ctx, b, inv, handing{limit: limit - took, began: b.began, cold: true, charge: c})
}

// hand gives the event to the runtime of b and waits for the end.
func (e *Environment) hand(ctx context.Context, b *boot, inv function.Invocation, h handing) (function.Result, error) {
	background := context.WithoutCancel(ctx)
	b.tenant.run(true)
	defer b.tenant.run(false)
	settle := func() {}
	if h.cold {
		settle = e.boost(background, b)
	}
	b.catchUp(background) // what came before stands before START
	x, err := b.session.Offer(runtimeapi.Event{
		RequestID: inv.RequestID, FunctionARN: inv.InvokedARN, Trace: inv.Trace, ClientContext: inv.ClientContext,
		Payload: inv.Payload, Timeout: h.limit,
		Handed: func() { h.charge.begin(); e.stream.start(background, e.startEvent(inv), inv.Tail) },
	})
	if err != nil {
		e.die()
		h.charge.cancel()
		return function.Result{}, ErrGone
	}
	if err := e.awaitHanded(ctx, b, x); err != nil {
		h.charge.cancel()
		return function.Result{}, err
	}
	e.mu.Lock()
	e.used, e.overdue = true, x.Deadline()
	e.mu.Unlock()
	v := e.awaitAnswer(background, b, x)
	settle()
	x.Announce() // a runtime that died at once may be ahead of its START line
	if v.failure.status == statusError && x.Unreceived() {
		// It was killed while it idled, which shows only now. A network stack that lives
		// acknowledges before its code can read, so nothing has seen this event.
		e.die()
		h.charge.cancel()
		return function.Result{}, ErrGone
	}
	if !h.began.IsZero() {
		v.duration += x.Handed().Sub(h.began) // initialisation was part of it
	}
	init := time.Duration(0)
	if h.cold && h.began.IsZero() {
		init = e.initTook
	}
	if v.failure.status != "" {
		e.die()
		e.kill(background, b)
	}
	b.drain(background)
	fresh := sampleEvery
	if v.duration >= sampleAtEnd {
		fresh = sampleAtEnd
	}
	e.sample(background, b, fresh, true)
	return e.finish(background, inv, v, init, h.charge), nil
}

// awaitHanded waits until the runtime has the event.
func (e *Environment) awaitHanded(ctx context.Context, b *boot, x *runtimeapi.Exchange) error {
	select {
	case <-x.Delivered(): // nearly always at once
		return nil
	default:
	}
	grace := time.NewTimer(e.cfg.Grace)
	defer grace.Stop()
	var err error
	select {
	case <-x.Delivered():
		return nil
	case <-b.workload.Done():
		err = ErrGone
	case <-grace.C:
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	if !b.session.Withdraw(x) {
		return nil // handed out at the last moment
	}
	return err
}

// awaitAnswer waits for the runtime's answer, its end or the deadline.
func (e *Environment) awaitAnswer(ctx context.Context, b *boot, x *runtimeapi.Exchange) verdict {
	deadline := time.NewTimer(time.Until(x.Deadline()))
	defer deadline.Stop()
	measure := time.NewTicker(sampleEvery)
	defer measure.Stop()
	limit := x.Deadline().Sub(x.Handed())
	for {
		select {
		case <-x.Answered():
			return verdict{answer: x.Answer(), duration: x.Answer().At.Sub(x.Handed())}
		case <-b.workload.Done():
			return e.lastAnswer(b, x)
		case <-deadline.C:
			select {
			case <-x.Answered():
				return verdict{answer: x.Answer(), duration: x.Answer().At.Sub(x.Handed())}
			default:
			}
			return verdict{failure: timedOut(e.limit()), duration: limit}
		case <-measure.C:
			e.sample(ctx, b, 0, false)
		}
	}
}

// lastAnswer deals with a runtime that has ended: what it sent before may still be on its way
// through the host's buffers.
func (e *Environment) lastAnswer(b *boot, x *runtimeapi.Exchange) verdict {
	took := time.Since(x.Handed())
	t := time.NewTimer(lastWords)
	defer t.Stop()
	if !b.session.Answering() {
		t.Reset(0)
	}
	select {
	case <-x.Answered():
	case <-t.C:
	}
	select {
	case <-x.Answered():
		return verdict{answer: x.Answer(), duration: x.Answer().At.Sub(x.Handed())}
	default:
		return verdict{failure: exited(b.workload.Exit()), duration: took}
	}
}

func (e *Environment) startEvent(inv function.Invocation) LogEvent {
	return LogEvent{e.cfg.Now(), startLine(inv.RequestID, e.fn.Version)}
}

// finish writes the last lines of an invocation and its record, and makes its result.
func (e *Environment) finish(ctx context.Context, inv function.Invocation, v verdict, init time.Duration, c *charge) function.Result {
	now := e.cfg.Now()
	used := megabytes(e.maxUsed.Load(), e.fn.Memory)
	if v.failure.kind == outOfMemory {
		used = e.fn.Memory
	}
	var events []LogEvent
	if why := v.failure.line(inv.RequestID, now); why != "" {
		events = append(events, LogEvent{now, why})
	}
	r := report{
		requestID: inv.RequestID, duration: v.duration, init: init, memory: e.fn.Memory, used: used, failure: v.failure,
	}
	events = append(events, LogEvent{now, endLine(inv.RequestID)}, LogEvent{now, r.line()})
	tail := e.stream.end(ctx, events...)

	body, functionError := v.answer.Body, ""
	outcome := OutcomeSuccess
	switch {
	case v.failure.status != "":
		body, functionError, outcome = v.failure.payload(inv.RequestID), unhandled, OutcomeError
		if v.failure.status == statusTimeout {
			outcome = OutcomeTimeout
		}
	case v.answer.ErrorType != "":
		functionError, outcome = unhandled, OutcomeFailure
		if len(body) == 0 {
			body = fmt.Appendf(nil, `{"errorType":%q}`, v.answer.ErrorType)
		}
	}
	c.end(init, v.duration, outcome)
	return function.Result{
		Body: io.NopCloser(bytes.NewReader(body)), Size: int64(len(body)), Error: functionError, Version: e.fn.Version, LogTail: tail,
		Report: function.Report{
			RequestID: inv.RequestID, Init: init, Duration: v.duration, Cold: c.record.Cold,
			Memory: e.fn.Memory, MaxMemory: used, Outcome: outcome,
		},
	}
}

// unhandled is what X-Amz-Function-Error says of every error.
//
// AWS: "Handled" was for errors that the Node runtimes up to 4.3 passed to a callback.
const unhandled = "Unhandled"
