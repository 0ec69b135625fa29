package lambda

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/code"
	"lambent.dev/lambent/internal/edge"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/wire"
)

const (
	testRegion  = "us-east-1"
	testAccount = "111111111111"
	testSecret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	testRole    = "arn:aws:iam::111111111111:role/runs"
	testARN     = "arn:aws:lambda:us-east-1:111111111111:function:"
)

// A region is the API behind a listener, with everything below it real but what runs functions.
type region struct {
	t      testing.TB
	url    string
	client *sdk.Client
	store  *function.Store

	mu          sync.Mutex
	clock       time.Duration // how far it is ahead
	held        chan struct{} // closed when functions may become ready; nil if they always may
	invoke      func(function.Invocation) (function.Result, error)
	during      func(context.Context) // called in every invocation, with its context; nil if nothing is
	invocations []function.Invocation
	events      []function.Invocation
	asked       [][]string // actions with their resources
	denied      map[string]bool
}

func newRegion(t testing.TB) *region {
	t.Helper()
	db := kvtest.Open(t)
	blobs, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	packages, err := code.Open(code.Config{Dir: t.TempDir(), Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	r := &region{t: t, denied: map[string]bool{}}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r.store = function.New(function.Config{KV: db, Region: testRegion, Prepare: r.prepare, Logger: log, Now: r.now})
	api := New(Config{
		Functions: r.store, Code: packages, Roles: r, Invoke: invoker{r}, Events: r,
		Runtime: knownRuntime, Region: testRegion, URLKey: [32]byte{1}, Concurrency: 1000, Architecture: "x86_64", Now: r.now, Logger: log,
	})
	front, err := edge.New(edge.Config{
		Region: testRegion, Services: []*wire.Service{api.Service()}, Authenticate: authenticate, Authorize: r.authorize,
		Handlers: map[string]http.Handler{"/_lambent/code/": api.CodeHandler()}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var ended lifecycle.Tasks
	ended.Go("functions", func() {
		if err := r.store.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(front)
	t.Cleanup(func() { server.Close(); stop(); ended.Wait() })
	r.url = server.URL
	r.client = sdk.New(sdk.Options{
		Region: testRegion, BaseEndpoint: &server.URL, Credentials: aws.CredentialsProviderFunc(credentials),
		Retryer: aws.NopRetryer{},
	})
	return r
}

func credentials(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: testSecret}, nil
}

func authenticate(context.Context, string, string) (string, iam.Principal, error) {
	return testSecret, iam.Principal{Account: testAccount, ARN: "arn:aws:iam::111111111111:user/alice", UserID: "AIDA", Kind: iam.UserKind, Name: "alice"}, nil
}

func knownRuntime(_ context.Context, id string) error {
	if id == "python3.13" || id == "nodejs22.x" {
		return nil
	}
	return fmt.Errorf("no image of %s; run: lambent runtimes build %s", id, id)
}

func (r *region) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.clock)
}

func (r *region) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock += d
}

// prepare makes functions ready, when they may become it.
func (r *region) prepare(ctx context.Context, f function.Function) (function.Image, error) {
	r.mu.Lock()
	held := r.held
	r.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return function.Image{}, ctx.Err()
		}
	}
	return function.Image{Reference: "oci:" + f.Runtime}, nil
}

// hold keeps functions from becoming ready until the function it returns is called.
func (r *region) hold() (release func()) {
	held := make(chan struct{})
	r.mu.Lock()
	r.held = held
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		r.held = nil
		r.mu.Unlock()
		close(held)
	}
}

func (r *region) authorize(_ context.Context, action string, resources []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, append([]string{action}, resources...))
	if r.denied[action] {
		return &iam.DeniedError{Principal: "alice", Action: action, Resource: resources[0]}
	}
	return nil
}

// lastAsked is the action and the resources that were last authorised.
func (r *region) lastAsked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[len(r.asked)-1]
}

