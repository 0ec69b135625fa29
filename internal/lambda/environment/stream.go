package environment

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// LogEvent is one event of a log stream.
type LogEvent struct {
	Time    time.Time
	Message string
}

// Logs is where log events go. Append returns when they are written as far as a crash of this
// process is concerned; it may block, which slows the function that prints.
type Logs interface {
	Append(ctx context.Context, account, group, stream string, events []LogEvent) error
}

// tailSize is how much of its log an invocation can answer with.
const tailSize = 4 << 10

// stream is the log stream of one environment. Platform lines and function output reach it by
// different methods' callers only: nothing a function prints becomes a platform line.
type stream struct {
	logs                 Logs
	account, group, name string
	log                  *slog.Logger

	slow sync.Once // has been said

	mu      sync.Mutex
	tail    []byte // the end of the invocation's log so far
	tailing bool
	failing bool // the last append failed
}

// append writes events in order.
func (s *stream) append(ctx context.Context, events ...LogEvent) {
	if len(events) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appendLocked(ctx, events)
}

func (s *stream) appendLocked(ctx context.Context, events []LogEvent) {
	err := s.logs.Append(ctx, s.account, s.group, s.name, events)
	if err != nil && !s.failing {
		s.log.Warn("log events are lost", "group", s.group, "stream", s.name, "error", err)
	}
	s.failing = err != nil
	if !s.tailing {
		return
	}
	for _, e := range events {
		m := e.Message
		if len(m) > tailSize {
			m = m[len(m)-tailSize:]
		}
		if n := len(s.tail) + len(m) - tailSize; n > 0 {
			s.tail = append(s.tail[:0], s.tail[n:]...)
		}
		s.tail = append(s.tail, m...)
	}
}

// slowed says, once, that the function has to wait in its writes: it looks slow and its operator
// wonders why.
func (s *stream) slowed() {
	s.slow.Do(func() {
		s.log.Warn("function prints faster than its log takes, and waits; said once per environment", "group", s.group, "stream", s.name)
	})
}

// early begins an invocation's tail before its first line: with the initialisation that is
// repeated inside it.
func (s *stream) early(tail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail, s.tailing = s.tail[:0], tail
}

// start writes an invocation's first line; the tail begins with it if it is wanted and has not
// begun early.
func (s *stream) start(ctx context.Context, e LogEvent, tail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tailing {
		s.tail, s.tailing = s.tail[:0], tail
	}
	s.appendLocked(ctx, []LogEvent{e})
}

// end writes an invocation's last lines and returns the tail.
func (s *stream) end(ctx context.Context, events ...LogEvent) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appendLocked(ctx, events)
	if !s.tailing {
		return nil
	}
	tail := s.tail
	s.tail, s.tailing = nil, false
	return tail
}
