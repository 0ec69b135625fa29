package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const counting = `
import time
n = 0
def handler(e, c):
    global n
    n += 1
    return n
def slow(e, c):
    time.sleep(4)
    return "done"
`

// refusals keeps what a server answers with 429, as it came over the wire.
type refusals struct {
	mu      sync.Mutex
	bodies  []string
	headers []http.Header
}

func (r *refusals) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusTooManyRequests {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies, r.headers = append(r.bodies, string(body)), append(r.headers, resp.Header)
	return resp, err
}

// TestThrottle: what exceeds the account's concurrency is refused as AWS refuses it, at once.
func TestThrottle(t *testing.T) {
	r := start(t, "--concurrency", "2")
	role := r.Role("throttle")
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("slow"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.slow"), Timeout: aws.Int32(30)},
		map[string]string{"app.py": counting})
	account, err := r.Lambda().GetAccountSettings(t.Context(), &lambda.GetAccountSettingsInput{})
	if err != nil || account.AccountLimit.ConcurrentExecutions != 2 {
		t.Errorf("GetAccountSettings: %+v, %v; want 2 concurrent executions", account, err)
	}
	var seen refusals
	config := r.Config()
	config.HTTPClient = &http.Client{Transport: &seen}
	config.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	client := lambda.NewFromConfig(config)
	answers := make(chan error, 3)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			out, err := client.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("slow")})
			if err == nil && string(out.Payload) != `"done"` {
				err = fmt.Errorf("answer %s", out.Payload)
			}
			answers <- err
		})
	}
	wg.Wait()
	refused := 0
	for range 3 {
		err := <-answers
		var throttled *types.TooManyRequestsException
		switch {
		case errors.As(err, &throttled):
			refused++
			if throttled.Reason != types.ThrottleReasonConcurrentInvocationLimitExceeded {
				t.Errorf("reason %s", throttled.Reason)
			}
		case err != nil:
			t.Error(err)
		}
	}
	if refused != 1 || len(seen.bodies) != 1 {
		t.Fatalf("%d of 3 refused (%q), want 1", refused, seen.bodies)
	}
	if want := `{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}`; seen.bodies[0] != want {
		t.Errorf("body %s\nwant %s", seen.bodies[0], want)
	}
	if seen.headers[0].Get("Retry-After") == "" || seen.headers[0].Get("X-Amzn-Errortype") != "TooManyRequestsException" {
		t.Errorf("headers %v", seen.headers[0])
	}
}

// TestIdle: an environment that was not used for the idle timeout is gone; until then it is
// frozen, and the same when it is needed again.
func TestIdle(t *testing.T) {
	in := lambda.CreateFunctionInput{FunctionName: aws.String("count"), Runtime: types.RuntimePython313, Handler: aws.String("app.handler")}
	code := map[string]string{"app.py": counting}
	cold := func(a answer) bool { return strings.Contains(a.log, "Init Duration: ") }
	t.Run("removed", func(t *testing.T) {
		r := start(t, "--idle-timeout", "1s")
		role := r.Role("idle")
		in := in
		in.Role = &role
		r.Create(in, code)
		if got := r.invoke("count", `{}`); got.body != "1" || !cold(got) || sandboxes(r.State) == 0 {
			t.Fatalf("%+v, %d sandboxes", got, sandboxes(r.State))
		}
		// The pool looks every 10 s.
		waitFor(t, 30*time.Second, "the idle environment is gone", func() bool { return sandboxes(r.State) == 0 })
		if got := r.invoke("count", `{}`); got.body != "1" || !cold(got) {
			t.Errorf("after the idle timeout: %+v, want a fresh environment", got)
		}
	})
	t.Run("kept", func(t *testing.T) {
		r := start(t)
		role := r.Role("kept")
		in := in
		in.Role = &role
		r.Create(in, code)
		r.invoke("count", `{}`)
		<-time.After(10 * time.Second)
		if got := r.invoke("count", `{}`); got.body != "2" || cold(got) {
			t.Errorf("after 10 s: %+v, want the same environment", got)
		}
	})
}

// TestEvent: an asynchronous invocation is accepted with 202 and runs once. The function shows
// that it ran by tagging itself, with its role.
func TestEvent(t *testing.T) {
	r := start(t)
	role := r.Role("event")
	r.aws("iam", "put-role-policy", "--role-name", "event", "--policy-name", "tag", "--policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:TagResource","Resource":"*"}]}`)
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("later"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), MemorySize: aws.Int32(1024), Timeout: aws.Int32(60)},
		map[string]string{"app.py": `
import boto3, uuid
def handler(e, c):
    arn = c.invoked_function_arn.removesuffix(":$LATEST")
    boto3.client("lambda").tag_resource(Resource=arn, Tags={"run-" + uuid.uuid4().hex: e["mark"] + "/" + c.aws_request_id})
`})
	client := r.Lambda()
	out, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("later"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{"mark":"seen"}`)})
	if err != nil || out.StatusCode != 202 || len(out.Payload) != 0 || out.FunctionError != nil {
		t.Fatalf("%+v, %v; want 202 and no payload", out, err)
	}
	id, _ := awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
	f, err := client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("later")})
	if err != nil {
		t.Fatal(err)
	}
	var tags map[string]string
	list := func() bool {
		out, err := client.ListTags(t.Context(), &lambda.ListTagsInput{Resource: f.Configuration.FunctionArn})
		if err != nil {
			t.Fatal(err)
		}
		tags = out.Tags
		return len(tags) > 0
	}
	waitFor(t, 30*time.Second, "the event ran", list)
	<-time.After(3 * time.Second) // time for a second run, if there were one
	if list(); len(tags) != 1 {
		t.Errorf("ran %d times: %v", len(tags), tags)
	}
	for _, mark := range tags {
		if mark != "seen/"+id {
			t.Errorf("the function saw %s, want the payload's mark and request id %s", mark, id)
		}
	}
}
