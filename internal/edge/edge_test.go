package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logsschemas "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/schemas"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/schemas"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	stsschemas "github.com/aws/aws-sdk-go-v2/service/sts/schemas"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/credential"
	identity "lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	region  = "eu-central-1"
	account = "123456789012"
	secret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// testServices are three small services, one per protocol.
func testServices() []*wire.Service {
	function := func(s wire.Scope, name *string) []string {
		return []string{s.ARN("lambda", "function:"+wire.Value(name))}
	}
	return []*wire.Service{
		{
			Name: "lambda", Protocol: wire.RestJSON, Errors: lambda.TypeRegistry,
			Operations: []wire.Operation{
				wire.Op(schemas.GetFunction, schemas.GetFunctionRequest, schemas.GetFunctionResponse, getFunction,
					wire.Auth("lambda:GetFunction", func(s wire.Scope, in *lambda.GetFunctionInput) []string { return function(s, in.FunctionName) })),
				wire.Op(schemas.Invoke, schemas.InvocationRequest, schemas.InvocationResponse, invoke, wire.MaxBody(6<<20),
					wire.Auth("lambda:InvokeFunction", func(s wire.Scope, in *lambda.InvokeInput) []string { return function(s, in.FunctionName) })),
				wire.OpRaw(schemas.ListTags, schemas.ListTagsRequest, stream,
					wire.Auth[lambda.ListTagsInput]("lambda:ListTags", nil)),
			},
		},
		{
			Name: "logs", Protocol: wire.JSON11, TargetPrefix: "Logs_20140328", Errors: cloudwatchlogs.TypeRegistry,
			Operations: []wire.Operation{
				wire.Op(logsschemas.DescribeLogGroups, logsschemas.DescribeLogGroupsRequest, logsschemas.DescribeLogGroupsResponse, describeLogGroups,
					wire.Auth[cloudwatchlogs.DescribeLogGroupsInput]("logs:DescribeLogGroups", nil)),
			},
		},
		{
			Name: "sts", Protocol: wire.Query, Version: "2011-06-15", Namespace: "https://sts.amazonaws.com/doc/2011-06-15/", Errors: sts.TypeRegistry,
			Operations: []wire.Operation{
				wire.Op(stsschemas.GetCallerIdentity, stsschemas.GetCallerIdentityRequest, stsschemas.GetCallerIdentityResponse, getCallerIdentity,
					wire.Public("AWS asks no permission for it")),
			},
		},
		iamService(),
	}
}

func iamService() *wire.Service {
	tag := wire.Struct("Tag", wire.Member("Key", wire.String), wire.Member("Value", wire.String))
	user := wire.Struct("User", wire.Member("UserName", wire.String), wire.Member("Arn", wire.String),
		wire.Member("CreateDate", wire.Timestamp), wire.Member("Tags", wire.List(tag)))
	return &wire.Service{
		Name: "iam", Protocol: wire.Query, Version: "2010-05-08", Namespace: "https://iam.amazonaws.com/doc/2010-05-08/", Global: true,
		Statuses: map[string]int{"NoSuchEntity": 404},
		Operations: []wire.Operation{
			wire.Op(wire.OperationSchema("CreateUser"),
				wire.Struct("CreateUserRequest", wire.Member("UserName", wire.String), wire.Member("Tags", wire.List(tag))),
				wire.Struct("CreateUserResponse", wire.Member("User", user)), createUser,
				wire.Auth("iam:CreateUser", func(s wire.Scope, in *iam.CreateUserInput) []string {
					return []string{s.GlobalARN("iam", "user/"+wire.Value(in.UserName))}
				})),
			wire.Op(wire.OperationSchema("DeleteUser"), wire.Struct("DeleteUserRequest", wire.Member("UserName", wire.String)), nil,
				func(context.Context, *iam.DeleteUserInput) (*iam.DeleteUserOutput, error) {
					return nil, &iamtypes.NoSuchEntityException{Message: wire.Ptr("The user with name <x> & \"y\" cannot be found.")}
				}, wire.Auth[iam.DeleteUserInput]("iam:DeleteUser", nil)),
		},
	}
}

