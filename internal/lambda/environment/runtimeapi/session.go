package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Event is an invocation as the runtime sees it.
type Event struct {
	RequestID       string
	FunctionARN     string
	Trace           string
	ClientContext   string // JSON
	CognitoIdentity string // JSON
	Payload         []byte
	// Timeout runs from the moment the event is handed out; the deadline the runtime reads is
	// that moment plus Timeout.
	Timeout time.Duration
	// Handed, if not nil, is called once, when the event is about to be written to the runtime.
	Handed func()
}

// Answer is what a runtime made of an event.
type Answer struct {
	Body []byte
	// ErrorType is empty for a response. For an error it is what the runtime called it, or one
	// of Function.ResponseSizeTooLarge, Runtime.TruncatedResponse, Runtime.InvalidResponseModeHeader.
	ErrorType string
	At        time.Time // when the last byte of it was here
}

// InitFailure is what a runtime posted to init/error.
type InitFailure struct {
	ErrorType string
	Body      []byte
}

// ErrClosed says that the runtime is gone.
var ErrClosed = errors.New("runtime is gone")

// state is AWS's name for what the runtime does; the Runtime Interface Emulator's words.
type state string

const (
	started       state = "Started"
	initFailed    state = "InitError"
	ready         state = "Ready"
	running       state = "Running"
	response      state = "InvocationResponse"
	errorResponse state = "InvocationErrorResponse"
	responseSent  state = "ResponseSent"
)

// transitionError is a request that the runtime may not make in its state.
type transitionError struct{ from, to state }

// Error is AWS's text.
func (e *transitionError) Error() string {
	return fmt.Sprintf("State transition from %s to %s failed for runtime. Error: State transition is not allowed", e.from, e.to)
}

var errRequestID = errors.New("invalid request id")

// Session is the conversation with one runtime process: the environment offers events, the
// server's handlers move it along.
type Session struct {
	initialised chan struct{} // closed at the first /next, init/error or Close
	closed      chan struct{}

	mu      sync.Mutex
	state   state
	changed chan struct{} // closed and replaced at every change
	pollers int           // requests parked in /next
	offered *Exchange     // waits for a poller
	current *Exchange     // the last one handed out
	failure *InitFailure
	abort   func() // cuts the body that is being read
	reports bool   // a report of a failed initialisation is being read
}

// Exchange is one event on its way through a session.
type Exchange struct {
	event     Event
	delivered chan struct{}
	answered  chan struct{}
	deadline  time.Time
	handed    time.Time
	answer    Answer
	outq      func() int  // bytes of the event, and of what was sent behind it, that the sandbox has not acknowledged
	heard     atomic.Bool // a request has come since: the sandbox lived on
	once      sync.Once   // for Event.Handed
	written   chan struct{}
	writeOnce sync.Once
}

// NewSession returns the session of a runtime that has just been started.
func NewSession() *Session {
	return &Session{
		initialised: make(chan struct{}), closed: make(chan struct{}), changed: make(chan struct{}),
		state: started,
	}
}

// Initialised is closed when initialisation has ended one way or another: the runtime asked for
// an event, reported a failure (InitFailure) or was closed.
func (s *Session) Initialised() <-chan struct{} { return s.initialised }

// InitFailure is what the runtime reported, nil if it did not.
func (s *Session) InitFailure() *InitFailure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Idle reports whether the runtime waits for an event and there is none.
func (s *Session) Idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idleLocked()
}

func (s *Session) idleLocked() bool {
	return s.state == ready && s.pollers > 0 && s.offered == nil
}

// Answering reports whether an answer is arriving.
func (s *Session) Answering() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.abort != nil
}

// WaitIdle blocks until the runtime waits for an event. It returns ErrClosed when there is
// no runtime any more.
func (s *Session) WaitIdle(ctx context.Context) error {
	for {
		s.mu.Lock()
		idle, changed := s.idleLocked(), s.changed
		s.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-changed:
		case <-s.closed:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Offer puts an event before the runtime. The session holds one exchange at a time: offering
// while the last one is unanswered is a mistake of the caller and panics.
func (s *Session) Offer(ev Event) (*Exchange, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() || s.state == initFailed {
		return nil, ErrClosed
	}
	if s.offered != nil || s.state == running || s.state == response || s.state == errorResponse {
		panic("runtimeapi: event offered to a busy session")
	}
	x := &Exchange{event: ev, delivered: make(chan struct{}), answered: make(chan struct{}), written: make(chan struct{})}
	s.offered = x
	s.changeLocked()
	return x, nil
}

// Withdraw takes an event back that has not been handed out; false when it is too late.
func (s *Session) Withdraw(x *Exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offered != x {
		return false
	}
	s.offered = nil
	s.changeLocked()
	return true
}

// Close ends the conversation: parked requests are cut, a body that is being read is cut, later
// requests are refused. Idempotent.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return
	}
	close(s.closed)
	s.initialisedLocked()
	if s.abort != nil {
		s.abort()
	}
}

