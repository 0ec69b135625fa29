package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
	"lambent.dev/lambent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func createInput(t *testing.T, name string) *sdk.CreateFunctionInput {
	return &sdk.CreateFunctionInput{
		FunctionName: &name, Role: wire.Ptr(testRole), Runtime: types.RuntimePython313, Handler: wire.Ptr("index.handler"),
		Code: &types.FunctionCode{ZipFile: makeZip(t, name)}, Tags: map[string]string{"team": "a"},
		Environment: &types.Environment{Variables: map[string]string{"KEY": "value"}},
	}
}

// TestCreate compares the answer to CreateFunction with what AWS answers.
func TestCreate(t *testing.T) {
	r := newRegion(t)
	release := r.hold()
	a := r.do("POST", functions, creation(t, "f", map[string]any{"Environment": map[string]any{"Variables": map[string]any{"KEY": "v"}}}))
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := a.members()
	for _, k := range []string{"RevisionId", "LastModified", "CodeSha256", "CodeSize"} {
		if got[k] == nil {
			t.Errorf("no %s", k)
		}
		delete(got, k)
	}
	want := map[string]any{}
	if err := json.Unmarshal([]byte(`{
		"FunctionName": "f", "FunctionArn": "`+testARN+`f", "Runtime": "python3.13", "Role": "`+testRole+`", "Handler": "index.handler",
		"Description": "", "Timeout": 3, "MemorySize": 128, "Version": "$LATEST", "TracingConfig": {"Mode": "PassThrough"},
		"Environment": {"Variables": {"KEY": "v"}}, "State": "Pending", "StateReason": "The function is being created.", "StateReasonCode": "Creating",
		"PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512}, "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
		"LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
		"RuntimeVersionConfig": {"RuntimeVersionArn": "arn:aws:lambda:us-east-1::runtime:`+strings.TrimPrefix(function.Function{Region: testRegion, Settings: function.Settings{Runtime: "python3.13"}}.RuntimeVersionARN(), "arn:aws:lambda:us-east-1::runtime:")+`"}
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if want := []string{"lambda:CreateFunction", testARN + "f"}; !slices.Equal(r.lastAsked(), want) {
		t.Errorf("authorised %v, want %v", r.lastAsked(), want)
	}
	if a := r.do("PUT", functions+"/f/configuration", `{"Timeout":5}`); a.status != http.StatusConflict {
		t.Errorf("update while pending: %d %s", a.status, a.body)
	}
	release()
	r.ready("f")
	conf := r.do("GET", functions+"/f/configuration", "").members()
	if conf["State"] != "Active" || conf["LastUpdateStatus"] != "Successful" || conf["StateReason"] != nil {
		t.Errorf("ready: %v", conf)
	}
}

// TestLife takes a function through its life with AWS's client.
func TestLife(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	if _, err := r.client.CreateFunction(ctx, createInput(t, "f")); err != nil {
		t.Fatal(err)
	}
	r.ready("f")
	if _, err := r.client.CreateFunction(ctx, createInput(t, "f")); codeOf(err) != "ResourceConflictException" {
		t.Errorf("created twice: %v", err)
	}
	got, err := r.client.GetFunction(ctx, &sdk.GetFunctionInput{FunctionName: wire.Ptr(testARN + "f:$LATEST")})
	if err != nil {
		t.Fatal(err)
	}
	if *got.Configuration.FunctionArn != testARN+"f:$LATEST" || got.Tags["team"] != "a" || got.Concurrency != nil {
		t.Errorf("function: %+v", got)
	}

	release := r.hold()
	up, err := r.client.UpdateFunctionCode(ctx, &sdk.UpdateFunctionCodeInput{FunctionName: wire.Ptr("f"), ZipFile: makeZip(t, "two"), RevisionId: got.Configuration.RevisionId})
	if err != nil {
		t.Fatal(err)
	}
	if up.LastUpdateStatus != types.LastUpdateStatusInProgress || *up.CodeSha256 == *got.Configuration.CodeSha256 || up.State != types.StateActive {
		t.Errorf("updated: %+v", up)
	}
	release()
	r.ready("f")
	conf, err := r.client.UpdateFunctionConfiguration(ctx, &sdk.UpdateFunctionConfigurationInput{
		FunctionName: wire.Ptr("f"), MemorySize: wire.Ptr(int32(256)), Environment: &types.Environment{Variables: map[string]string{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if *conf.MemorySize != 256 || *conf.Timeout != 3 || conf.Environment != nil || *conf.CodeSha256 != *up.CodeSha256 {
		t.Errorf("configured: %+v", conf)
	}
	r.ready("f")
	if _, err := r.client.DeleteFunction(ctx, &sdk.DeleteFunctionInput{FunctionName: wire.Ptr("111111111111:function:f")}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.GetFunction(ctx, &sdk.GetFunctionInput{FunctionName: wire.Ptr("f")}); codeOf(err) != "ResourceNotFoundException" {
		t.Errorf("after delete: %v", err)
	}
}

// TestDryRun wants that a dry run answers what an update would, and changes nothing.
func TestDryRun(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	before := r.do("GET", functions+"/f", "")
	zip := base64.StdEncoding.EncodeToString(makeZip(t, "other"))
	a := r.do("PUT", functions+"/f/code", `{"DryRun":true,"ZipFile":"`+zip+`"}`)
	conf := before.members()["Configuration"].(map[string]any)
	if a.status != http.StatusOK || a.members()["CodeSha256"] == conf["CodeSha256"] || a.members()["RevisionId"] != conf["RevisionId"] {
		t.Errorf("%d %s", a.status, a.body)
	}
	after := r.do("GET", functions+"/f", "")
	if d := cmp.Diff(conf, after.members()["Configuration"]); d != "" {
		t.Error(d)
	}
}

// TestCodeURL fetches a package by the URL that GetFunction gives, and by URLs that it does not.
func TestCodeURL(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	got, err := r.client.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: wire.Ptr("f")})
	if err != nil {
		t.Fatal(err)
	}
	location := *got.Code.Location
	fetch := func(url string) (int, string, []byte) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type"), b
	}
	if status, kind, b := fetch(location); status != 200 || kind != "application/zip" || !bytes.Equal(b, makeZip(t, "f")) {
		t.Errorf("%s: %d %s, %d bytes", location, status, kind, len(b))
	}
	if !strings.HasPrefix(location, r.url+"/_lambent/code/") {
		t.Errorf("location %s is not on the host of the request", location)
	}
	digest := location[strings.LastIndex(location[:strings.Index(location, "?")], "/")+1 : strings.Index(location, "?")]
	for _, bad := range []string{
		strings.Replace(location, digest, strings.Repeat("0", 64), 1),
		strings.Replace(location, "expires=1", "expires=2", 1),
		location[:len(location)-1],
		location[:strings.Index(location, "?")],
	} {
		if status, _, _ := fetch(bad); status != http.StatusForbidden {
			t.Errorf("%s: %d", bad, status)
		}
	}
	r.advance(10*time.Minute + time.Second)
	if status, _, _ := fetch(location); status != http.StatusForbidden {
		t.Errorf("after ten minutes: %d", status)
	}
}

// TestPages walks the list of functions.
func TestPages(t *testing.T) {
	r := newRegion(t)
	for _, n := range []string{"a", "b", "c"} {
		r.create(n)
	}
	p := sdk.NewListFunctionsPaginator(r.client, &sdk.ListFunctionsInput{MaxItems: wire.Ptr(int32(2))})
	var pages [][]string
	for p.HasMorePages() {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range out.Functions {
			names = append(names, *f.FunctionName)
		}
		pages = append(pages, names)
	}
	if d := cmp.Diff([][]string{{"a", "b"}, {"c"}}, pages); d != "" {
		t.Error(d)
	}
	all, err := r.client.ListFunctions(t.Context(), &sdk.ListFunctionsInput{FunctionVersion: types.FunctionVersionAll})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Functions) != 3 || *all.Functions[0].FunctionArn != testARN+"a:$LATEST" {
		t.Errorf("%+v", all.Functions)
	}
}

// TestTags sets, removes and lists tags.
func TestTags(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	ctx, arn := t.Context(), wire.Ptr(testARN+"f")
	if _, err := r.client.TagResource(ctx, &sdk.TagResourceInput{Resource: arn, Tags: map[string]string{"a": "1", "b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.UntagResource(ctx, &sdk.UntagResourceInput{Resource: arn, TagKeys: []string{"a", "none"}}); err != nil {
		t.Fatal(err)
	}
	out, err := r.client.ListTags(ctx, &sdk.ListTagsInput{Resource: arn})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"b": "2"}, out.Tags); d != "" {
		t.Error(d)
	}
}

// TestInvoke wants that an invocation gets to what runs functions as the caller sent it, and the
// result to the caller.
func TestInvoke(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	client := base64.StdEncoding.EncodeToString([]byte(`{"custom":{}}`))
	out, err := r.client.Invoke(t.Context(), &sdk.InvokeInput{
		FunctionName: wire.Ptr("f"), Qualifier: wire.Ptr("$LATEST"), Payload: []byte(`{"a":1}`), LogType: types.LogTypeTail, ClientContext: &client,
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.StatusCode != 200 || string(out.Payload) != `{"a":1}` || out.FunctionError != nil || *out.ExecutedVersion != "$LATEST" || *out.LogResult != "RU5ECg==" {
		t.Errorf("%+v", out)
	}
	want := function.Invocation{
		Account: testAccount, Name: "f", Qualifier: "$LATEST", Payload: []byte(`{"a":1}`), ClientContext: `{"custom":{}}`, Tail: true,
		InvokedARN: testARN + "f:$LATEST", Caller: "arn:aws:iam::111111111111:user/alice",
	}
	if d := cmp.Diff(want, r.invocations[0], cmpopts.IgnoreFields(function.Invocation{}, "RequestID", "Received", "Trace", "FunctionID")); d != "" {
		t.Error(d)
	}
	if want := []string{"lambda:InvokeFunction", testARN + "f:$LATEST"}; !slices.Equal(r.lastAsked(), want) {
		t.Errorf("authorised %v, want %v", r.lastAsked(), want)
	}

	r.invoke = func(function.Invocation) (function.Result, error) {
		res := answer(`{"errorMessage":"no"}`)
		res.Error = "Unhandled"
		return res, nil
	}
	a := r.do("POST", functions+"/f/invocations", "")
	if a.status != 200 || a.header.Get("X-Amz-Function-Error") != "Unhandled" || a.header.Get("X-Amz-Log-Result") != "" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if id := r.invocations[1].RequestID; id == "" || id != a.header.Get("X-Amzn-Requestid") {
		t.Errorf("invocation %s, request %s", id, a.header.Get("X-Amzn-Requestid"))
	}
}

// TestInvocationTypes accepts events and runs dry.
func TestInvocationTypes(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	a := r.do("POST", functions+"/f/invocations", `{"e":1}`, "X-Amz-Invocation-Type", "Event")
	if a.status != http.StatusAccepted || a.body != "" || len(r.events) != 1 || !r.events[0].Async || string(r.events[0].Payload) != `{"e":1}` {
		t.Errorf("event: %d %q %+v", a.status, a.body, r.events)
	}
	a = r.do("POST", functions+"/f/invocations", `{}`, "X-Amz-Invocation-Type", "DryRun")
	if a.status != http.StatusNoContent || a.body != "" || len(r.invocations) != 0 {
		t.Errorf("dry run: %d %q %+v", a.status, a.body, r.invocations)
	}
	event := `"` + strings.Repeat("x", maxEvent) + `"`
	a = r.do("POST", functions+"/f/invocations", event, "X-Amz-Invocation-Type", "Event")
	if a.status != 413 || a.code() != "RequestTooLargeException" || a.message() != "1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)" {
		t.Errorf("large event: %d %s", a.status, a.body)
	}
	a = r.do("POST", functions+"/f/invocations", `"`+strings.Repeat("x", maxSync)+`"`)
	if a.status != 413 || a.message() != "6291458 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)" {
		t.Errorf("large payload: %d %s", a.status, a.body)
	}
	for _, h := range [][]string{{"X-Amz-Tenant-Id", "t"}, {"X-Amz-Durable-Execution-Name", "d"}, {"X-Amz-Client-Context", "e30"}, {"X-Amz-Invocation-Type", "Sometime"}} {
		if a := r.do("POST", functions+"/f/invocations", `{}`, h...); a.status != http.StatusBadRequest {
			t.Errorf("%v: %d %s", h, a.status, a.body)
		}
	}
	r.invoke = func(function.Invocation) (function.Result, error) {
		return function.Result{}, &invoke.StateError{State: function.Pending}
	}
	if a := r.do("POST", functions+"/f/invocations", `{}`); a.status != http.StatusConflict || a.message() != textPending {
		t.Errorf("pending: %d %s", a.status, a.body)
	}
	release := r.hold()
	defer release()
	if a := r.do("POST", functions, creation(t, "slow", nil)); a.status != http.StatusCreated {
		t.Fatal(a.body)
	}
	if a := r.do("POST", functions+"/slow/invocations", `{}`, "X-Amz-Invocation-Type", "Event"); a.status != http.StatusConflict || len(r.events) != 1 {
		t.Errorf("event for a pending function: %d %s", a.status, a.body)
	}
}

// TestRefusals wants that what is not honoured is refused by its name, and defaults are not.
func TestRefusals(t *testing.T) {
	r := newRegion(t)
	object := func(s string) (v any) {
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	zip := base64.StdEncoding.EncodeToString(makeZip(t, "f"))
	for _, c := range []struct{ member, value, says string }{
		{"VpcConfig", `{"SubnetIds":["subnet-1"],"SecurityGroupIds":["sg-1"]}`, "VpcConfig"},
		{"DeadLetterConfig", `{"TargetArn":"arn:aws:sqs:us-east-1:111111111111:q"}`, "DeadLetterConfig"},
		{"FileSystemConfigs", `[{"Arn":"arn:aws:elasticfilesystem:us-east-1:111111111111:access-point/fsap-1","LocalMountPath":"/mnt/a"}]`, "FileSystemConfigs"},
		{"ImageConfig", `{"Command":["x"]}`, "ImageConfig"},
		{"KMSKeyArn", `"arn:aws:kms:us-east-1:111111111111:key/1"`, "KMSKeyArn"},
		{"CodeSigningConfigArn", `"arn:aws:lambda:us-east-1:111111111111:code-signing-config:csc-12345678901234567"`, "CodeSigningConfigArn"},
		{"SnapStart", `{"ApplyOn":"PublishedVersions"}`, "SnapStart"},
		{"TracingConfig", `{"Mode":"Active"}`, "TracingConfig"},
		{"LoggingConfig", `{"LogFormat":"JSON"}`, "LoggingConfig"},
		{"LoggingConfig", `{"LogGroup":"mine"}`, "LogGroup"},
		{"Publish", `true`, "Publish"},
		{"PackageType", `"Image"`, "PackageType"},
		{"Layers", `["arn:aws:lambda:us-east-1:222222222222:layer:l:1"]`, "Layers"},
		{"Code", `{"S3Bucket":"bucket","S3Key":"k"}`, "S3Bucket"},
		{"Code", `{"ZipFile":"` + zip + `","SourceKMSKeyArn":"arn:aws:kms:us-east-1:111111111111:key/1"}`, "SourceKMSKeyArn"},
		{"DurableConfig", `{"ExecutionTimeout":60}`, "DurableConfig"},
		{"TenancyConfig", `{"TenantIsolationMode":"PER_TENANT"}`, "TenancyConfig"},
		{"CapacityProviderConfig", `{}`, "CapacityProviderConfig"},
		{"Architectures", `["arm64"]`, "arm64"},
		{"Environment", `{"Variables":{"AWS_REGION":"x","_HANDLER2":"y"}}`, "environment.variables"},
		{"Environment", `{"Variables":{"AWS_REGION":"x","MINE":"y"}}`, "AWS_REGION"},
		{"Environment", `{"Variables":{"MINE":"a\u0000b"}}`, "MINE contains a null character"},
		{"Runtime", `"dotnet8"`, "lambent runtimes build dotnet8"},
		{"MemorySize", `20000`, "MemorySize"},
		{"MemorySize", `127`, "memorySize"},
		{"Timeout", `901`, "timeout"},
		{"EphemeralStorage", `{"Size":511}`, "ephemeralStorage.size"},
		{"Role", `"arn:aws:iam::111111111111:role/none"`, "cannot be assumed by Lambda"},
		{"Role", `"arn:aws:iam::111111111111:role/other"`, "cannot be assumed by Lambda"},
		{"Code", `{"ZipFile":"bm8gemlw"}`, "Could not unzip"},
		{"Code", `{}`, "Please provide a source"},
	} {
		a := r.do("POST", functions, creation(t, "f", map[string]any{c.member: object(c.value)}))
		if a.status != http.StatusBadRequest || !strings.Contains(a.message(), c.says) {
			t.Errorf("%s %s: %d %s", c.member, c.value, a.status, a.body)
		}
	}
	if a := r.do("POST", functions, creation(t, "f", map[string]any{"Role": "arn:aws:iam::111111111111:role/secret"})); a.status != http.StatusForbidden || !strings.Contains(a.message(), "iam:PassRole") {
		t.Errorf("pass role: %d %s", a.status, a.body)
	}
	defaults := map[string]any{
		"VpcConfig": object(`{"SubnetIds":[],"SecurityGroupIds":[]}`), "DeadLetterConfig": object(`{}`), "KMSKeyArn": "", "Layers": []any{},
		"SnapStart": object(`{"ApplyOn":"None"}`), "TracingConfig": object(`{"Mode":"PassThrough"}`), "PackageType": "Zip",
		"LoggingConfig": object(`{"LogFormat":"Text","LogGroup":"/aws/lambda/f"}`), "Publish": false, "Architectures": []string{"x86_64"},
		"FileSystemConfigs": []any{}, "EphemeralStorage": object(`{"Size":512}`), "Timeout": 900, "MemorySize": 10240,
	}
	if a := r.do("POST", functions, creation(t, "f", defaults)); a.status != http.StatusCreated {
		t.Errorf("defaults: %d %s", a.status, a.body)
	}
}

// TestNothing wants that reads which have nothing to tell answer as AWS does.
func TestNothing(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/2015-03-31/functions/f/aliases", 200, `{"Aliases":[]}`},
		{"/2015-03-31/functions/f/policy", 404, `{"Message":"The resource you requested does not exist.","Type":"User"}`},
		{"/2019-09-30/functions/f/concurrency", 200, `{}`},
		{"/2020-06-30/functions/f/code-signing-config", 200, `{"CodeSigningConfigArn":"","FunctionName":"f"}`},
		{"/2019-09-25/functions/f/event-invoke-config", 404, `{"Message":"The function ` + testARN + `f:$LATEST doesn't have an EventInvokeConfig","Type":"User"}`},
		{"/2019-09-25/functions/f/event-invoke-config/list", 200, `{"FunctionEventInvokeConfigs":[]}`},
		{"/2021-10-31/functions/f/urls", 200, `{"FunctionUrlConfigs":[]}`},
		{"/2021-10-31/functions/f/url", 404, `{"Message":"The resource you requested does not exist.","Type":"User"}`},
		{"/2024-08-31/functions/f/recursion-config", 200, `{"RecursiveLoop":"Terminate"}`},
		{"/2021-07-20/functions/f/runtime-management-config", 200, `{"FunctionArn":"` + testARN + `f:$LATEST","UpdateRuntimeOn":"Auto"}`},
		{"/2019-09-30/functions/f/provisioned-concurrency?List=ALL", 200, `{"ProvisionedConcurrencyConfigs":[]}`},
		{"/2015-03-31/event-source-mappings", 200, `{"EventSourceMappings":[]}`},
		{"/2018-10-31/layers", 200, `{"Layers":[]}`},
	} {
		a := r.do("GET", c.path, "")
		var got, want any
		if err := errors.Join(json.Unmarshal([]byte(a.body), &got), json.Unmarshal([]byte(c.body), &want)); err != nil {
			t.Fatalf("%s: %v in %s", c.path, err, a.body)
		}
		if d := cmp.Diff(want, got); a.status != c.status || d != "" {
			t.Errorf("%s: %d %s", c.path, a.status, a.body)
		}
	}
	a := r.do("GET", "/2015-03-31/functions/f/versions", "")
	if v := a.members()["Versions"].([]any); len(v) != 1 || v[0].(map[string]any)["FunctionArn"] != testARN+"f:$LATEST" {
		t.Errorf("versions: %s", a.body)
	}
	settings := r.do("GET", "/2016-08-19/account-settings", "").members()
	if n := settings["AccountUsage"].(map[string]any)["FunctionCount"]; n != 1.0 {
		t.Errorf("settings: %v", settings)
	}
}

// TestDenied wants that nothing happens for callers who may not.
func TestDenied(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	r.denied["lambda:DeleteFunction"] = true
	if a := r.do("DELETE", functions+"/f", ""); a.status != http.StatusForbidden || a.code() != "AccessDeniedException" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.do("GET", functions+"/f", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	// Functions of other accounts are nobody's here.
	if a := r.do("GET", functions+"/arn:aws:lambda:us-east-1:222222222222:function:f", ""); a.status != http.StatusForbidden {
		t.Errorf("another account: %d %s", a.status, a.body)
	}
	if want := []string{"lambda:GetFunction", "arn:aws:lambda:us-east-1:222222222222:function:f"}; !slices.Equal(r.lastAsked(), want) {
		t.Errorf("authorised %v, want %v", r.lastAsked(), want)
	}
}

// TestTagsOfWhom wants that no way to write an ARN gets around what permissions say of it.
func TestTagsOfWhom(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	for _, op := range []struct{ method, query string }{{"GET", ""}, {"POST", ""}, {"DELETE", "?tagKeys=a"}} {
		r.do(op.method, "/2017-03-31/tags/arn:aws-cn:lambda:us-east-1:111111111111:function:f"+op.query, `{"Tags":{"a":"1"}}`)
		if asked := r.lastAsked(); len(asked) != 2 || asked[1] != testARN+"f" {
			t.Errorf("%s: authorised %v", op.method, asked)
		}
	}
}

// TestHangingUp wants that the end of a request does not end what it runs.
func TestHangingUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := newRegion(t)
	r.create("f")
	ended := make(chan error, 1)
	r.during = func(of context.Context) {
		cancel()
		select {
		case <-of.Done():
		case <-time.After(200 * time.Millisecond): // the server has seen it, or sees it never
		}
		ended <- of.Err()
	}
	if _, err := r.client.Invoke(ctx, &sdk.InvokeInput{FunctionName: wire.Ptr("f")}); err == nil {
		t.Error("the client was answered")
	}
	if err := <-ended; err != nil {
		t.Errorf("the invocation ended: %v", err)
	}
}

// TestRoleGone words that an environment gets no credentials.
func TestRoleGone(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	r.invoke = func(function.Invocation) (function.Result, error) {
		return function.Result{}, fmt.Errorf("start: %w: x", function.ErrRole)
	}
	a := r.do("POST", functions+"/f/invocations", "{}")
	if a.status != http.StatusForbidden || a.code() != "AccessDeniedException" || !strings.Contains(a.body, textRole) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestJSONErrors words what is wrong with payloads.
func TestJSONErrors(t *testing.T) {
	const expected = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
	const at = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: "
	for in, want := range map[string]string{
		`{"a":1}`: "", `"é"`: "", `7`: "", " [] \n": "",
		"\"a\x87\"":    "Invalid UTF-8 start byte 0x87" + at + "1, column: 3]",
		"\x99":         "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value " + expected + at + "1, column: 1]",
		"test":         "Unrecognized token 'test': was expecting " + expected + at + "1, column: 4]",
		"{\n\"a\":}":   "Unexpected character ('}' (code 125)): expected a valid value " + expected + at + "2, column: 5]",
		`{"a":`:        "Unexpected end-of-input: was expecting closing quote, bracket or brace" + at + "1, column: 6]",
		"\"\x87":       "Invalid UTF-8 start byte 0x87" + at + "1, column: 2]",
		"[1] trailing": "Unrecognized token 'trailing': was expecting " + expected + at + "1, column: 12]",
	} {
		if got := jsonError([]byte(in)); got != want {
			t.Errorf("%q:\n got %s\nwant %s", in, got, want)
		}
	}
}
