package wire

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logsschemas "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/schemas"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// refusal checks that no request makes the codec panic or blame the server, and that the same
// request is decoded to the same input.
func refusal(t *testing.T, s *Service, request func() *http.Request, body string) {
	t.Helper()
	c, err := decode(s, request(), body)
	if err == nil {
		again, err := decode(s, request(), body)
		if err != nil || !cmp.Equal(c.Input(), again.Input(), cmp.Exporter(func(reflect.Type) bool { return true }), cmpopts.EquateNaNs()) {
			t.Errorf("decoded twice, %v:\n%s", err, body)
		}
		return
	}
	w := httptest.NewRecorder()
	if _, status := s.WriteError(w, "id", err); status < 400 || status >= 500 || w.Code != status {
		t.Errorf("%q: %d, %v", body, status, err)
	}
}

// FuzzRestJSON decodes restJson1: method, path, query, a header and a body.
func FuzzRestJSON(f *testing.F) {
	for _, body := range []string{`{}`, `{"Timeout":1e5,"Code":{"ZipFile":"AA=="},"Tags":{"a":"b"}}`, `{"Layers":[null]}`, "\xff{", `{"Timeout":-9223372036854775809}`} {
		f.Add("POST", "/2015-03-31/functions", body)
	}
	f.Add("GET", "/2015-03-31/functions?MaxItems=9999999999&Marker=%00&FunctionVersion=ALL", "")
	f.Add("GET", "/2015-03-31/functions/?MaxItems=1&MaxItems=x", "{}")
	f.Add("DELETE", "/2017-03-31/tags/arn%3Aaws%2F%00?tagKeys=a&tagKeys=%zz", "")
	s := lambdaService()
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return // net/http refuses it
		}
		refusal(t, s, func() *http.Request {
			return &http.Request{Method: method, URL: u, RequestURI: target, Header: http.Header{}, Host: "h"}
		}, body)
	})
}

// FuzzAWSJSON decodes awsJson1.0 and awsJson1.1: the operation is a header, the rest is the body.
func FuzzAWSJSON(f *testing.F) {
	for _, body := range []string{
		`{"logGroupName":"g","logStreamName":"s","logEvents":[{"timestamp":1,"message":"m"}],"entity":{"keyAttributes":{"a":"b"}}}`,
		`{"integrationName":"n","resourceConfig":{"openSearchResourceConfig":{"retentionDays":3}}}`,
		`{"resourceConfig":{"openSearchResourceConfig":{},"x":{}}}`, `{"logEvents":[{"timestamp":1e400}]}`, `{`, `[]`, "",
	} {
		f.Add("Logs_20140328.PutLogEvents", body)
		f.Add("Logs_20140328.PutIntegration", body)
	}
	f.Add("Logs_20140328.", "{}")
	f.Add("Other.PutLogEvents", "{}")
	var services []*Service
	for _, p := range []Protocol{JSON10, JSON11} {
		services = append(services, &Service{
			Name: "logs", Protocol: p, TargetPrefix: "Logs_20140328", Errors: cloudwatchlogs.TypeRegistry,
			Unions: Unions(&logstypes.ResourceConfigMemberOpenSearchResourceConfig{}),
			Operations: []Operation{
				Op(logsschemas.PutLogEvents, logsschemas.PutLogEventsRequest, logsschemas.PutLogEventsResponse,
					nothing[cloudwatchlogs.PutLogEventsInput, cloudwatchlogs.PutLogEventsOutput], Public("a test")),
				Op(logsschemas.PutIntegration, logsschemas.PutIntegrationRequest, logsschemas.PutIntegrationResponse,
					nothing[cloudwatchlogs.PutIntegrationInput, cloudwatchlogs.PutIntegrationOutput], Public("a test")),
			},
		})
	}
	f.Fuzz(func(t *testing.T, target, body string) {
		for _, s := range services {
			refusal(t, s, func() *http.Request {
				r := httptest.NewRequest("POST", "/", nil)
				r.Header["X-Amz-Target"] = []string{target}
				return r
			}, body)
		}
	})
}

// FuzzQuery decodes awsQuery: a form in the body, and one in the query.
func FuzzQuery(f *testing.F) {
	for _, form := range []string{
		"Action=CreateUser&Version=2010-05-08&UserName=a%2Bb&Tags.member.10.Key=k10&Tags.member.2.Value=v+2", "Action=CreateUser&Tags.member.1.Key=x",
		"Action=CreateUser&Tags.member.99999999999999999999.Key=x", "Action=CreateUser&Tags.member.-1.Key=x&Tags.member.01=", "Action=ListUsers&MaxItems=0x1",
		"a.b.c=1&a=2", "Action=CreateUser&UserName.x=1", "Action=CreateUser&Tags" + strings.Repeat(".member.1", 40), "Action=%zz", "Action=ListUsers&Action=CreateUser",
	} {
		f.Add("", form)
		f.Add(form, "")
	}
	s := queryService()
	f.Fuzz(func(t *testing.T, query, body string) {
		refusal(t, s, func() *http.Request {
			r := httptest.NewRequest("POST", "/", nil)
			r.URL.RawQuery = query
			return r
		}, body)
	})
}
