// Package attack lets hostile functions loose on a real server: attacks in Python and Node.js,
// judged by what they say they got and by what the host sees; zips that want out; neighbours that
// take all they can. Every attack says what its success would be and, where that is possible, is
// tried on something that it may get, so that an attack that is broken fails the test. `make test`
// runs it; LAMBENT_ATTACK=long (`make attack`) makes the neighbours more and the time longer.
package attack

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/regiontest"
)

var (
	//go:embed code/attacks.py
	pythonAttacks string
	//go:embed code/attacks.mjs
	nodeAttacks string
	//go:embed code/victim.py
	victimCode string
	//go:embed code/neighbours.py
	neighbours string
	//go:embed code/stories.py
	stories string
)

// region is a running server, and a role for its functions that may do nothing.
type region struct {
	*regiontest.Region
	t    *testing.T
	role string
	api  *lambda.Client
}

// start starts a server on a fresh state directory.
func start(t *testing.T, flags ...string) *region {
	t.Helper()
	r := regiontest.FromEnv(t, os.Getenv)
	r.Up(flags...)
	return &region{r, t, r.Role("powerless"), r.Lambda()}
}

// with is the same region for a part of its test.
func (r *region) with(t *testing.T) *region {
	return &region{r.With(t), t, r.role, r.api}
}

// python makes a function of one file; edit may be nil.
func (r *region) python(name, handler, code string, memory, timeout int32, edit func(*lambda.CreateFunctionInput)) {
	r.t.Helper()
	in := lambda.CreateFunctionInput{
		FunctionName: &name, Role: &r.role, Runtime: types.RuntimePython313, Handler: aws.String("app." + handler),
		MemorySize: &memory, Timeout: &timeout,
	}
	if edit != nil {
		edit(&in)
	}
	r.Create(in, map[string]string{"app.py": code})
}

// answer is what an invoke gave.
type answer struct {
	body  string
	fault string // X-Amz-Function-Error
	log   string // the end of the log
}

// try invokes a function.
func (r *region) try(name string, event any) (answer, error) {
	payload, err := json.Marshal(event)
	if err != nil {
		return answer{}, err
	}
	out, err := r.api.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: &name, Payload: payload, LogType: types.LogTypeTail})
	if err != nil {
		return answer{}, err
	}
	log, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
	return answer{string(out.Payload), aws.ToString(out.FunctionError), string(log)}, err
}

// invoke is try on a test that cannot go on without the answer.
func (r *region) invoke(name string, event any) answer {
	r.t.Helper()
	got, err := r.try(name, event)
	if err != nil {
		r.t.Fatalf("invoke %s: %v", name, err)
	}
	return got
}

// want reads an answer that must be no error.
func want[T any](t *testing.T, got answer) (out T) {
	t.Helper()
	if err := json.Unmarshal([]byte(got.body), &out); err != nil || got.fault != "" {
		t.Fatalf("%v: %s %s\n%s", err, got.fault, got.body, got.log)
	}
	return out
}

// secret reads a file of the host's that is a secret or identifies it; short ones prove nothing.
func secret(path string) []string {
	b, err := os.ReadFile(path)
	if s := strings.TrimSpace(string(b)); err == nil && len(s) >= 12 {
		return []string{s}
	}
	return nil
}
