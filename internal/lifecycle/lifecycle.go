// Package lifecycle runs the long-lived parts of the server. A part is a Component: its Run
// blocks until its context ends and returns after every goroutine it made has ended. A Group
// starts components in order and stops them in reverse, so that a component may use those that
// were added before it for as long as it lives.
//
// This is the only package with a bare go statement: Go and Tasks give every goroutine a name
// (a pprof label) and somebody who waits for it.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"sync"
)

// Component is a part of the server with a life of its own. Run returns nil when ctx ends,
// after its goroutines have ended; any other return is the component's own failure.
type Component interface {
	Run(ctx context.Context) error
}

// Func is a Component that is a function.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Group is a set of components with an order. The zero value is ready; Add everything first,
// then call Run once.
type Group struct {
	members []*member
}

type member struct {
	name   string
	c      Component
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done
}

// Add appends a component. Its name labels its goroutines and prefixes its error.
func (g *Group) Add(name string, c Component) {
	g.members = append(g.members, &member{name: name, c: c})
}

// Run starts the components in the order they were added, and returns when all have ended. They
// are stopped when ctx ends or when one of them fails: the last added first, each one only after
// the one above it has returned. A component that returns nil early has finished its work; the
// others go on. The error is the first failure, followed by those that stopping caused.
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan *member, len(g.members))
	var running sync.WaitGroup
	for _, m := range g.members {
		// A member lives until the group cancels it, not until ctx ends: that is what makes
		// the order of stopping ours.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		m.cancel, m.done = cancel, make(chan struct{})
		running.Add(1)
		Go(m.name, func() {
			defer running.Done()
			defer close(m.done)
			if m.err = m.c.Run(own); m.err != nil {
				failed <- m
			}
		})
	}
	all := make(chan struct{})
	wait := Go("lifecycle", func() { running.Wait(); close(all) })
	var first *member
	select {
	case <-ctx.Done():
	case <-all:
	case first = <-failed:
	}
	g.stop()
	wait()
	return g.failures(first)
}

// stop ends the members in reverse order.
func (g *Group) stop() {
	for i := len(g.members) - 1; i >= 0; i-- {
		g.members[i].cancel()
		<-g.members[i].done
	}
}

// failures joins the members' errors, first (which may be nil) before the others. Being cancelled
// is how a member is stopped, so it is no failure of a member that was not the first.
func (g *Group) failures(first *member) error {
	var errs []error
	if first != nil {
		errs = append(errs, fmt.Errorf("%s: %w", first.name, first.err))
	}
	for _, m := range g.members {
		if m == first || m.err == nil || errors.Is(m.err, context.Canceled) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %w", m.name, m.err))
	}
	return errors.Join(errs...)
}

// Go runs fn on a goroutine of its own, labelled with name in profiles, and returns a function
// that waits for its end. Whoever calls Go must call wait, or hand it to somebody who does.
func Go(name string, fn func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pprof.Do(context.Background(), pprof.Labels("component", name), func(context.Context) { fn() })
	}()
	return func() { <-done }
}

// Tasks is a set of goroutines that a component owns and waits for before it returns. The zero
// value is ready. Go must not be called once Wait has returned for the last time.
type Tasks struct {
	wg sync.WaitGroup
}

// Go runs fn on a goroutine of its own, labelled with name in profiles.
func (t *Tasks) Go(name string, fn func()) {
	t.wg.Add(1)
	Go(name, func() {
		defer t.wg.Done()
		fn()
	})
}

// Wait returns when every goroutine of the set has ended.
func (t *Tasks) Wait() { t.wg.Wait() }