func getFunction(_ context.Context, in *lambda.GetFunctionInput) (*lambda.GetFunctionOutput, error) {
	switch *in.FunctionName {
	case "panic":
		panic("a bug")
	case "broken":
		return nil, errors.New("a disk is on fire at /secret/path")
	case "stale":
		return nil, fmt.Errorf("read function: %w", kv.ErrStale)
	case "throttled":
		return nil, &types.TooManyRequestsException{Message: wire.Ptr("Rate Exceeded."), Reason: types.ThrottleReasonFunctionInvocationRateLimitExceeded, RetryAfterSeconds: wire.Ptr("1")}
	}
	return nil, &types.ResourceNotFoundException{Message: wire.Ptr("Function not found: arn:aws:lambda:eu-central-1:123456789012:function:" + *in.FunctionName)}
}

func invoke(ctx context.Context, in *lambda.InvokeInput) (*lambda.InvokeOutput, error) {
	p, _ := identity.PrincipalFrom(ctx)
	return &lambda.InvokeOutput{
		StatusCode: 202, ExecutedVersion: in.Qualifier, Payload: in.Payload,
		LogResult: wire.Ptr(p.ARN + " " + string(in.InvocationType) + " " + *in.FunctionName),
	}, nil
}

// stream writes half an answer and fails.
func stream(_ context.Context, _ *lambda.ListTagsInput, w http.ResponseWriter) error {
	w.Header().Set("Content-Length", "100")
	wire.WriteHead(w, schemas.ListTagsResponse, &lambda.ListTagsOutput{}, 200)
	_, _ = io.WriteString(w, `{"Tags":`)
	return errors.New("the rest is lost")
}

func describeLogGroups(_ context.Context, in *cloudwatchlogs.DescribeLogGroupsInput) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	if in.LogGroupNamePrefix == nil {
		return nil, &logstypes.InvalidParameterException{Message: wire.Ptr("no prefix")}
	}
	return &cloudwatchlogs.DescribeLogGroupsOutput{LogGroups: []logstypes.LogGroup{{LogGroupName: in.LogGroupNamePrefix, StoredBytes: wire.Ptr[int64](0)}}}, nil
}

func getCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	p, _ := identity.PrincipalFrom(ctx)
	return &sts.GetCallerIdentityOutput{Account: &p.Account, Arn: &p.ARN, UserId: &p.UserID}, nil
}

func createUser(_ context.Context, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
	return &iam.CreateUserOutput{User: &iamtypes.User{
		UserName: in.UserName, Tags: in.Tags, Arn: wire.Ptr("arn:aws:iam::1:user/u"),
		CreateDate: wire.Ptr(time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC)),
	}}, nil
}

func authenticate(_ context.Context, id, token string) (string, identity.Principal, error) {
	switch {
	case token == "expired":
		return "", identity.Principal{}, credential.ErrExpired
	case id != "AKIATEST":
		return "", identity.Principal{}, credential.ErrUnknown
	}
	return secret, identity.Principal{Account: account, ARN: "arn:aws:iam::123456789012:user/u", UserID: "AIDA1"}, nil
}

func authorize(_ context.Context, action string, resources []string) error {
	for _, r := range resources {
		if strings.HasSuffix(r, ":forbidden") {
			return &identity.DeniedError{Principal: "arn:aws:iam::123456789012:user/u", Action: action, Resource: r}
		}
	}
	return nil
}

type testServer struct {
	*Server
	http *httptest.Server
	log  *bytes.Buffer
}

func serve(t *testing.T, change func(*Config)) *testServer {
	t.Helper()
	ts := &testServer{log: &bytes.Buffer{}}
	cfg := Config{Region: region, Services: testServices(), Authenticate: authenticate, Authorize: authorize, Logger: slog.New(slog.NewTextHandler(ts.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&cfg)
	}
	var err error
	if ts.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ts.http = httptest.NewServer(ts.Server)
	ts.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ts.http.Close()
	})
	return ts
}

func (ts *testServer) config(keyID, token string) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: &ts.http.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, token),
		HTTPClient: ts.http.Client(), RetryMaxAttempts: 1,
	}
}

func wantAPIError(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || api.ErrorMessage() != message {
		t.Errorf("got %v; want %s: %s", err, code, message)
	}
}

