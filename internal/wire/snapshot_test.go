package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"
	"github.com/aws/smithy-go/transport/http/protocol/restjson1"
	"github.com/google/go-cmp/cmp"
)

// An sdkService is a service whose module ships golden requests and responses.
type sdkService struct {
	*Service
	module   string
	client   any
	option   any                       // a function that sets the client's protocol to the spy
	protocol smithyhttp.ClientProtocol // the SDK's own, the other side of every comparison
	ops      map[string]*smithy.OperationSchema
	inputs   map[string]reflect.Type
	outputs  map[string]reflect.Type
	misses   map[string]string // snapshot file -> why it differs; one that passes fails the test
}

func sdkServices(t *testing.T) []*sdkService {
	t.Helper()
	const modules = "github.com/aws/aws-sdk-go-v2/service/"
	spy := &spyProtocol{}
	strip := func(s *middleware.Stack) error {
		_, _ = s.Initialize.Remove("OperationInputValidation") // not all operations have it
		return nil
	}
	services := []*sdkService{
		{
			Service: &Service{Name: "lambda", Protocol: RestJSON, Errors: lambda.TypeRegistry},
			module:  modules + "lambda", protocol: restjson1.New(serviceSchema("2015-03-31")),
			client: lambda.New(lambda.Options{Region: "eu-central-1", APIOptions: []func(*middleware.Stack) error{strip}}),
			option: func(o *lambda.Options) { o.Protocol = spy },
			misses: map[string]string{
				"response_snapshot/DeleteFunction.response.snap": "the snapshot has the HTTP status as a member of the body, which AWS does not",
				"response_snapshot/InvokeAsync.response.snap":    "the same",
			},
		},
		{
			Service: &Service{
				Name: "logs", Protocol: JSON11, TargetPrefix: "Logs_20140328", Errors: cloudwatchlogs.TypeRegistry,
				Unions: Unions(&logstypes.ResourceConfigMemberOpenSearchResourceConfig{}, &logstypes.IntegrationDetailsMemberOpenSearchIntegrationDetails{}),
			},
			module: modules + "cloudwatchlogs", protocol: awsjson.New11(serviceSchema("2014-03-28")),
			client: cloudwatchlogs.New(cloudwatchlogs.Options{Region: "eu-central-1", APIOptions: []func(*middleware.Stack) error{strip}}),
			option: func(o *cloudwatchlogs.Options) { o.Protocol = spy },
			misses: map[string]string{},
		},
		{
			Service: &Service{
				Name: "sts", Protocol: Query, Version: "2011-06-15", Namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
				Errors: sts.TypeRegistry,
			},
			module: modules + "sts", protocol: awsquery.New(serviceSchema("2011-06-15")),
			client: sts.New(sts.Options{Region: "eu-central-1", APIOptions: []func(*middleware.Stack) error{strip}}),
			option: func(o *sts.Options) { o.Protocol = spy },
			misses: map[string]string{},
		},
	}
	for _, s := range services {
		s.learn(t, spy)
	}
	return services
}

func serviceSchema(version string) *smithy.ServiceSchema {
	return smithy.NewServiceSchema(smithy.NewSchema(smithy.ShapeID{Name: "test"}, smithy.ShapeTypeService, 0), version)
}

// learn finds every operation of the SDK's client and its schemas by calling it with a protocol
// that remembers what it was asked to serialize.
func (s *sdkService) learn(t *testing.T, spy *spyProtocol) {
	t.Helper()
	s.ops, s.inputs, s.outputs = map[string]*smithy.OperationSchema{}, map[string]reflect.Type{}, map[string]reflect.Type{}
	c := reflect.ValueOf(s.client)
	for m, v := range c.Methods() {
		ty := v.Type()
		if ty.NumIn() != 3 || ty.NumOut() != 2 || ty.In(1).Kind() != reflect.Pointer {
			continue
		}
		spy.seen = nil
		got := v.Call([]reflect.Value{reflect.ValueOf(context.Background()), reflect.New(ty.In(1).Elem()), reflect.ValueOf(s.option)})
		if spy.seen == nil {
			t.Fatalf("%s %s: the SDK did not serialize: %v", s.Name, m.Name, got[1])
		}
		s.ops[m.Name], s.inputs[m.Name], s.outputs[m.Name] = spy.seen, ty.In(1).Elem(), ty.Out(0).Elem()
		s.Operations = append(s.Operations, Operation{
			schema: spy.seen.Schema, in: spy.seen.Input, out: spy.seen.Output,
			input: ty.In(1).Elem(), output: ty.Out(0).Elem(), public: "a test",
		})
	}
}