// Delivered is closed when the runtime has been handed the event.
func (x *Exchange) Delivered() <-chan struct{} { return x.delivered }

// Announce calls Event.Handed if that has not been done; when it returns, it has.
func (x *Exchange) Announce() {
	if x.event.Handed != nil {
		x.once.Do(x.event.Handed)
	}
}

// Answered is closed when Answer is there.
func (x *Exchange) Answered() <-chan struct{} { return x.answered }

// Answer may be called once Answered is closed.
func (x *Exchange) Answer() Answer { return x.answer }

// Handed is when the event was handed out; valid once Delivered is closed.
func (x *Exchange) Handed() time.Time { return x.handed }

// Deadline is when the invocation ends; valid once Delivered is closed.
func (x *Exchange) Deadline() time.Time { return x.deadline }

// writeTimeout is how long Unreceived waits for an event to be written to the connection.
const writeTimeout = 100 * time.Millisecond

// sent says that the event has been written to the connection.
func (x *Exchange) sent() { x.writeOnce.Do(func() { close(x.written) }) }

// Unreceived reports whether part of a delivered event never arrived in the sandbox: its
// network stack was dead before, so no code has seen the event and it may be given to another.
// It is for after the sandbox's end.
func (x *Exchange) Unreceived() bool {
	select {
	case <-x.delivered:
	default:
		return true
	}
	t := time.NewTimer(writeTimeout)
	defer t.Stop()
	select {
	case <-x.written:
	case <-t.C: // a large event, of which the kernel takes no more
	}
	return !x.heard.Load() && x.outq != nil && x.outq() > 0
}

// hear notes that a request has arrived: whoever sends one after it was handed an event has
// received that, even if it dies before it acknowledges what it is told next.
func (s *Session) hear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.heard.Store(true)
	}
}

func (s *Session) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *Session) changeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Session) initialisedLocked() {
	select {
	case <-s.initialised:
	default:
		close(s.initialised)
	}
}

// next parks the caller until there is an event for it.
func (s *Session) next(ctx context.Context, outq func() int) (*Exchange, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case running:
		// AWS: whoever asks again before it answers gets the same event again (RIE, states.go).
		return s.current, nil
	case started, responseSent, ready:
		s.state = ready
	default:
		return nil, &transitionError{s.state, ready}
	}
	s.pollers++
	defer func() { s.pollers--; s.changeLocked() }()
	s.initialisedLocked()
	s.changeLocked()
	for {
		if s.isClosed() {
			return nil, ErrClosed
		}
		if x := s.offered; x != nil && s.state == ready {
			x.handed = time.Now()
			x.deadline = x.handed.Add(x.event.Timeout)
			x.outq = outq
			s.offered, s.current, s.state = nil, x, running
			close(x.delivered)
			return x, nil
		}
		if err := s.waitLocked(ctx); err != nil {
			return nil, err
		}
	}
}

// waitLocked gives the lock up until something changes.
func (s *Session) waitLocked(ctx context.Context) error {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-s.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin starts an answer to request id. The check of the id comes first, as AWS has it. abort
// cuts the body if the session is closed meanwhile.
func (s *Session) begin(id string, to state, abort func()) (*Exchange, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isClosed():
		return nil, ErrClosed
	case s.current == nil || s.current.event.RequestID != id:
		return nil, errRequestID
	case s.state != running:
		return nil, &transitionError{s.state, to}
	}
	s.state, s.abort = to, abort
	return s.current, nil
}

// finish ends what begin began.
func (s *Session) finish(x *Exchange, a Answer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort = nil
	if s.isClosed() {
		return ErrClosed
	}
	a.At = time.Now()
	x.answer = a
	s.state = responseSent
	close(x.answered)
	s.changeLocked()
	return nil
}

// reporting begins a report of a failed initialisation, of which one at a time may arrive; end
// ends it.
func (s *Session) reporting() (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isClosed():
		return nil, ErrClosed
	case s.state != started || s.reports:
		return nil, &transitionError{s.state, initFailed}
	}
	s.reports = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reports = false
	}, nil
}

// failInit records an initialisation failure.
func (s *Session) failInit(f InitFailure) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return ErrClosed
	}
	if s.state != started {
		return &transitionError{s.state, initFailed}
	}
	s.state, s.failure = initFailed, &f
	s.initialisedLocked()
	s.changeLocked()
	return nil
}
