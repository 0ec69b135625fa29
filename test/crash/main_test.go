// Package crash kills servers, sandboxes and helpers while clients work, and holds what is there
// afterwards against what was acknowledged. `make e2e` runs a short form of it and sets what it
// needs (see regiontest.FromEnv); `make soak` runs the whole.
package crash

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/regiontest"
)

// times is how often a test repeats what it is about: in the short form, and in the whole.
func times(short, whole int) int {
	if os.Getenv("LAMBENT_SOAK") != "" {
		return whole
	}
	return short
}

// waitFor polls for a condition that another process brings about.
func waitFor(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// freePort is a port for a server that comes back at the same address.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// python is a function of one file.
func python(name, role string) lambda.CreateFunctionInput {
	return lambda.CreateFunctionInput{
		FunctionName: &name, Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"),
		MemorySize: aws.Int32(128), Timeout: aws.Int32(30),
	}
}

func source(text string) map[string]string { return map[string]string{"app.py": text} }

// answer is what an invoke gave.
type answer struct{ body, fault string }

func invoke(t *testing.T, c *lambda.Client, name, payload string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: []byte(payload)})
	if err != nil {
		t.Fatalf("invoke %s: %v", name, err)
	}
	return answer{string(out.Payload), aws.ToString(out.FunctionError)}
}

func fresh(t *testing.T) *regiontest.Region { return regiontest.FromEnv(t, os.Getenv) }
