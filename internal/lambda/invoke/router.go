// Package invoke is the one way to run a function: it finds the function an invocation means,
// refuses what its state does not allow, completes the invocation and hands it to an
// environment. Every caller comes through Router.Invoke (the API, the queue of asynchronous
// events, whatever delivers events later), so nothing bypasses admission.
//
// A Router holds no state of its own and is safe for concurrent use.
package invoke

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/pool"
)

// ThrottledError says that an invocation exceeds a limit: of the account or of this host.
type ThrottledError = pool.ThrottledError

// ErrDraining says that this node takes no more invocations.
var ErrDraining = pool.ErrDraining

// StateError says that a function cannot be invoked in its state.
type StateError struct{ State string }

// Error is AWS's text.
func (e *StateError) Error() string {
	return "The operation cannot be performed at this time. The function is currently in the following state: " + e.State
}

// Functions finds functions as they run, which during an update is as they were before;
// function.ErrNotFound when there is none. It is *function.Store.
type Functions interface {
	Serving(account, name string) (function.Function, error)
}

var _ Functions = (*function.Store)(nil)

// Pool runs invocations; it is pool.Pool.
type Pool interface {
	Invoke(ctx context.Context, fn function.Function, inv function.Invocation) (function.Result, error)
}

// Router routes invocations.
type Router struct {
	Functions Functions
	Pool      Pool
	// Now is the clock of trace ids; default time.Now.
	Now func() time.Time
	// Observe is told how each invocation of a function that exists ended; nil is allowed. It
	// must not block.
	Observe func(fn function.Function, inv function.Invocation, result function.Result, err error)
}

// Resolve finds the function that inv means and completes inv: request id, trace id, ARN and
// payload. The result can be invoked now.
func (r *Router) Resolve(inv *function.Invocation) (function.Function, error) {
	fn, err := r.Functions.Serving(inv.Account, inv.Name)
	if err != nil {
		return fn, err
	}
	if inv.FunctionID != "" && inv.FunctionID != fn.ID {
		return fn, fmt.Errorf("%s is not the one of then: %w", inv.Name, function.ErrNotFound)
	}
	if q := inv.Qualifier; q != "" && q != function.Latest {
		return fn, fmt.Errorf("%s:%s: %w", inv.Name, q, function.ErrNotFound)
	}
	switch fn.State {
	case "", function.Active:
	default:
		return fn, &StateError{fn.State}
	}
	inv.RequestID = cmp.Or(inv.RequestID, uuid.NewString())
	inv.InvokedARN = cmp.Or(inv.InvokedARN, arnOf(fn, inv.Qualifier))
	trace, count := follow(cmp.Or(inv.Trace, r.trace()), fn)
	if count > maxLoop && fn.RecursiveLoop != function.Allow {
		return fn, fmt.Errorf("%s, request %s: %w", inv.Name, inv.RequestID, ErrRecursive)
	}
	inv.Trace = trace
	if len(inv.Payload) == 0 {
		// AWS: a function invoked without a payload gets an empty object.
		inv.Payload = []byte("{}")
	}
	return fn, nil
}

// arnOf is the ARN the function was called by.
func arnOf(fn function.Function, qualifier string) string {
	if qualifier == "" {
		return fn.ARN()
	}
	return fn.ARN() + ":" + qualifier
}

// Invoke runs an invocation and returns its result, that of a function error included. Errors:
// function.ErrNotFound, ErrRecursive, *StateError, *ThrottledError, ErrDraining, ctx's; anything else is a
// fault of this system.
func (r *Router) Invoke(ctx context.Context, inv function.Invocation) (function.Result, error) {
	fn, err := r.Resolve(&inv)
	if err != nil {
		return function.Result{}, err
	}
	result, err := r.Pool.Invoke(ctx, fn, inv)
	if r.Observe != nil {
		r.Observe(fn, inv, result, err)
	}
	return result, err
}

// trace is a trace header that says the request is not sampled, as AWS makes one for every
// request that comes without.
func (r *Router) trace() string {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	var b [20]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("Root=1-%08x-%s;Parent=%s;Sampled=0", uint32(now().Unix()), hex.EncodeToString(b[:12]), hex.EncodeToString(b[12:]))
}