var errSpied = errors.New("spied")

type spyProtocol struct {
	smithyhttp.ClientProtocol
	seen *smithy.OperationSchema
}

func (*spyProtocol) ID() smithy.ShapeID           { return smithy.ShapeID{Name: "spy"} }
func (*spyProtocol) HasInitialEventMessage() bool { return false }
func (p *spyProtocol) SerializeRequest(_ context.Context, op *smithy.OperationSchema, _ smithy.Serializable, _ *smithyhttp.Request) error {
	p.seen = op
	return errSpied
}

// TestFieldNames: every member of every shape has a field in the SDK's structs, or the codec
// would lose it in silence.
func TestFieldNames(t *testing.T) {
	for _, s := range sdkServices(t) {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		t.Logf("%s: %d operations", s.Name, len(s.Operations))
	}
}

// TestRequestSnapshots decodes every golden request of the SDK and has the SDK write it again.
func TestRequestSnapshots(t *testing.T) {
	for _, s := range sdkServices(t) {
		s.each(t, "request_snapshot", ".request.snap", func(op string, snap *snapshot) string {
			r := httptest.NewRequest(snap.method, snap.target, bytes.NewReader(snap.body))
			r.Header = snap.header
			if s.Protocol == JSON11 {
				r.Header.Set("X-Amz-Target", s.TargetPrefix+"."+op)
			}
			c, err := s.Route(r)
			if err != nil {
				return err.Error()
			}
			if err := c.Decode(snap.body); err != nil {
				return err.Error()
			}
			if c.Operation() != op {
				return "routed to " + c.Operation()
			}
			again := smithyhttp.NewStackRequest().(*smithyhttp.Request)
			if err := s.protocol.SerializeRequest(context.Background(), s.ops[op], c.Input().(smithy.Serializable), again); err != nil {
				return err.Error()
			}
			return s.compareRequest(snap, again)
		})
	}
}

func (s *sdkService) compareRequest(want *snapshot, got *smithyhttp.Request) string {
	var body []byte
	if st := got.GetStream(); st != nil {
		body, _ = io.ReadAll(st)
	}
	if s.Protocol == Query {
		return cmp.Diff(parseQuery(string(want.body)), parseQuery(string(body)))
	}
	diff := cmp.Diff(normalJSON(want.body), normalJSON(body))
	if s.Protocol != RestJSON {
		return diff
	}
	for k := range want.header {
		if k != "Content-Length" {
			diff += cmp.Diff(want.header.Get(k), got.Header.Get(k))
		}
	}
	_, rawQuery, _ := strings.Cut(want.target, "?")
	return diff + cmp.Diff(parseQuery(rawQuery), parseQuery(got.URL.RawQuery))
}

// TestResponseSnapshots has the SDK read every golden response and writes it again.
func TestResponseSnapshots(t *testing.T) {
	for _, s := range sdkServices(t) {
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		s.each(t, "response_snapshot", ".response.snap", func(op string, snap *snapshot) string {
			schema := s.ops[op]
			if schema.IsOutputEventStream() {
				return "event stream"
			}
			out := reflect.New(s.outputs[op]).Interface()
			if err := s.protocol.DeserializeResponse(context.Background(), schema, &smithy.TypeRegistry{}, snap.response(), out.(smithy.Deserializable)); err != nil {
				return "the SDK: " + err.Error()
			}
			w := httptest.NewRecorder()
			c := &Call{service: s.Service, op: s.byName[op], request: httptest.NewRequest("POST", "/", nil)}
			if err := s.Protocol.encode(c, w, out); err != nil {
				return err.Error()
			}
			return s.compareResponse(snap, w)
		})
	}
}

func (s *sdkService) compareResponse(want *snapshot, got *httptest.ResponseRecorder) string {
	// The status is not compared: the snapshots say 200 for everything, whatever the http trait says.
	diff := ""
	if s.Protocol == Query {
		a, errA := normalXML(want.body)
		b, errB := normalXML(got.Body.Bytes())
		if errA != nil || errB != nil {
			return errors.Join(errA, errB).Error()
		}
		b.Children = slices.DeleteFunc(b.Children, func(n *xmlNode) bool { return n.Name == "ResponseMetadata" })
		return diff + cmp.Diff(a, b)
	}
	diff += cmp.Diff(normalJSON(want.body), normalJSON(got.Body.Bytes()))
	for k := range want.header {
		if k != "Content-Type" && k != "X-Amz-Target" {
			diff += cmp.Diff(want.header.Get(k), got.Header().Get(k))
		}
	}
	return diff
}