func TestRestJSON(t *testing.T) {
	ctx := context.Background()
	c := lambda.NewFromConfig(serve(t, nil).config("AKIATEST", ""))
	_, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: wire.Ptr("missing")})
	var notFound *types.ResourceNotFoundException
	if !errors.As(err, &notFound) || wire.Value(notFound.Type) != "User" {
		t.Errorf("got %v; want a ResourceNotFoundException of type User", err)
	}
	wantAPIError(t, err, "ResourceNotFoundException", "Function not found: arn:aws:lambda:eu-central-1:123456789012:function:missing")

	_, err = c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: wire.Ptr("throttled")})
	var throttled *types.TooManyRequestsException
	if !errors.As(err, &throttled) || wire.Value(throttled.RetryAfterSeconds) != "1" || throttled.Reason == "" {
		t.Errorf("got %+v; want a TooManyRequestsException with reason and Retry-After", err)
	}

	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: wire.Ptr("arn:aws:lambda:eu-central-1:1:function:f"), Qualifier: wire.Ptr("PROD"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{"a":"ä"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if out.StatusCode != 202 || string(out.Payload) != `{"a":"ä"}` || *out.ExecutedVersion != "PROD" ||
		*out.LogResult != "arn:aws:iam::123456789012:user/u Event arn:aws:lambda:eu-central-1:1:function:f" {
		t.Errorf("got %+v", out)
	}
}

func TestAwsJSON(t *testing.T) {
	c := cloudwatchlogs.NewFromConfig(serve(t, nil).config("AKIATEST", ""))
	out, err := c.DescribeLogGroups(context.Background(), &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: wire.Ptr("/aws/")})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.LogGroups) != 1 || *out.LogGroups[0].LogGroupName != "/aws/" || out.LogGroups[0].StoredBytes == nil {
		t.Errorf("got %+v", out)
	}
	_, err = c.DescribeLogGroups(context.Background(), nil)
	var invalid *logstypes.InvalidParameterException
	if !errors.As(err, &invalid) || invalid.ErrorMessage() != "no prefix" {
		t.Errorf("got %v; want an InvalidParameterException", err)
	}
	_, err = c.CreateLogGroup(context.Background(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: wire.Ptr("x")})
	wantAPIError(t, err, "UnknownOperationException", "Unknown operation: CreateLogGroup")
}

func TestQuery(t *testing.T) {
	ctx := context.Background()
	ts := serve(t, nil)
	who, err := sts.NewFromConfig(ts.config("AKIATEST", "")).GetCallerIdentity(ctx, nil)
	if err != nil || *who.Account != account || *who.Arn != "arn:aws:iam::123456789012:user/u" {
		t.Errorf("got %+v, %v", who, err)
	}
	c := iam.NewFromConfig(ts.config("AKIATEST", ""))
	tags := []iamtypes.Tag{{Key: wire.Ptr("a&b"), Value: wire.Ptr("<ä>")}, {Key: wire.Ptr("c"), Value: wire.Ptr("")}}
	out, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: wire.Ptr("u"), Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	if u := out.User; *u.UserName != "u" || len(u.Tags) != 2 || *u.Tags[0].Key != "a&b" || *u.Tags[0].Value != "<ä>" || u.CreateDate.Hour() != 1 {
		t.Errorf("got %+v", u)
	}
	_, err = c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: wire.Ptr("x")})
	var gone *iamtypes.NoSuchEntityException
	if !errors.As(err, &gone) {
		t.Errorf("got %v; want a NoSuchEntityException", err)
	}
	wantAPIError(t, err, "NoSuchEntity", `The user with name <x> & "y" cannot be found.`)
	_, err = c.GetUser(ctx, nil)
	wantAPIError(t, err, "InvalidAction", "Could not find operation GetUser for version 2010-05-08")
}

func TestAuthenticationErrors(t *testing.T) {
	ctx := context.Background()
	ts := serve(t, nil)
	get := func(c aws.Config) error {
		_, err := lambda.NewFromConfig(c).GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: wire.Ptr("f")})
		return err
	}
	who := func(c aws.Config) error {
		_, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, nil)
		return err
	}
	anonymous := ts.config("", "")
	anonymous.Credentials = aws.AnonymousCredentials{}
	wrong := ts.config("AKIATEST", "")
	wrong.Credentials = credentials.NewStaticCredentialsProvider("AKIATEST", "wrong", "")
	wrongText := "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

	wantAPIError(t, get(anonymous), "MissingAuthenticationTokenException", "Missing Authentication Token")
	wantAPIError(t, who(anonymous), "MissingAuthenticationToken", "Request is missing Authentication Token")
	wantAPIError(t, get(wrong), "InvalidSignatureException", wrongText)
	wantAPIError(t, who(wrong), "SignatureDoesNotMatch", wrongText)
	wantAPIError(t, get(ts.config("AKIAOTHER", "")), "UnrecognizedClientException", "The security token included in the request is invalid.")
	wantAPIError(t, who(ts.config("AKIAOTHER", "")), "InvalidClientTokenId", "The security token included in the request is invalid.")
	wantAPIError(t, get(ts.config("ASIA", "expired")), "ExpiredTokenException", "The security token included in the request is expired")
	wantAPIError(t, who(ts.config("ASIA", "expired")), "ExpiredToken", "The security token included in the request is expired")

	_, err := lambda.NewFromConfig(ts.config("AKIATEST", "")).GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: wire.Ptr("forbidden")})
	wantAPIError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/u is not authorized to perform: lambda:GetFunction on resource: arn:aws:lambda:eu-central-1:123456789012:function:forbidden because no identity-based policy allows the lambda:GetFunction action")
	if strings.Contains(ts.log.String(), secret) {
		t.Error("the secret is in the log")
	}
}

