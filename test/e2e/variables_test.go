package e2e

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"lambent.dev/lambent/test/regiontest"
)

// everywhere are the variables recorded on AWS that every runtime has, and AWS_ENDPOINT_URL, by
// which SDKs find this region.
const everywhere = `AWS_ACCESS_KEY_ID AWS_DEFAULT_REGION AWS_ENDPOINT_URL AWS_LAMBDA_FUNCTION_MEMORY_SIZE
	AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION AWS_LAMBDA_INITIALIZATION_TYPE AWS_LAMBDA_LOG_GROUP_NAME
	AWS_LAMBDA_LOG_STREAM_NAME AWS_LAMBDA_RUNTIME_API AWS_REGION AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
	AWS_XRAY_CONTEXT_MISSING AWS_XRAY_DAEMON_ADDRESS LAMBDA_RUNTIME_DIR LAMBDA_TASK_ROOT LANG LD_LIBRARY_PATH PATH
	PWD SHLVL TZ _AWS_XRAY_DAEMON_ADDRESS _AWS_XRAY_DAEMON_PORT _HANDLER`

// shellBootstrap is a custom runtime that answers with the environment it was started with.
const shellBootstrap = `#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while :; do
  id=$(curl -sS -o /tmp/event -D - "$api/next" | tr -d '\r' | awk 'tolower($1) == "lambda-runtime-aws-request-id:" {print $2}')
  tr '\0' '\n' </proc/$$/environ | awk '
    BEGIN { printf "{" }
    { i = index($0, "="); v = substr($0, i + 1); gsub(/["\\]/, "\\\\&", v)
      printf "%s\"%s\":\"%s\"", (NR > 1 ? "," : ""), substr($0, 1, i - 1), v }
    END { printf "}" }' | curl -sS -o /dev/null --data-binary @- "$api/$id/response"
done
`

// TestVariables holds the environment that code sees against what was recorded on AWS.
func TestVariables(t *testing.T) {
	r := start(t)
	role := r.Role("vars")
	const libraries = "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
	for _, c := range []struct {
		name    string
		runtime types.Runtime
		file    string
		text    string
		more    string // names beside those of everywhere
		values  map[string]string
	}{
		{"python", types.RuntimePython313, "app.py", "import os\ndef handler(e, c): return dict(os.environ)\n",
			"AWS_EXECUTION_ENV LC_CTYPE PYTHONPATH _X_AMZN_TRACE_ID", map[string]string{
				"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13", "PYTHONPATH": "/var/runtime", "LD_LIBRARY_PATH": "/var/lang/lib:" + libraries,
				"PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
			}},
		{"node", types.RuntimeNodejs22x, "app.js", "exports.handler = async () => process.env;\n",
			"AWS_EXECUTION_ENV NODE_EXTRA_CA_CERTS NODE_PATH _X_AMZN_TRACE_ID", map[string]string{
				"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x", "LD_LIBRARY_PATH": "/var/lang/lib:" + libraries,
				"NODE_PATH": "/opt/nodejs/node22/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task",
			}},
		{"custom", types.RuntimeProvidedal2023, "bootstrap", shellBootstrap, "", map[string]string{
			"LD_LIBRARY_PATH": libraries, "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		}},
	} {
		t.Run(string(c.runtime), func(t *testing.T) {
			r := r.with(t)
			r.Create(lambda.CreateFunctionInput{
				FunctionName: &c.name, Role: &role, Runtime: c.runtime, Handler: aws.String("app.handler"), MemorySize: aws.Int32(192), Timeout: aws.Int32(30),
				Environment: &types.Environment{Variables: map[string]string{"COLOUR": `re"d`, "TZ": "Asia/Tokyo"}},
			}, map[string]string{c.file: c.text})
			got := r.invoke(c.name, `{}`)
			var env map[string]string
			if err := json.Unmarshal([]byte(got.body), &env); err != nil {
				t.Fatalf("%v: %+v", err, got)
			}
			names := append(strings.Fields(everywhere+" "+c.more), "COLOUR")
			slices.Sort(names)
			if d := cmp.Diff(names, slices.Sorted(maps.Keys(env))); d != "" {
				t.Errorf("names: %s", d)
			}
			want := map[string]string{
				"COLOUR": `re"d`, "TZ": "Asia/Tokyo", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
				"AWS_LAMBDA_FUNCTION_NAME": c.name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "192",
				"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/" + c.name,
				"AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001", "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR", "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
				"_AWS_XRAY_DAEMON_PORT": "2000", "LAMBDA_RUNTIME_DIR": "/var/runtime", "LAMBDA_TASK_ROOT": "/var/task", "LANG": "en_US.UTF-8",
				"PWD": "/var/task", "SHLVL": "0", "_HANDLER": "app.handler",
			}
			maps.Copy(want, c.values)
			for k, v := range want {
				if env[k] != v {
					t.Errorf("%s=%s, want %s", k, env[k], v)
				}
			}
			r.isRole(env, ":assumed-role/vars/"+c.name)
		})
	}
	t.Run("reserved", func(t *testing.T) {
		r := r.with(t)
		for _, name := range []string{"AWS_REGION", "AWS_ACCESS_KEY_ID", "LAMBDA_TASK_ROOT", "AWS_LAMBDA_RUNTIME_API"} {
			_, err := r.Lambda().CreateFunction(t.Context(), &lambda.CreateFunctionInput{
				FunctionName: aws.String("reserved"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"),
				Code:        &types.FunctionCode{ZipFile: regiontest.Zip(t, map[string]string{"app.py": ""})},
				Environment: &types.Environment{Variables: map[string]string{name: "mine", "FREE": "x"}},
			})
			var refused smithy.APIError
			want := "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: " + name
			if !errors.As(err, &refused) || refused.ErrorCode() != "InvalidParameterValueException" || refused.ErrorMessage() != want {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := r.Lambda().GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("reserved")}); err == nil {
			t.Error("a function that was refused exists")
		}
	})
}

// isRole signs a call with the credentials of an environment.
func (r *region) isRole(env map[string]string, arnSuffix string) {
	r.t.Helper()
	config := r.Config()
	config.Credentials = credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"])
	who, err := sts.NewFromConfig(config).GetCallerIdentity(r.t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || !strings.HasSuffix(*who.Arn, arnSuffix) {
		r.t.Errorf("the environment's credentials are %+v, %v; want %s", who, err, arnSuffix)
	}
}
