package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// loops are functions that send themselves an event with the runtime's own SDK and print that they
// ran, and what they were told of the chain.
var loops = []struct {
	name, handler string
	runtime       types.Runtime
	files         map[string]string
}{
	{"loop-python", "app.handler", types.RuntimePython313, map[string]string{"app.py": `
import boto3, json, os
def handler(e, c):
    print("ran", e["n"], c.aws_request_id)
    if e["n"]:
        boto3.client("lambda").invoke(FunctionName=c.function_name, InvocationType="Event", Payload=json.dumps({"n": e["n"] + 1}))
    return os.environ["_X_AMZN_TRACE_ID"]
`}},
	{"loop-node", "index.handler", types.RuntimeNodejs22x, map[string]string{"index.mjs": `
import { LambdaClient, InvokeCommand } from "@aws-sdk/client-lambda";
const client = new LambdaClient();
export const handler = async (e, c) => {
  console.log("ran", e.n, c.awsRequestId);
  if (e.n) await client.send(new InvokeCommand({ FunctionName: c.functionName, InvocationType: "Event", Payload: JSON.stringify({ n: e.n + 1 }) }));
  return process.env._X_AMZN_TRACE_ID;
};
`}},
}

// TestRecursion: a function that sends itself events runs 16 times and is stopped, in every runtime
// that has an SDK; one that may go on does; and who waits for a loop is told.
func TestRecursion(t *testing.T) {
	r := start(t)
	role := r.Role("loop")
	r.aws("iam", "put-role-policy", "--role-name", "loop", "--policy-name", "invoke", "--policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"*"}]}`)
	for _, l := range loops {
		r.Create(lambda.CreateFunctionInput{
			FunctionName: &l.name, Role: &role, Runtime: l.runtime, Handler: &l.handler, MemorySize: aws.Int32(1024), Timeout: aws.Int32(60),
		}, l.files)
	}
	for _, l := range loops {
		r.event(l.name, `{"n":1}`)
	}
	for _, l := range loops {
		waitFor(t, time.Minute, l.name+" ran 16 times", func() bool { return r.ran(l.name) >= 16 })
	}
	for _, l := range loops {
		r.stopped(l.name, l.runtime)
	}
	<-time.After(3 * time.Second) // for more than 16, if there were any
	for _, l := range loops {
		if n := r.ran(l.name); n != 17 { // one of them the question of stopped
			t.Errorf("%s ran %d times", l.name, n)
		}
	}
	if out := r.aws("lambda", "put-function-recursion-config", "--function-name", "loop-python", "--recursive-loop", "Allow"); !strings.Contains(out, "Allow") {
		t.Errorf("put-function-recursion-config: %s", out)
	}
	r.event("loop-python", `{"n":1}`)
	waitFor(t, time.Minute, "an allowed loop goes on", func() bool { return r.ran("loop-python") > 17+20 })
	if _, err := r.Lambda().DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("loop-python")}); err != nil {
		t.Error(err)
	}
}

// event sends an event.
func (r *region) event(name, payload string) {
	r.t.Helper()
	if _, err := r.Lambda().Invoke(context.Background(), &lambda.InvokeInput{
		FunctionName: &name, InvocationType: types.InvocationTypeEvent, Payload: []byte(payload),
	}); err != nil {
		r.t.Fatal(err)
	}
}

// ran counts the invocations that the log has.
func (r *region) ran(name string) int {
	out, _, err := r.tryAWS("logs", "filter-log-events", "--log-group-name", "/aws/lambda/"+name, "--filter-pattern", "ran", "--query", "events[].message", "--output", "json")
	if err != nil {
		return 0 // before the first line
	}
	var lines []string
	if err := json.Unmarshal([]byte(out), &lines); err != nil {
		r.t.Fatal(err)
	}
	return len(lines)
}

// stopped asks a function for its place in a chain of requests and invokes it from the end of one.
func (r *region) stopped(name string, runtime types.Runtime) {
	r.t.Helper()
	trace := strings.Trim(r.invoke(name, `{"n":0}`).body, `"`)
	if !regexp.MustCompile(`^Root=1-[0-9a-f-]{33};Parent=[0-9a-f]{16};Sampled=0;Lineage=[0-9a-f]{8}:1$`).MatchString(trace) {
		r.t.Errorf("%s: the trace header is %q", runtime, trace)
	}
	end := strings.TrimSuffix(trace, ":1") + ":16"
	_, err := r.Lambda().Invoke(context.Background(), &lambda.InvokeInput{FunctionName: &name, Payload: []byte(`{"n":0}`)}, func(o *lambda.Options) {
		o.APIOptions = append(o.APIOptions, smithyhttp.AddHeaderValue("X-Amzn-Trace-Id", end))
	})
	var loop *types.RecursiveInvocationException
	if !errors.As(err, &loop) {
		r.t.Errorf("%s at the end of a chain: %v", name, err)
	}
}
