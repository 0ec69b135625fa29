package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

var requestID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

func normal(s string) string { return requestID.ReplaceAllString(s, "ID") }

// TestPython holds what Python functions answer and log against AWS's.
func TestPython(t *testing.T) {
	r := start(t)
	role := r.Role("py")
	code := map[string]string{
		"app.py": `
import os, sys, time, logging
def echo(e, c): return e
def boom(e, c): raise ValueError("boo")
def gone(e, c): sys.exit(3)
def crash(e, c): os._exit(0)
def slow(e, c): time.sleep(10)
def notjson(e, c): return {1, 2}
def big(e, c): return "x" * 6291556
def logs(e, c):
    print("one\ntwo")
    logging.getLogger().warning("three\nfour")
    return c.aws_request_id
def hog(e, c): return len(bytearray(os.urandom(1) * (400 << 20)))
counter = 0
def count(e, c):
    global counter
    counter += 1
    return counter
`,
		"broken.py": "def handler(:\n",
		"raises.py": "raise RuntimeError('at import')\n",
	}
	for _, c := range []struct {
		handler, payload, body, fault, log string
	}{
		{"app.echo", `{"a":[1,"é"]}`, `{"a": [1, "é"]}`, "", "REPORT RequestId: ID\tDuration: "},
		{"app.boom", `{}`, `{"errorMessage": "boo", "errorType": "ValueError", "requestId": "ID", "stackTrace": ["  File \"/var/task/app.py\", line 4, in boom\n    def boom(e, c): raise ValueError(\"boo\")\n"]}`, "Unhandled", "[ERROR] ValueError: boo\nTraceback (most recent call last):\n"},
		{"app.gone", `{}`, `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: exit status 3"}`, "Unhandled", "Runtime.ExitError"},
		{"app.crash", `{}`, `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited without providing a reason"}`, "Unhandled", "REPORT"},
		{"app.slow", `{}`, `{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: ID Error: Task timed out after 2.00 seconds"}`, "Unhandled", "Task timed out after 2.00 seconds"},
		{"app.notjson", `{}`, `{"errorMessage": "Unable to marshal response: Object of type set is not JSON serializable", "errorType": "Runtime.MarshalError", "requestId": "ID", "stackTrace": []}`, "Unhandled", "Runtime.MarshalError"},
		{"app.big", `{}`, `{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`, "Unhandled", "REPORT"},
		{"app.hog", `{}`, `{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: ID Error: Runtime exited with error: signal: killed"}`, "Unhandled", "Runtime.OutOfMemory"},
		{"app.missing", `{}`, `{"errorMessage": "Handler 'missing' missing on module 'app'", "errorType": "Runtime.HandlerNotFound", "requestId": "", "stackTrace": []}`, "Unhandled", "Runtime.HandlerNotFound"},
		{"raises.x", `{}`, `{"errorMessage": "at import", "errorType": "RuntimeError", "requestId": "", "stackTrace": `, "Unhandled", "RuntimeError: at import"},
		{"broken.x", `{}`, `{"errorMessage": "Syntax error in module 'broken': invalid syntax (broken.py, line 1)", "errorType": "Runtime.UserCodeSyntaxError", "requestId": "", "stackTrace": ["  File \"/var/task/broken.py\" Line 1\n    def handler(:\n"]}`, "Unhandled", "Syntax error"},
	} {
		t.Run(c.handler, func(t *testing.T) {
			r := r.with(t)
			name := strings.ReplaceAll(c.handler, ".", "-")
			timeout := aws.Int32(60) // at 128 MB code has little of a core
			if c.handler == "app.slow" {
				timeout = aws.Int32(2)
			}
			r.Create(lambda.CreateFunctionInput{FunctionName: &name, Role: &role, Runtime: types.RuntimePython313, Handler: &c.handler, Timeout: timeout}, code)
			got := r.invoke(name, c.payload)
			if body := normal(got.body); !strings.HasPrefix(body, c.body) || got.fault != c.fault {
				t.Errorf("answer %.400s (%s)\n  want %s (%s)", body, got.fault, c.body, c.fault)
			}
			if log := normal(got.log); !strings.Contains(strings.ReplaceAll(log, "\u00a0", " "), c.log) {
				t.Errorf("no %q in the log:\n%s", c.log, log)
			}
		})
	}

	t.Run("warm", func(t *testing.T) {
		r := r.with(t)
		r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("count"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.count")}, code)
		for _, want := range []string{"1", "2", "3"} {
			if got := r.invoke("count", `{}`); got.body != want {
				t.Errorf("answer %s, want %s: one environment, reused", got.body, want)
			}
		}
	})
	t.Run("log lines", func(t *testing.T) {
		r := r.with(t)
		r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("lines"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.logs")}, code)
		r.invoke("lines", `{}`)
		got := r.aws("logs", "filter-log-events", "--log-group-name", "/aws/lambda/lines", "--query", "events[].message", "--output", "json")
		for _, want := range []string{`"one\n"`, `"two\n"`, `\tthree\nfour\n"`} {
			if !strings.Contains(got, want) {
				t.Errorf("no event %s in %s", want, got)
			}
		}
	})
}

// TestNode holds what Node.js functions answer against AWS's.
func TestNode(t *testing.T) {
	r := start(t)
	role := r.Role("node")
	code := map[string]string{
		"index.js": `
exports.echo = async (e) => e;
exports.boom = async () => { throw new TypeError("boo"); };
exports.callback = (e, c, done) => { setTimeout(() => done(null, { waited: true }), 20); };
exports.none = (e) => {};
exports.rejects = async () => { Promise.reject(new Error("nobody")); await new Promise((r) => setTimeout(r, 500)); };
exports.exits = async () => { process.exit(7); };
exports.context = async (e, c) => [c.functionName, c.memoryLimitInMB, c.getRemainingTimeInMillis() <= 3000, c.invokedFunctionArn.endsWith(":function:index-context")];
exports.streams = awslambda.streamifyResponse(async (e, out) => { out.setContentType("text/plain"); out.write("one "); out.end("two"); });
exports.collects = async () => [typeof gc, gc(), process.execArgv[0], Object.keys(globalThis).includes("gc")];
exports.large = async (e) => e.text + e.text;
`,
		"esm.mjs": "export const handler = async () => ({ esm: import.meta.url });\n",
	}
	for _, c := range []struct{ handler, body, fault string }{
		{"index.echo", `{"a":1}`, ""},
		{"index.boom", `{"errorType":"TypeError","errorMessage":"boo","trace":["TypeError: boo","    at exports.boom (/var/task/index.js:3:36)",`, "Unhandled"},
		{"index.callback", `{"waited":true}`, ""},
		{"index.none", `null`, ""},
		{"index.rejects", `{"errorType":"Runtime.UnhandledPromiseRejection","errorMessage":"Error: nobody","trace":["Runtime.UnhandledPromiseRejection: Error: nobody",`, "Unhandled"},
		{"index.exits", `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: exit status 7"}`, "Unhandled"},
		{"index.context", `["index-context","128",true,true]`, ""},
		{"index.streams", `one two`, ""},
		{"index.collects", `["function",null,"--expose-gc",true]`, ""},
		{"esm.handler", `{"esm":"file:///var/task/esm.mjs"}`, ""},
		{"index.nothing", `{"errorType":"Runtime.HandlerNotFound","errorMessage":"index.nothing is undefined or not exported","trace":[`, "Unhandled"},
		{"absent.x", `{"errorType":"Runtime.ImportModuleError","errorMessage":"Error: Cannot find module 'absent'\nRequire stack:`, "Unhandled"},
	} {
		t.Run(c.handler, func(t *testing.T) {
			r := r.with(t)
			name := strings.ReplaceAll(c.handler, ".", "-")
			r.Create(lambda.CreateFunctionInput{FunctionName: &name, Role: &role, Runtime: types.RuntimeNodejs22x, Handler: &c.handler}, code)
			got := r.invoke(name, `{"a":1}`)
			want := strings.ReplaceAll(c.body, "\n", `\n`)
			if body := normal(got.body); !strings.HasPrefix(body, want) || got.fault != c.fault {
				t.Errorf("answer %.400s (%s)\n  want %s (%s)\nlog:\n%s", body, got.fault, want, c.fault, got.log)
			}
		})
	}
	t.Run("large event and answer", func(t *testing.T) {
		r := r.with(t)
		r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("large"), Role: &role, Runtime: types.RuntimeNodejs22x, Handler: aws.String("index.large"), MemorySize: aws.Int32(512)}, code)
		text := strings.Repeat("0123456789", 300_000)
		if got := r.invoke("large", `{"text":"`+text+`"}`); got.body != `"`+text+text+`"` {
			t.Errorf("%d bytes (%s): %.200s", len(got.body), got.fault, got.body)
		}
	})
	t.Run("nodejs24.x has no callbacks", func(t *testing.T) {
		r := r.with(t)
		r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("cb24"), Role: &role, Runtime: types.Runtime("nodejs24.x"), Handler: aws.String("index.callback")}, code)
		if got := r.invoke("cb24", `{}`); !strings.HasPrefix(got.body, `{"errorType":"Runtime.CallbackHandlerDeprecated"`) {
			t.Errorf("%+v", got)
		}
	})
}

// TestGo runs a bootstrap built on aws-lambda-go, unchanged.
func TestGo(t *testing.T) {
	r := start(t)
	role := r.Role("go")
	bin := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bin, "../../packaging/functions/go")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("go"), Role: &role, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap")},
		map[string]string{"bootstrap": readFile(t, bin)})
	if got := r.invoke("go", `{"name":"gopher"}`); !strings.Contains(got.body, `"hello":"gopher"`) || !strings.Contains(got.log, "hello from Go") {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct{ name, file, text, want string }{
		{"none", "readme", "no bootstrap here", "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"},
		{"text", "bootstrap", "echo no program", "fork/exec /var/task/bootstrap: exec format error"},
		{"windows", "bootstrap", "#!/bin/sh\r\necho line ends\r\n", "fork/exec /var/task/bootstrap: no such file or directory"},
	} {
		r.Create(lambda.CreateFunctionInput{FunctionName: &c.name, Role: &role, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap")},
			map[string]string{c.file: c.text})
		if got := normal(r.invoke(c.name, `{}`).body); !strings.HasPrefix(got, `{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: ID Error: `+c.want+`"}`) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
