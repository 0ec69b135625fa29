package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
)

// usage is what `lambent usage` says by the state directory's credentials.
func (r *region) usage(into any, args ...string) {
	r.t.Helper()
	out, err := r.lambent(os.Environ(), append([]string{"usage", "--state-dir", r.State, "--output", "json"}, args...)...)
	if err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
}

// liar answers, fails, and prints lines of the platform's all the time.
const liar = `import json
def handler(e, c):
    print("END RequestId: " + c.aws_request_id)
    print("REPORT RequestId: " + c.aws_request_id + "\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 1 MB\tMax Memory Used: 1 MB\t")
    print("REPORT RequestId: 11111111-1111-1111-1111-111111111111\tDuration: 9999999.00 ms\tBilled Duration: 9999999 ms\tMemory Size: 10240 MB\tMax Memory Used: 1 MB\t")
    print(json.dumps({"time": "2026-01-01T00:00:00.000Z", "type": "platform.report", "record": {"requestId": c.aws_request_id, "metrics": {"billedDurationMs": 1}}}))
    if e == "fail": raise Exception("asked to")
    return e
`

var reportLine = regexp.MustCompile(`Billed Duration: (\d+) ms\tMemory Size: 256 MB`)

// TestUsage: after N invocations the bill has N requests and REPORT's milliseconds, whatever
// functions print, also after kill -9 and with prices of the operator's own.
func TestUsage(t *testing.T) {
	prices := filepath.Join(t.TempDir(), "prices.json")
	if err := os.WriteFile(prices, []byte(`{"source":"ours","date":"2026-01-01","currency":"EUR","perMillionRequests":1000000,"perGBSecond":{"x86_64":[{"price":0}],"arm64":[{"price":0}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t)
	r.Create(lambda.CreateFunctionInput{
		FunctionName: aws.String("liar"), Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), Role: aws.String(r.Role("liar")), MemorySize: aws.Int32(256),
	}, map[string]string{"app.py": liar})
	const n = 20
	var billed int64
	for i := range n {
		payload := `"ok"`
		if i%4 == 3 {
			payload = `"fail"`
		}
		out, err := r.Lambda().Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("liar"), Payload: []byte(payload), LogType: types.LogTypeTail})
		if err != nil {
			t.Fatal(err)
		}
		m := reportLine.FindStringSubmatch(unbase64(t, *out.LogResult))
		if m == nil {
			t.Fatalf("no REPORT in %s", unbase64(t, *out.LogResult))
		}
		var ms int64
		if _, err := fmt.Sscan(m[1], &ms); err != nil {
			t.Fatal(err)
		}
		billed += ms
	}
	check := func(currency string, cost func(lambentapi.UsageLine) bool) {
		t.Helper()
		var out lambentapi.GetUsageOutput
		r.usage(&out)
		got := out.Total
		if len(out.Lines) != 1 || out.Lines[0].Function != "liar" || out.Lines[0].Day != time.Now().UTC().Format(time.DateOnly) ||
			got.Requests != n || got.Errors != n/4 || got.Aborted != 0 || got.BilledMs != billed || out.Currency != currency || !cost(got) {
			t.Errorf("%d ms in REPORT lines, usage %+v", billed, out)
		}
	}
	check("USD", func(l lambentapi.UsageLine) bool {
		want := n*0.2/1e6 + float64(billed)/1000/4*0.0000166667
		return l.Cost > want*0.999999 && l.Cost < want*1.000001
	})
	table, err := r.lambent(os.Environ(), "usage", "--state-dir", r.State)
	if err != nil || !regexp.MustCompile(`(?m)^total +20 +5 +0 `).MatchString(table) {
		t.Errorf("%v:\n%s", err, table)
	}
	t.Logf("\n%s", table)
	csv, err := r.lambent(append(r.Env(), "AWS_ENDPOINT_URL_LAMBENT="+r.URL, "AWS_ENDPOINT_URL=http://192.0.2.1"), "usage", "--invocations", "--output", "csv")
	if err != nil || strings.Count(csv, "\n") != n+1 || strings.Count(csv, ",success,") != n-n/4 || strings.Contains(csv, "11111111-") {
		t.Errorf("%v:\n%s", err, csv)
	}
	r.Stop(syscall.SIGKILL)
	r.Up("--prices", prices)
	check("EUR", func(l lambentapi.UsageLine) bool { return l.Cost == n })
}

// TestRotate: the new root key is in the file and serves, the old one is dead at once.
func TestRotate(t *testing.T) {
	r := start(t)
	old := r.Config()
	key, err := old.Credentials.Retrieve(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.lambent(os.Environ(), "keys", "rotate", "--state-dir", r.State)
	if err != nil || !strings.Contains(out, filepath.Join(r.State, "credentials")) || strings.Contains(out, key.AccessKeyID) {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := lambda.NewFromConfig(old).ListFunctions(context.Background(), &lambda.ListFunctionsInput{}); err == nil || !strings.Contains(err.Error(), "UnrecognizedClientException") {
		t.Errorf("the old key: %v", err)
	}
	if got := r.aws("sts", "get-caller-identity", "--query", "Arn", "--output", "text"); !strings.HasSuffix(got, ":root") {
		t.Errorf("the new key: %s", got)
	}
	user, err := r.lambent([]string{"PATH=/"}, "usage", "--state-dir", t.TempDir())
	if err == nil || !strings.Contains(user, "AWS_ENDPOINT_URL") {
		t.Errorf("no region: %v: %s", err, user)
	}
}
