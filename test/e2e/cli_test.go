package e2e

import (
	"encoding/json"
	"io"
	"net/http"
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

// TestCLI walks a newcomer's way with the real AWS CLI and its waiters.
func TestCLI(t *testing.T) {
	r := start(t)
	dir := t.TempDir()
	zip := filepath.Join(dir, "f.zip")
	if err := os.WriteFile(zip, regiontest.Zip(t, map[string]string{"app.py": "def handler(event, context):\n    print('seen', event['n'])\n    return {'n': event['n'] + 1}\n"}), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.aws("sts", "get-caller-identity", "--query", "Arn", "--output", "text"); !strings.HasSuffix(got, ":root") {
		t.Errorf("caller: %s", got)
	}
	role := r.aws("iam", "create-role", "--role-name", "cli", "--assume-role-policy-document", regiontest.Trust, "--query", "Role.Arn", "--output", "text")
	r.aws("lambda", "create-function", "--function-name", "cli", "--runtime", "python3.13", "--handler", "app.handler", "--role", role, "--zip-file", "fileb://"+zip)
	r.aws("lambda", "wait", "function-active-v2", "--function-name", "cli")

	out := filepath.Join(dir, "out")
	for _, want := range []string{"Init Duration", ""} {
		meta := r.aws("lambda", "invoke", "--function-name", "cli", "--payload", `{"n":1}`, "--log-type", "Tail", out)
		if b, _ := os.ReadFile(out); string(b) != `{"n": 2}` {
			t.Errorf("answer %s, want {\"n\": 2}", b)
		}
		var m struct{ LogResult, ExecutedVersion string }
		if err := json.Unmarshal([]byte(meta), &m); err != nil {
			t.Fatal(err)
		}
		log := unbase64(t, m.LogResult)
		if !strings.Contains(log, "seen 1\n") || !strings.Contains(log, want) || m.ExecutedVersion != "$LATEST" {
			t.Errorf("version %s, log:\n%s", m.ExecutedVersion, log)
		}
	}

	t.Run("logs", func(t *testing.T) {
		// `aws logs tail` is of the AWS CLI's second version, which pip does not have; it asks
		// FilterLogEvents, as this does.
		got := r.aws("logs", "filter-log-events", "--log-group-name", "/aws/lambda/cli", "--query", "events[].message", "--output", "text")
		for _, want := range []string{"INIT_START Runtime Version: python:3.13", "START RequestId: ", "seen 1", "END RequestId: ", "REPORT RequestId: "} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
	})
	t.Run("code location", func(t *testing.T) {
		url := r.aws("lambda", "get-function", "--function-name", "cli", "--query", "Code.Location", "--output", "text")
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, _ := io.ReadAll(resp.Body)
		want, _ := os.ReadFile(zip)
		if resp.StatusCode != 200 || string(got) != string(want) {
			t.Errorf("status %d, %d bytes, want the %d bytes uploaded", resp.StatusCode, len(got), len(want))
		}
	})
	t.Run("update", func(t *testing.T) {
		if err := os.WriteFile(zip, regiontest.Zip(t, map[string]string{"app.py": "def handler(e, c):\n    return 'second'\n"}), 0o600); err != nil {
			t.Fatal(err)
		}
		r.aws("lambda", "update-function-code", "--function-name", "cli", "--zip-file", "fileb://"+zip)
		r.aws("lambda", "wait", "function-updated-v2", "--function-name", "cli")
		r.aws("lambda", "invoke", "--function-name", "cli", out)
		if b, _ := os.ReadFile(out); string(b) != `"second"` {
			t.Errorf("answer %s", b)
		}
	})
	t.Run("delete", func(t *testing.T) {
		r.aws("lambda", "delete-function", "--function-name", "cli")
		_, stderr, err := r.tryAWS("lambda", "get-function", "--function-name", "cli")
		if err == nil || !strings.Contains(stderr, "(ResourceNotFoundException) when calling the GetFunction operation: Function not found: arn:aws:lambda:us-east-1:") {
			t.Errorf("%v: %s", err, stderr)
		}
	})
}

// TestBoto3 does the same through boto3.
func TestBoto3(t *testing.T) {
	r := start(t)
	script := filepath.Join(t.TempDir(), "client.py")
	if err := os.WriteFile(script, []byte(boto3Client), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(filepath.Join(need(t, "LAMBENT_VENV"), "bin/python"), script)
	c.Env = r.Env()
	if out, err := c.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "done") {
		t.Errorf("%v\n%s", err, out)
	}
}

const boto3Client = `
import base64, io, json, zipfile, boto3
iam, lam, logs = (boto3.client(s) for s in ("iam", "lambda", "logs"))
role = iam.create_role(RoleName="boto", AssumeRolePolicyDocument='` + regiontest.Trust + `')["Role"]["Arn"]
buf = io.BytesIO()
with zipfile.ZipFile(buf, "w") as z:
    info = zipfile.ZipInfo("app.py")
    info.external_attr = 0o644 << 16  # without it the file is its owner's alone, here as on AWS
    z.writestr(info, "def handler(e, c):\n  print('boto', e)\n  return c.function_name\n")
fn = lam.create_function(FunctionName="boto", Runtime="python3.13", Role=role, Handler="app.handler", Code={"ZipFile": buf.getvalue()}, Tags={"a": "b"})
assert fn["State"] == "Pending", fn
lam.get_waiter("function_active_v2").wait(FunctionName="boto", WaiterConfig={"Delay": 1})
out = lam.invoke(FunctionName="boto", Payload=b'{"x": 1}', LogType="Tail")
assert json.load(out["Payload"]) == "boto"
assert "boto {'x': 1}" in base64.b64decode(out["LogResult"]).decode()
assert lam.list_tags(Resource=fn["FunctionArn"])["Tags"] == {"a": "b"}
assert [f["FunctionName"] for p in lam.get_paginator("list_functions").paginate() for f in p["Functions"]] == ["boto"]
streams = logs.describe_log_streams(logGroupName="/aws/lambda/boto")["logStreams"]
events = logs.get_log_events(logGroupName="/aws/lambda/boto", logStreamName=streams[0]["logStreamName"], startFromHead=True)["events"]
assert events[0]["message"].startswith("INIT_START"), events
assert any(e["message"].startswith("REPORT") for e in logs.filter_log_events(logGroupName="/aws/lambda/boto", filterPattern="REPORT")["events"])
try:
    lam.get_function(FunctionName="missing")
    raise SystemExit("no error")
except lam.exceptions.ResourceNotFoundException as e:
    assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 404
lam.delete_function(FunctionName="boto")
print("done")
`

// TestInside runs the AWS SDKs inside functions: their credentials are the role's, their
// endpoint is this region.
func TestInside(t *testing.T) {
	r := start(t)
	role := r.Role("inside")
	r.aws("iam", "attach-role-policy", "--role-name", "inside", "--policy-arn", "arn:aws:iam::aws:policy/AWSLambda_FullAccess")
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("py"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), MemorySize: aws.Int32(512), Timeout: aws.Int32(30)},
		map[string]string{"app.py": "import boto3\ndef handler(e, c):\n    return boto3.client('sts').get_caller_identity()['Arn']\n"})
	if got := r.invoke("py", `{}`); !strings.HasSuffix(got.body, `:assumed-role/inside/py"`) {
		t.Errorf("python: %+v", got)
	}
	for name, runtime := range map[string]types.Runtime{"js22": types.RuntimeNodejs22x, "js24": types.Runtime("nodejs24.x")} {
		r.Create(lambda.CreateFunctionInput{FunctionName: &name, Role: &role, Runtime: runtime, Handler: aws.String("index.handler"), MemorySize: aws.Int32(512), Timeout: aws.Int32(30)},
			map[string]string{"index.mjs": `
import { LambdaClient, InvokeCommand, ListFunctionsCommand } from '@aws-sdk/client-lambda';
import { S3Client } from '@aws-sdk/client-s3';
const lambda = new LambdaClient({});
export const handler = async () => {
  const { Functions } = await lambda.send(new ListFunctionsCommand({}));
  const { Payload } = await lambda.send(new InvokeCommand({ FunctionName: 'py', Payload: '{}' }));
  return { functions: Functions.map((f) => f.FunctionName), py: JSON.parse(Buffer.from(Payload)), s3: typeof S3Client };
};`})
		if got := r.invoke(name, `{}`); !strings.Contains(got.body, `/inside/py"`) || !strings.Contains(got.body, `"s3":"function"`) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