// signed makes a signed request by hand, for what the SDK's clients would never send.
func (ts *testServer) signed(t testing.TB, service, method, path, body string, header http.Header) *http.Request {
	t.Helper()
	return sign(t, service, method, ts.http.URL+path, body, header)
}

func sign(t testing.TB, service, method, uri, body string, header http.Header) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, uri, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	sum := sha256.Sum256([]byte(body))
	creds := aws.Credentials{AccessKeyID: "AKIATEST", SecretAccessKey: secret}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, hex.EncodeToString(sum[:]), service, region, time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (ts *testServer) do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := ts.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestAnswersOnTheWire(t *testing.T) {
	ts := serve(t, nil)
	target := func(op string) http.Header { return http.Header{"X-Amz-Target": {"Logs_20140328." + op}} }
	for name, c := range map[string]struct {
		service, method, path, body string
		header                      http.Header
		status                      int
		errorType, want             string
	}{
		"lambda, not found":    {"lambda", "GET", "/2015-03-31/functions/x", "", nil, 404, "ResourceNotFoundException", `{"Message":"Function not found: arn:aws:lambda:eu-central-1:123456789012:function:x","Type":"User"}`},
		"lambda, throttled":    {"lambda", "GET", "/2015-03-31/functions/throttled", "", nil, 429, "TooManyRequestsException", `{"Reason":"FunctionInvocationRateLimitExceeded","Type":"User","message":"Rate Exceeded."}`},
		"lambda, no operation": {"lambda", "PATCH", "/2015-03-31/functions/x", "", nil, 404, "UnknownOperationException", `{"message":"Unknown operation: PATCH /2015-03-31/functions/x"}`},
		"lambda, a bug":        {"lambda", "GET", "/2015-03-31/functions/panic", "", nil, 500, "InternalFailure", `{"message":"An internal error occurred."}`},
		"lambda, an error":     {"lambda", "GET", "/2015-03-31/functions/broken", "", nil, 500, "InternalFailure", `{"message":"An internal error occurred."}`},
		"lambda, stale":        {"lambda", "GET", "/2015-03-31/functions/stale", "", nil, 503, "ServiceUnavailableException", `{"message":"Service is unable to handle request."}`},
		"lambda, denied":       {"lambda", "GET", "/2015-03-31/functions/forbidden", "", nil, 403, "AccessDeniedException", `{"Message":"User: arn:aws:iam::123456789012:user/u is not authorized to perform: lambda:GetFunction on resource: arn:aws:lambda:eu-central-1:123456789012:function:forbidden because no identity-based policy allows the lambda:GetFunction action"}`},
		"lambda, large":        {"lambda", "POST", "/2015-03-31/functions/x/invocations", strings.Repeat("x", 6<<20+1), nil, 413, "RequestEntityTooLargeException", `{"message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}`},
		"logs, broken JSON":    {"logs", "POST", "/", "{", target("DescribeLogGroups"), 400, "SerializationException", `{"__type":"SerializationException","message":"The body is not valid JSON"}`},
		"logs, wrong type":     {"logs", "POST", "/", `{"limit":"x"}`, target("DescribeLogGroups"), 400, "SerializationException", `{"__type":"SerializationException","message":"STRING_VALUE can not be converted to an Integer"}`},
		"logs, no such group":  {"logs", "POST", "/", "{}", target("DescribeLogGroups"), 400, "InvalidParameterException", `{"__type":"InvalidParameterException","message":"no prefix"}`},
		"logs, no operation":   {"logs", "POST", "/", "{}", target("Nothing"), 400, "UnknownOperationException", `{"__type":"UnknownOperationException","message":"Unknown operation: Nothing"}`},
		"no such service":      {"dynamodb", "POST", "/", "{}", target("X"), 400, "UnknownOperationException", `{"__type":"UnknownOperationException","message":"The service 'dynamodb' is not served in this region."}`},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := ts.do(t, ts.signed(t, c.service, c.method, c.path, c.body, c.header))
			if resp.StatusCode != c.status || resp.Header.Get("X-Amzn-ErrorType") != c.errorType || body != c.want {
				t.Errorf("got %d %s %s\nwant %d %s %s", resp.StatusCode, resp.Header.Get("X-Amzn-ErrorType"), body, c.status, c.errorType, c.want)
			}
			if len(resp.Header.Get("X-Amzn-RequestId")) != 36 {
				t.Errorf("request id %q", resp.Header.Get("X-Amzn-RequestId"))
			}
		})
	}
	resp, body := ts.do(t, ts.signed(t, "iam", "POST", "/", "Action=DeleteUser&Version=2010-05-08&UserName=x", nil))
	want := `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>The user with name &lt;x&gt; &amp; &quot;y&quot; cannot be found.</Message></Error><RequestId>` + resp.Header.Get("X-Amzn-RequestId") + `</RequestId></ErrorResponse>`
	if resp.StatusCode != 404 || body != want {
		t.Errorf("got %d %s\nwant %s", resp.StatusCode, body, want)
	}
}