// TestErrorSnapshots writes every golden error again: its status, its code and its members.
func TestErrorSnapshots(t *testing.T) {
	for _, s := range sdkServices(t) {
		s.each(t, "response_snapshot", ".error.snap", func(code string, snap *snapshot) string {
			err := s.protocol.DeserializeResponse(context.Background(), s.ops[anyKey(s.ops)], s.Errors, snap.response(), nil)
			var api smithy.APIError
			if !errors.As(err, &api) {
				return "the SDK: " + err.Error()
			}
			w := httptest.NewRecorder()
			s.WriteError(w, "id", api)
			diff := cmp.Diff(snap.status, w.Code)
			if got := w.Header().Get("X-Amzn-ErrorType"); got != code && s.Protocol != Query {
				diff += "X-Amzn-ErrorType: " + got
			}
			back := s.protocol.DeserializeResponse(context.Background(), s.ops[anyKey(s.ops)], s.Errors, recorded(w), nil)
			return diff + cmp.Diff(api.Error(), back.Error()) + cmp.Diff(reflect.TypeOf(api).String(), reflect.TypeOf(back).String())
		})
	}
}

func recorded(w *httptest.ResponseRecorder) *smithyhttp.Response {
	return &smithyhttp.Response{Response: w.Result()}
}

func anyKey(m map[string]*smithy.OperationSchema) string {
	return slices.Min(slices.Collect(maps.Keys(m)))
}

// each runs check over the snapshots of a kind; it says what differs. What is listed in misses
// has to differ.
func (s *sdkService) each(t *testing.T, dir, suffix string, check func(name string, snap *snapshot) string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(moduleDir(t, s.module), dir, "*"+suffix))
	if len(files) == 0 {
		t.Fatalf("%s: no snapshots in %s", s.Name, dir)
	}
	missed := 0
	for name := range s.misses {
		if kind, file := filepath.Split(name); kind == dir+"/" && strings.HasSuffix(file, suffix) && !slices.ContainsFunc(files, func(f string) bool { return filepath.Base(f) == file }) {
			t.Errorf("%s: no snapshot %s", s.Name, name)
		}
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), suffix)
		diff := check(name, readSnapshot(t, f, dir == "request_snapshot"))
		reason, expected := s.misses[dir+"/"+filepath.Base(f)]
		switch {
		case diff != "" && !expected:
			t.Errorf("%s %s: %s", s.Name, filepath.Base(f), diff)
		case diff == "" && expected:
			t.Errorf("%s %s passes now: strike it from the list (%s)", s.Name, filepath.Base(f), reason)
		case diff != "":
			missed++
		}
	}
	t.Logf("%s %s: %d of %d", s.Name, suffix, len(files)-missed, len(files))
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

type snapshot struct {
	method, target string
	status         int
	header         http.Header
	body           []byte
}

func (s *snapshot) response() *smithyhttp.Response {
	return &smithyhttp.Response{Response: &http.Response{
		StatusCode: s.status, Header: s.header, Body: io.NopCloser(bytes.NewReader(s.body)), ContentLength: int64(len(s.body)),
	}}
}

func readSnapshot(t *testing.T, path string, request bool) *snapshot {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(bytes.NewReader(b))
	s := &snapshot{header: http.Header{}}
	first, _ := r.ReadString('\n')
	if first = strings.TrimSpace(first); request {
		s.method, s.target, _ = strings.Cut(first, " ")
		_, _ = r.ReadString('\n')
	} else {
		s.status, _ = strconv.Atoi(first)
	}
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimRight(line, "\n"); line == "" || err != nil {
			break
		}
		k, v, _ := strings.Cut(line, ": ")
		s.header.Add(k, v)
	}
	s.body, _ = io.ReadAll(r)
	return s
}

// normalJSON is a body as a value; none is an empty object.
func normalJSON(b []byte) any {
	if len(b) == 0 {
		return map[string]any{}
	}
	var v any
	if json.Unmarshal(b, &v) != nil {
		return string(b)
	}
	return v
}

func parseQuery(s string) url.Values {
	v, _ := url.ParseQuery(s)
	return v
}

type xmlNode struct {
	Name, Text string
	Children   []*xmlNode
}

func normalXML(b []byte) (*xmlNode, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	stack := []*xmlNode{{}}
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			n := &xmlNode{Name: tok.Name.Local}
			top.Children = append(top.Children, n)
			stack = append(stack, n)
		case xml.CharData:
			top.Text += string(tok)
		case xml.EndElement:
			slices.SortStableFunc(top.Children, func(a, b *xmlNode) int { return strings.Compare(a.Name, b.Name) })
			stack = stack[:len(stack)-1]
		}
	}
	return stack[0].Children[0], nil
}
