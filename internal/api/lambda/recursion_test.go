package lambda

import (
	"fmt"
	"net/http"
	"testing"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
)

// TestRecursionConfig: what is put is what is got and what the function runs by, and a function that
// is made again under the same name begins with Terminate.
func TestRecursionConfig(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	const path = "/2024-08-31/functions/f/recursion-config"
	for _, loop := range []string{"Allow", "Terminate", "Allow"} {
		body := fmt.Sprintf(`{"RecursiveLoop":"%s"}`, loop)
		for _, method := range []string{"PUT", "GET"} {
			if a := r.do(method, path, body); a.status != 200 || a.body != body {
				t.Errorf("%s %s: %d %s", method, loop, a.status, a.body)
			}
		}
		if f, err := r.store.Serving(testAccount, "f"); err != nil || f.RecursiveLoop != loop {
			t.Errorf("it runs by %q, %v", f.RecursiveLoop, err)
		}
	}
	r.do("PUT", path, `{"RecursiveLoop":"Allow"}`)
	if asked := r.lastAsked(); len(asked) != 2 || asked[0] != "lambda:PutFunctionRecursionConfig" || asked[1] != testARN+"f" {
		t.Errorf("authorised as %q", asked)
	}
	for _, c := range []struct {
		path, body string
		status     int
		code       string
	}{
		{"/2024-08-31/functions/f/recursion-config", `{}`, 400, "ValidationException"},
		{"/2024-08-31/functions/f/recursion-config", `{"RecursiveLoop":"allow"}`, 400, "ValidationException"},
		{"/2024-08-31/functions/f:1/recursion-config", `{"RecursiveLoop":"Allow"}`, 400, "InvalidParameterValueException"},
		{"/2024-08-31/functions/g/recursion-config", `{"RecursiveLoop":"Allow"}`, 404, "ResourceNotFoundException"},
	} {
		if a := r.do("PUT", c.path, c.body); a.status != c.status || a.code() != c.code {
			t.Errorf("%s %s: %d %s", c.path, c.body, a.status, a.body)
		}
	}
	r.do("DELETE", functions+"/f", "")
	r.create("f")
	if a := r.do("GET", path, ""); a.body != `{"RecursiveLoop":"Terminate"}` {
		t.Errorf("made again: %s", a.body)
	}
}

// TestRecursionStopped: whoever waits for an invocation that is part of a loop is told in AWS's words.
func TestRecursionStopped(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	r.invoke = func(function.Invocation) (function.Result, error) {
		return function.Result{}, fmt.Errorf("f: %w", invoke.ErrRecursive)
	}
	a := r.do("POST", functions+"/f/invocations", `{}`)
	if a.status != http.StatusBadRequest || a.code() != "RecursiveInvocationException" || a.message() != textRecursive {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestInvocationOfThisFunction: what is accepted says which function it is for, not only its name.
func TestInvocationOfThisFunction(t *testing.T) {
	r := newRegion(t)
	for range 2 {
		r.create("f")
		f, err := r.store.Get(testAccount, "f")
		if err != nil {
			t.Fatal(err)
		}
		r.do("POST", functions+"/f/invocations", `{}`, "X-Amz-Invocation-Type", "Event")
		if last := r.events[len(r.events)-1]; f.ID == "" || last.FunctionID != f.ID {
			t.Errorf("an event for %q, the function is %q", last.FunctionID, f.ID)
		}
		r.do("DELETE", functions+"/f", "")
	}
	if r.events[0].FunctionID == r.events[1].FunctionID {
		t.Error("two functions of one name are taken for the same")
	}
}