// TestChangedBody: a body that was changed on its way is never acted upon.
func TestChangedBody(t *testing.T) {
	ts := serve(t, nil)
	r := ts.signed(t, "lambda", "POST", "/2015-03-31/functions/x/invocations", `{"a":1}`, nil)
	r.Body = io.NopCloser(strings.NewReader(`{"a":2}`))
	resp, body := ts.do(t, r)
	if resp.StatusCode != 403 || resp.Header.Get("X-Amzn-ErrorType") != "InvalidSignatureException" {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

// TestBrokenOff: half an answer does not look like a whole one.
func TestBrokenOff(t *testing.T) {
	ts := serve(t, nil)
	resp, err := ts.http.Client().Do(ts.signed(t, "lambda", "GET", "/2017-03-31/tags/x", "", nil))
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the client takes it for a whole answer")
	}
}

func TestBusy(t *testing.T) {
	ts := serve(t, func(c *Config) { c.MaxInFlight = -1 })
	resp, _ := ts.do(t, ts.signed(t, "lambda", "GET", "/2015-03-31/functions/x", "", nil))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("got %d", resp.StatusCode)
	}
	if n := ts.inFlight.Load(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestLargeBodiesWait(t *testing.T) {
	ts := serve(t, func(c *Config) { c.BodyMemory = 100 << 10 })
	for range 3 { // each takes most of the memory: it must come back
		resp, body := ts.do(t, ts.signed(t, "lambda", "POST", "/2015-03-31/functions/x/invocations", strings.Repeat("x", 90<<10), nil))
		if resp.StatusCode != 202 || len(body) != 90<<10 {
			t.Fatalf("got %d, %d bytes", resp.StatusCode, len(body))
		}
	}
	if ts.bodies.free != 100<<10 || len(ts.bodies.held) != 0 {
		t.Error("memory was not given back")
	}
}

func TestHealthAndHandlers(t *testing.T) {
	notReady := errors.New("etcd has no leader")
	ts := serve(t, func(c *Config) {
		c.Ready = func() error { return notReady }
		c.Handlers = map[string]http.Handler{
			"/_lambent/":      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) }),
			"/_lambent/code/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(207) }),
		}
	})
	for path, want := range map[string]int{"/_lambent/health": 200, "/_lambent/ready": 503, "/_lambent/code/x": 207, "/_lambent/x": 418, "/_lambentx": 403} {
		resp, err := ts.http.Client().Get(ts.http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, op := range map[string]wire.Operation{
		"no permission": wire.Op(schemas.GetFunction, schemas.GetFunctionRequest, schemas.GetFunctionResponse, getFunction),
		"other input":   wire.Op(schemas.GetFunction, schemas.GetFunctionRequest, schemas.GetFunctionResponse, getFunction, wire.Auth[lambda.InvokeInput]("lambda:GetFunction", nil)),
		"other schema":  wire.Op(schemas.GetFunction, schemas.CreateFunctionRequest, schemas.GetFunctionResponse, getFunction, wire.Public("a test")),
	} {
		cfg := Config{Region: region, Authenticate: authenticate, Authorize: authorize, Services: []*wire.Service{{Name: "lambda", Protocol: wire.RestJSON, Operations: []wire.Operation{op}}}}
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
