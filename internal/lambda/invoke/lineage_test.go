package invoke_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
)

// seen remembers what was invoked and answers at once.
type seen struct{ trace string }

func (s *seen) Invoke(_ context.Context, _ function.Function, inv function.Invocation) (function.Result, error) {
	s.trace = inv.Trace
	return function.Result{}, nil
}

// TestRecursion passes the trace header of each invocation to the next, as AWS's SDKs do.
func TestRecursion(t *testing.T) {
	other, allowed := fn, fn
	other.Name, other.ID = "g", "2"
	allowed.Name, allowed.RecursiveLoop = "h", function.Allow
	p := &seen{}
	r := &invoke.Router{Functions: functions{"1/f": fn, "1/g": other, "1/h": allowed}, Pool: p}
	for _, tc := range []struct {
		name  string
		chain []string // functions that invoke each other in turn
		want  int      // invocations that run; 0 means all of 50
	}{
		{"a function invokes itself", []string{"f"}, 16},
		{"two invoke each other", []string{"f", "g"}, 32},
		{"a loop through one that allows it ends at the one that does not", []string{"h", "f"}, 33},
		{"a loop that is allowed", []string{"h"}, 0},
	} {
		trace, ran := "", 0
		var err error
		for ran < 50 {
			inv := function.Invocation{Account: "1", Name: tc.chain[ran%len(tc.chain)], Trace: trace}
			if _, err = r.Invoke(t.Context(), inv); err != nil {
				break
			}
			trace = p.trace
			ran++
		}
		if want := tc.want; want == 0 && err != nil || want != 0 && (ran != want || !errors.Is(err, invoke.ErrRecursive)) {
			t.Errorf("%s: %d ran, then %v", tc.name, ran, err)
		}
	}
	// The same function in requests that have nothing to do with each other is no loop.
	for range 40 {
		if _, err := r.Invoke(t.Context(), function.Invocation{Account: "1", Name: "f", Trace: "Root=1-0-0"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLineage(t *testing.T) {
	p := &seen{}
	r := &invoke.Router{Functions: functions{"1/f": fn}, Pool: p}
	for _, tc := range []struct{ sent, want string }{
		{"Root=1-a-b;Parent=c;Sampled=1", `^Root=1-a-b;Parent=c;Sampled=1;Lineage=[0-9a-f]{8}:1$`},
		{"Root=1-a-b;Lineage=a87bd80c:1|68fd508a:5;Sampled=0", `^Root=1-a-b;Sampled=0;Lineage=a87bd80c:1\|68fd508a:5\|[0-9a-f]{8}:1$`},
		{"Root=1-a-b; Lineage=", `^Root=1-a-b;Lineage=[0-9a-f]{8}:1$`},
	} {
		if _, err := r.Invoke(t.Context(), function.Invocation{Account: "1", Name: "f", Trace: tc.sent}); err != nil || !regexp.MustCompile(tc.want).MatchString(p.trace) {
			t.Errorf("%q became %q, %v", tc.sent, p.trace, err)
		}
	}
	_, link, _ := strings.Cut(p.trace, "Lineage=")
	hash, _, _ := strings.Cut(link, ":")
	for count, refused := range map[string]bool{"15": false, "16": true, "99999999999999999999": false, "-3": false, "1000000": true, "x": false} {
		_, err := r.Invoke(t.Context(), function.Invocation{Account: "1", Name: "f", Trace: "Root=1-a-b;Lineage=" + hash + ":" + count})
		if errors.Is(err, invoke.ErrRecursive) != refused {
			t.Errorf("a lineage of %s: %v", count, err)
		}
	}
}

// TestFunctionOfThen: what was accepted for a function does not run on another one of its name.
func TestFunctionOfThen(t *testing.T) {
	again := fn
	again.ID = "new"
	r := &invoke.Router{Functions: functions{"1/f": again}, Pool: &seen{}}
	for id, want := range map[string]error{"": nil, "new": nil, "old": function.ErrNotFound} {
		if _, err := r.Invoke(t.Context(), function.Invocation{Account: "1", Name: "f", FunctionID: id}); !errors.Is(err, want) {
			t.Errorf("accepted for %q: %v", id, err)
		}
	}
}