// Role implements Roles.
func (r *region) Role(account, name string) (iam.Role, error) {
	trust := func(service string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`
	}
	role := iam.Role{Trust: trust("lambda.amazonaws.com")}
	switch name {
	case testRole:
	case "arn:aws:iam::111111111111:role/other":
		role.Trust = trust("ec2.amazonaws.com")
	default:
		return iam.Role{}, &iam.Error{Reason: iam.ErrNotFound, Message: "no such role"}
	}
	role.Account, role.ARN = account, name
	return role, nil
}

// CanPassRole implements Roles.
func (r *region) CanPassRole(_ context.Context, arn, service string) error {
	if strings.HasSuffix(arn, "/secret") {
		return &iam.DeniedError{Principal: "alice", Action: "iam:PassRole", Resource: arn}
	}
	return nil
}

// invoker is the region as what runs functions.
type invoker struct{ r *region }

// Invoke implements Invoker.
func (i invoker) Invoke(ctx context.Context, inv function.Invocation) (function.Result, error) {
	if i.r.during != nil {
		i.r.during(ctx)
	}
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.r.invocations = append(i.r.invocations, inv)
	if i.r.invoke != nil {
		return i.r.invoke(inv)
	}
	return answer(string(inv.Payload)), nil
}

func answer(body string) function.Result {
	return function.Result{Body: io.NopCloser(strings.NewReader(body)), Size: int64(len(body)), Version: function.Latest, LogTail: []byte("END\n")}
}

// Publish implements Events.
func (r *region) Publish(_ context.Context, inv function.Invocation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, inv)
	return nil
}

// A reply is what the server answered.
type reply struct {
	status int
	header http.Header
	body   string
}

// code is the code of an error.
func (a reply) code() string { return a.header.Get("X-Amzn-Errortype") }

// members are the members of the body.
func (a reply) members() map[string]any {
	m := map[string]any{}
	_ = json.Unmarshal([]byte(a.body), &m) // no members, if it is not JSON
	return m
}

// message is the message of an error.
func (a reply) message() string {
	m := a.members()
	for _, k := range []string{"message", "Message"} {
		if s, ok := m[k].(string); ok {
			return s
		}
	}
	return ""
}

// do sends a signed request.
func (r *region) do(method, path, body string, header ...string) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	sum := sha256.Sum256([]byte(body))
	c, _ := credentials(r.t.Context())
	if err := v4.NewSigner().SignHTTP(r.t.Context(), c, req, hex.EncodeToString(sum[:]), "lambda", testRegion, time.Now()); err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// makeZip is a package with one file.
func makeZip(t testing.TB, content string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	f, err := w.Create("index.py")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// creation is the body of a CreateFunction request; members replace or add, nil removes.
func creation(t testing.TB, name string, members map[string]any) string {
	t.Helper()
	m := map[string]any{
		"FunctionName": name, "Role": testRole, "Runtime": "python3.13", "Handler": "index.handler",
		"Code": map[string]any{"ZipFile": base64.StdEncoding.EncodeToString(makeZip(t, name))},
	}
	for k, v := range members {
		m[k] = v
		if v == nil {
			delete(m, k)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const functions = "/2015-03-31/functions"

// create makes a function that is ready.
func (r *region) create(name string) {
	r.t.Helper()
	if a := r.do("POST", functions, creation(r.t, name, nil)); a.status != http.StatusCreated {
		r.t.Fatalf("create %s: %d %s", name, a.status, a.body)
	}
	r.ready(name)
}

// ready waits until a function is as it was last configured.
func (r *region) ready(name string) {
	r.t.Helper()
	changed := make(chan struct{}, 64)
	r.store.OnChange(func(string, string) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	for {
		f, err := r.store.Get(testAccount, name)
		if err != nil {
			r.t.Fatal(err)
		}
		if f.State == function.Active && !f.Updating() {
			return
		}
		select {
		case <-changed:
		case <-r.t.Context().Done():
			r.t.Fatalf("%s is still %s", name, f.State)
		}
	}
}
