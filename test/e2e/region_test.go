// Package e2e runs real clients against a real server with the real sandbox. `make e2e` sets
// LAMBENT_E2E (the binary), LAMBENT_RUNTIMES (the images) and LAMBENT_VENV (the AWS CLI and
// boto3); without them the tests are skipped, in CI they fail.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/regiontest"
)

// region is a running server, and the clients of its users.
type region struct {
	*regiontest.Region
	t *testing.T
}

// need gives an environment variable of the Makefile's, or skips: in CI it fails.
func need(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	switch {
	case v != "":
		return v
	case os.Getenv("CI") != "":
		t.Fatalf("%s is not set: run this by `make e2e`", name)
	}
	t.Skipf("%s is not set: run this by `make e2e`", name)
	return ""
}

// start starts a server on a fresh state directory.
func start(t *testing.T, flags ...string) *region {
	t.Helper()
	return startIn(t, filepath.Join(t.TempDir(), "state"), flags...)
}

// startIn starts a server on a state directory.
func startIn(t *testing.T, state string, flags ...string) *region {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("not root")
		}
		t.Skip("needs root for sandboxes")
	}
	r := regiontest.New(t, need(t, "LAMBENT_E2E"), need(t, "LAMBENT_RUNTIMES"), state)
	r.Up(flags...)
	return &region{r, t}
}

// with is the same region for a part of its test.
func (r *region) with(t *testing.T) *region { return &region{r.With(t), t} }

// aws runs the real AWS CLI and gives its standard output.
func (r *region) aws(args ...string) string {
	r.t.Helper()
	out, stderr, err := r.tryAWS(args...)
	if err != nil {
		r.t.Fatalf("aws %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return out
}

func (r *region) tryAWS(args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	c := exec.Command(filepath.Join(need(r.t, "LAMBENT_VENV"), "bin/aws"), args...)
	c.Env, c.Stdout, c.Stderr = r.Env(), &out, &errs
	err = c.Run()
	return strings.TrimSpace(out.String()), errs.String(), err
}

// answer is what an invoke gave.
type answer struct {
	body  string
	fault string // X-Amz-Function-Error
	log   string // LogType Tail
}

// invoke invokes a function with a JSON payload and the log's tail.
func (r *region) invoke(name, payload string) answer {
	r.t.Helper()
	out, err := r.Lambda().Invoke(context.Background(), &lambda.InvokeInput{
		FunctionName: &name, Payload: []byte(payload), LogType: types.LogTypeTail,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{string(out.Payload), aws.ToString(out.FunctionError), unbase64(r.t, aws.ToString(out.LogResult))}
}

func unbase64(t *testing.T, s string) string {
	t.Helper()
	var b []byte
	if err := json.Unmarshal([]byte(`"`+s+`"`), &b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}
