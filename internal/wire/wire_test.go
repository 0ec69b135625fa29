package wire

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logsschemas "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/schemas"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/schemas"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func nothing[In, Out any](context.Context, *In) (*Out, error) { return new(Out), nil }

func lambdaService() *Service {
	return &Service{
		Name: "lambda", Protocol: RestJSON, Errors: lambda.TypeRegistry, MaxBody: 7,
		Operations: []Operation{
			Op(schemas.CreateFunction, schemas.CreateFunctionRequest, schemas.FunctionConfiguration, nothing[lambda.CreateFunctionInput, lambda.CreateFunctionOutput],
				MaxBody(70167211), Auth("lambda:CreateFunction", func(s Scope, in *lambda.CreateFunctionInput) []string {
					return []string{s.ARN("lambda", "function:"+Value(in.FunctionName))}
				})),
			Op(schemas.ListFunctions, schemas.ListFunctionsRequest, schemas.ListFunctionsResponse, nothing[lambda.ListFunctionsInput, lambda.ListFunctionsOutput], Auth[lambda.ListFunctionsInput]("lambda:ListFunctions", nil)),
			Op(schemas.UntagResource, schemas.UntagResourceRequest, nil, nothing[lambda.UntagResourceInput, lambda.UntagResourceOutput], Public("a test")),
		},
	}
}

func decode(s *Service, r *http.Request, body string) (*Call, error) {
	c, err := s.Route(r)
	if err != nil {
		return c, err
	}
	return c, c.Decode([]byte(body))
}

func TestDecodeRefuses(t *testing.T) {
	for body, want := range map[string]string{
		`{`:                               "The body is not valid JSON",
		`[]`:                              "The body is not a JSON object",
		`null`:                            "The body is not a JSON object",
		`"x"`:                             "The body is not a JSON object",
		`{} {}`:                           "Unexpected token after the end of the body",
		`{"FunctionName":1}`:              "NUMBER_VALUE can not be converted to a String",
		`{"FunctionName":true}`:           "TRUE_VALUE can not be converted to a String",
		`{"FunctionName":{}}`:             "Start of structure or map found where not expected.",
		`{"Timeout":"3"}`:                 "STRING_VALUE can not be converted to an Integer",
		`{"Timeout":1.5}`:                 "NUMBER_VALUE can not be converted to an Integer",
		`{"Timeout":3000000000}`:          "NUMBER_VALUE can not be converted to an Integer",
		`{"Timeout":1e400}`:               "NUMBER_VALUE can not be converted to an Integer",
		`{"Publish":"yes"}`:               "STRING_VALUE can not be converted to a Boolean",
		`{"Layers":"x"}`:                  "STRING_VALUE can not be converted to a List",
		`{"Layers":{}}`:                   "Start of structure or map found where not expected.",
		`{"Tags":[]}`:                     "Start of list found where not expected",
		`{"Tags":{"a":1}}`:                "NUMBER_VALUE can not be converted to a String",
		`{"Code":{"ZipFile":"%"}}`:        "Invalid base64 in blob",
		`{"Code":{"ZipFile":1}}`:          "NUMBER_VALUE can not be converted to a Blob",
		`{"Code":"x"}`:                    "STRING_VALUE can not be converted to a Structure",
		strings.Repeat(`{"Code":`, 20000): "The body is not valid JSON",
	} {
		_, err := decode(lambdaService(), httptest.NewRequest("POST", "/2015-03-31/functions", nil), body)
		var bad *SerializationError
		if !errors.As(err, &bad) || bad.Message != want {
			t.Errorf("%.40s: got %v, want %s", body, err, want)
		}
	}
}

func TestDecodeTolerates(t *testing.T) {
	body := ` {"Nobody":{"knows":["this"]},"Timeout":3.0,"MemorySize":null,"Runtime":"python9.9","Tags":{},"Layers":[],"Code":{"ZipFile":"AAE="}} `
	c, err := decode(lambdaService(), httptest.NewRequest("POST", "/2015-03-31/functions/", nil), body)
	if err != nil {
		t.Fatal(err)
	}
	want := &lambda.CreateFunctionInput{
		Timeout: Ptr[int32](3), Runtime: "python9.9", Tags: map[string]string{}, Layers: []string{},
		Code: &types.FunctionCode{ZipFile: []byte{0, 1}},
	}
	if diff := cmp.Diff(want, c.Input(), cmpopts.IgnoreUnexported(lambda.CreateFunctionInput{}, types.FunctionCode{})); diff != "" {
		t.Error(diff)
	}
	action, resources := c.Access(Scope{"aws", "r", "1"})
	if action != "lambda:CreateFunction" || !reflect.DeepEqual(resources, []string{"arn:aws:lambda:r:1:function:"}) {
		t.Errorf("got %s on %v", action, resources)
	}
	if c.MaxBody() != 70167211 || c.TooLarge().Error() != "RequestEntityTooLargeException: Request must be smaller than 70167211 bytes for the CreateFunction operation" {
		t.Errorf("got %d, %v", c.MaxBody(), c.TooLarge())
	}
}

