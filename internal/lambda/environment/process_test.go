package environment_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/environment/environmenttest"
	"lambent.dev/lambent/internal/lambda/environment/runtimeapi"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/network"
	"lambent.dev/lambent/internal/sandbox/fake"
	"lambent.dev/lambent/internal/workload"
)

// TestMain runs the tests, or, in a process that TestProcess starts, a function on AWS's library
// for Go.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		lambda.Start(handle)
		return
	}
	goleak.VerifyTestMain(m)
}

type order struct{ Do, Name string }

func handle(ctx context.Context, o order) (map[string]any, error) {
	fmt.Println("doing", o.Do)
	switch o.Do {
	case "error":
		return nil, errors.New("no such luck")
	case "panic":
		panic("at the disco")
	}
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, ok := ctx.Deadline()
	return map[string]any{"name": o.Name, "id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "deadline": ok && !deadline.IsZero()}, nil
}

// loopback gives every workload the address of the host itself.
type loopback struct{}

func (loopback) Attach(_ context.Context, id string) (*network.Endpoint, error) {
	return &network.Endpoint{ID: id, Addr: netip.MustParseAddr("127.0.0.1")}, nil
}
func (loopback) Detach(context.Context, string) error { return nil }

// TestProcess runs AWS's library for Go, as a process, through workload and the Runtime API.
func TestProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := runtimeapi.New(runtimeapi.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = api.Serve(ctx, l) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	logs := &environmenttest.Logs{}
	cfg := environment.Config{
		Start: environment.Workloads(&workload.Machine{Sandbox: &fake.Runtime{}, Network: loopback{}}),
		API:   api, Logs: logs,
		Prepare: func(context.Context, function.Function) (environment.Bundle, error) {
			return environment.Bundle{RootFS: "/none", Args: []string{os.Args[0]}, Cwd: "/"}, nil
		},
		Credentials: func(context.Context, function.Function) (environment.Credentials, error) {
			return environment.Credentials{}, nil
		},
		Variables: func(function.Function, environment.Bundle, environment.Credentials, string) []string {
			return []string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "PATH=/usr/bin:/bin"}
		},
	}
	e, err := environment.Start(t.Context(), cfg, environment.Spec{Function: fn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop(context.Background()) })
	for _, tc := range []struct{ do, id, body, error string }{
		{"work", "id-1", `"name":"n"`, ""},
		{"error", "id-2", `{"errorMessage":"no such luck","errorType":"errorString"}`, "Unhandled"},
		{"work", "id-3", `"id":"id-3"`, ""},
		{"panic", "id-4", `"errorMessage":"at the disco"`, "Unhandled"},
	} {
		payload, _ := json.Marshal(order{tc.do, "n"})
		inv := invocation(tc.id)
		inv.Payload = payload
		r, err := e.Invoke(t.Context(), inv)
		if err != nil {
			t.Fatalf("%s: %v", tc.do, err)
		}
		if body := readAll(t, r); !strings.Contains(body, tc.body) || r.Error != tc.error {
			t.Errorf("%s: %s %q, want %s %q", tc.do, body, r.Error, tc.body, tc.error)
		}
		if !strings.Contains(string(r.LogTail), "\ndoing "+tc.do+"\n") {
			t.Errorf("%s: tail = %s", tc.do, r.LogTail)
		}
	}
	<-e.Done() // the library ends the process after a panic
}