func TestQueryAndLabels(t *testing.T) {
	c, err := decode(lambdaService(), httptest.NewRequest("DELETE", "/2017-03-31/tags/arn%3Aaws%3Alambda%3Ar%3A1%3Afunction%3Aa%2Fb?tagKeys=x&tagKeys=y+z", nil), "")
	if err != nil {
		t.Fatal(err)
	}
	in := c.Input().(*lambda.UntagResourceInput)
	if *in.Resource != "arn:aws:lambda:r:1:function:a/b" || !reflect.DeepEqual(in.TagKeys, []string{"x", "y z"}) {
		t.Errorf("got %q %q", *in.Resource, in.TagKeys)
	}
	if _, resources := c.Access(Scope{}); resources != nil {
		t.Errorf("a public operation has resources %v", resources)
	}
	_, err = decode(lambdaService(), httptest.NewRequest("GET", "/2015-03-31/functions?MaxItems=many", nil), "")
	var bad *SerializationError
	if !errors.As(err, &bad) {
		t.Errorf("MaxItems=many: got %v", err)
	}
}

func TestRoutes(t *testing.T) {
	var rt router
	for _, r := range []string{
		"GET /f", "GET /f/{Name}", "GET /f/special", "GET /f/{Name}/code", "POST /f/{Name}/code", "GET /b/{Key+}", "GET /b/{Key+}/acl",
		"GET /q/{Name}?tagging", "GET /q/{Name}", "GET /q/{Name}?tagging&version=2", "GET /x/{A}/y/{B}", "GET /",
	} {
		method, uri, _ := strings.Cut(r, " ")
		op := &Operation{schema: smithy.NewSchema(smithy.ShapeID{Name: r}, smithy.ShapeTypeOperation, 0, &traits.HTTP{Method: method, URI: uri, Code: 200})}
		if err := rt.add(op); err != nil {
			t.Fatal(err)
		}
	}
	for in, want := range map[string]string{
		"GET /f":                     "GET /f",
		"GET /f/":                    "GET /f",
		"GET /f/a":                   "GET /f/{Name} Name=a",
		"GET /f/a%2Fb%20c":           "GET /f/{Name} Name=a/b c",
		"GET /f/special":             "GET /f/special",
		"GET /f/special/code":        "GET /f/{Name}/code Name=special",
		"POST /f/x/code/":            "POST /f/{Name}/code Name=x",
		"GET /b/k":                   "GET /b/{Key+} Key=k",
		"GET /b/a/b%2Fc//d":          "GET /b/{Key+} Key=a/b/c//d",
		"GET /q/n":                   "GET /q/{Name} Name=n",
		"GET /q/n?other":             "GET /q/{Name} Name=n",
		"GET /q/n?tagging":           "GET /q/{Name}?tagging Name=n",
		"GET /q/n?version=2&tagging": "GET /q/{Name}?tagging&version=2 Name=n",
		"GET /q/n?version=3&tagging": "GET /q/{Name}?tagging Name=n",
		"GET /x/1/y/2":               "GET /x/{A}/y/{B} A=1 B=2",
		"GET /":                      "GET /",
		"GET /f//code":               "",
		"GET /b":                     "",
		"PUT /f":                     "",
		"GET /f/a/b":                 "",
		"GET /nothing":               "",
	} {
		method, uri, _ := strings.Cut(in, " ")
		path, query, _ := strings.Cut(uri, "?")
		got := ""
		if op, labels, ok := rt.match(method, path, query); ok {
			got = op.Name()
			for _, l := range labels {
				got += " " + l.name + "=" + l.value
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func encodeWith(t *testing.T, s *Service, op string, out any) *httptest.ResponseRecorder {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/", nil)
	r = r.WithContext(WithRequest(r.Context(), Request{ID: "the-id"}))
	if err := s.Protocol.encode(&Call{service: s, op: s.byName[op], request: r}, w, out); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEncode(t *testing.T) {
	w := encodeWith(t, lambdaService(), "CreateFunction", &lambda.CreateFunctionOutput{
		FunctionName: Ptr("<a&b>\"\\\n\x01\xff ä"), CodeSize: 0, Layers: []types.Layer{}, Timeout: Ptr[int32](0), Description: Ptr(""),
	})
	want := `{"CodeSize":0,"Description":"","FunctionName":"<a&b>\"\\\n\u0001` + "\ufffd" + ` ä","Layers":[],"Timeout":0}`
	if w.Code != 201 || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s\nwant 201 %s", w.Code, w.Body, want)
	}
	if w := encodeWith(t, lambdaService(), "UntagResource", &lambda.UntagResourceOutput{}); w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("got %d %q, want 204 and nothing", w.Code, w.Body)
	}
}

func TestEncodeNumbersAndTimes(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 123e6, time.UTC)
	for _, c := range []struct {
		v    any
		s    *smithy.Schema
		want string
	}{
		{1.5, Double, "1.5"}, {math.NaN(), Double, `"NaN"`}, {math.Inf(-1), Double, `"-Infinity"`}, {1e21, Double, "1e+21"},
		{at, Timestamp, "1795608000.123"}, {at.Truncate(time.Second), Timestamp, "1795608000"}, {[]byte{255}, Blob, `"/w=="`},
		{at, smithy.NewSchema(smithy.ShapeID{Name: "T"}, smithy.ShapeTypeTimestamp, 0, &traits.TimestampFormat{Format: dateTime}), `"2026-11-25T12:00:00.123Z"`},
		{at, smithy.NewSchema(smithy.ShapeID{Name: "T"}, smithy.ShapeTypeTimestamp, 0, &traits.TimestampFormat{Format: httpDate}), `"Wed, 25 Nov 2026 12:00:00 GMT"`},
	} {
		if got := string(appendJSON(nil, reflect.ValueOf(c.v), c.s)); got != c.want {
			t.Errorf("%v: got %s, want %s", c.v, got, c.want)
		}
	}
}

func TestUnions(t *testing.T) {
	u := Unions(&logstypes.ResourceConfigMemberOpenSearchResourceConfig{})
	s := logsschemas.PutIntegrationRequest
	in := &cloudwatchlogs.PutIntegrationInput{}
	v, err := parseJSON([]byte(`{"integrationName":"n","resourceConfig":{"openSearchResourceConfig":{"retentionDays":3}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.decode(reflect.ValueOf(in).Elem(), s, v); err != nil {
		t.Fatal(err)
	}
	arm, ok := in.ResourceConfig.(*logstypes.ResourceConfigMemberOpenSearchResourceConfig)
	if !ok || *arm.Value.RetentionDays != 3 {
		t.Errorf("got %+v", in.ResourceConfig)
	}
	for _, body := range []string{`{"resourceConfig":{"other":{}}}`, `{"resourceConfig":{"openSearchResourceConfig":{},"x":{}}}`, `{"resourceConfig":1}`} {
		v, _ := parseJSON([]byte(body))
		if err := u.decode(reflect.ValueOf(&cloudwatchlogs.PutIntegrationInput{}).Elem(), s, v); err == nil {
			t.Errorf("%s: accepted", body)
		}
	}
}

func TestErrorType(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{&types.InvalidParameterValueException{Message: Ptr("m")}, 400, `{"Type":"User","message":"m"}`},
		{&types.InvalidParameterValueException{Message: Ptr("m"), Type: Ptr("")}, 400, `{"message":"m"}`},
		{&types.ResourceNotFoundException{Message: Ptr("m"), Type: Ptr("")}, 404, `{"Message":"m"}`},
		{&types.ServiceException{Message: Ptr("m")}, 500, `{"Type":"Service","Message":"m"}`},
		{&types.ResourceNotFoundException{}, 404, `{"Type":"User"}`},
		{&Error{Code: "ValidationException", Message: "m"}, 400, `{"message":"m"}`},
		{&Error{Code: "X", Message: "m", Status: 418, UpperMessage: true}, 418, `{"Message":"m"}`},
		{errors.New("secret"), 500, `{"message":"An internal error occurred."}`},
	} {
		w := httptest.NewRecorder()
		lambdaService().WriteError(w, "id", c.err)
		var got, want map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &got)
		_ = json.Unmarshal([]byte(c.want), &want)
		if w.Code != c.status || !cmp.Equal(got, want) {
			t.Errorf("%v: got %d %s, want %d %s", c.err, w.Code, w.Body, c.status, c.want)
		}
	}
}

func queryService() *Service {
	tag := Struct("Tag", Member("Key", String), Member("Value", String))
	return &Service{
		Name: "iam", Protocol: Query, Version: "2010-05-08", Namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
		Operations: []Operation{
			Op(OperationSchema("CreateUser"), Struct("In", Member("UserName", String), Member("Tags", List(tag))),
				Struct("Out", Member("User", Struct("User", Member("UserName", String), Member("Tags", List(tag)), Member("CreateDate", Timestamp)))),
				nothing[iam.CreateUserInput, iam.CreateUserOutput], Public("a test")),
			Op(OperationSchema("ListUsers"), Struct("In", Member("MaxItems", Integer)), Struct("Out", Member("IsTruncated", Boolean), Member("Users", List(Struct("User", Member("UserName", String))))),
				nothing[iam.ListUsersInput, iam.ListUsersOutput], Public("a test")),
			Op(OperationSchema("GetAccountSummary"), nil, Struct("Out", Member("SummaryMap", Map(Integer))),
				nothing[iam.GetAccountSummaryInput, iam.GetAccountSummaryOutput], Public("a test")),
			Op(OperationSchema("DeleteUser"), Struct("In", Member("UserName", String)), nil, nothing[iam.DeleteUserInput, iam.DeleteUserOutput], Public("a test")),
		},
	}
}

func TestQueryDecode(t *testing.T) {
	form := "Action=CreateUser&Version=2010-05-08&UserName=a%2Bb&Tags.member.10.Key=k10&Tags.member.10.Value=&Tags.member.2.Key=k2&Tags.member.2.Value=v+2&Unknown.x=1"
	c, err := decode(queryService(), httptest.NewRequest("POST", "/", nil), form)
	if err != nil {
		t.Fatal(err)
	}
	want := &iam.CreateUserInput{UserName: Ptr("a+b"), Tags: []iamtypes.Tag{{Key: Ptr("k2"), Value: Ptr("v 2")}, {Key: Ptr("k10"), Value: Ptr("")}}}
	if diff := cmp.Diff(want, c.Input(), cmpopts.IgnoreUnexported(iam.CreateUserInput{}, iamtypes.Tag{})); diff != "" {
		t.Error(diff)
	}
	if c, err = decode(queryService(), httptest.NewRequest("GET", "/?Action=CreateUser&Version=2010-05-08&UserName=q", nil), ""); err != nil || *c.Input().(*iam.CreateUserInput).UserName != "q" {
		t.Errorf("from the query: %v", err)
	}
	for form, code := range map[string]string{
		"":                                      "MissingAction",
		"Action=Nothing":                        "InvalidAction",
		"Action=CreateUser&Version=1999-01-01":  "InvalidAction",
		"Action=ListUsers&MaxItems=x":           "SerializationException",
		"Action=CreateUser&UserName.x=1":        "SerializationException",
		"Action=%zz":                            "MalformedQueryString",
		"Action=ListUsers&MaxItems=99999999999": "SerializationException",
		"Action=CreateUser&Tags.member.1=x&T" + strings.Repeat(".a", 40) + "=1": "SerializationException",
	} {
		_, err := decode(queryService(), httptest.NewRequest("POST", "/", nil), form)
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != code {
			t.Errorf("%.60s: got %v, want %s", form, err, code)
		}
	}
}

func TestQueryEncode(t *testing.T) {
	const open, meta = ` xmlns="https://iam.amazonaws.com/doc/2010-05-08/">`, `<ResponseMetadata><RequestId>the-id</RequestId></ResponseMetadata>`
	for _, c := range []struct {
		op   string
		out  any
		want string
	}{
		{"CreateUser", &iam.CreateUserOutput{User: &iamtypes.User{UserName: Ptr("<&\x00>"), Tags: []iamtypes.Tag{{Key: Ptr("k"), Value: Ptr("v")}}, CreateDate: Ptr(time.Unix(0, 0))}},
			`<CreateUserResult><User><CreateDate>1970-01-01T00:00:00Z</CreateDate><Tags><member><Key>k</Key><Value>v</Value></member></Tags><UserName>&lt;&amp;` + "\ufffd" + `&gt;</UserName></User></CreateUserResult>`},
		{"ListUsers", &iam.ListUsersOutput{Users: []iamtypes.User{}}, `<ListUsersResult><IsTruncated>false</IsTruncated><Users></Users></ListUsersResult>`},
		{"GetAccountSummary", &iam.GetAccountSummaryOutput{SummaryMap: map[string]int32{"Users": 1, "Roles": 2}},
			`<GetAccountSummaryResult><SummaryMap><entry><key>Roles</key><value>2</value></entry><entry><key>Users</key><value>1</value></entry></SummaryMap></GetAccountSummaryResult>`},
		{"DeleteUser", &iam.DeleteUserOutput{}, ""},
	} {
		want := "<" + c.op + "Response" + open + c.want + meta + "</" + c.op + "Response>"
		if got := encodeWith(t, queryService(), c.op, c.out).Body.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
