package runtimeapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host serves a Server on loopback; sandboxes are clients bound to 127.0.0.N.
type host struct {
	*Server
	url string
}

func newHost(t *testing.T) *host {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{New(Config{}), "http://" + l.Addr().String() + "/2018-06-01/"}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.Serve(ctx, l); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return h
}

// client is an HTTP client whose source address is ip.
func client(t *testing.T, ip string) *http.Client {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	tr := &http.Transport{DialContext: d.DialContext, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

type reply struct {
	Status int
	Body   string
}

func do(t *testing.T, c *http.Client, method, url string, body io.Reader, header ...string) (reply, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return reply{-1, err.Error()}, nil
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: read body: %v", method, url, err)
	}
	return reply{res.StatusCode, string(data)}, res.Header
}

func want(t *testing.T, what string, got, want reply) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func offer(t *testing.T, s *Session, id string) *Exchange {
	t.Helper()
	x, err := s.Offer(Event{RequestID: id, FunctionARN: "arn:f", Payload: []byte(`{"n":1}`), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const accepted = "{\"status\":\"OK\"}\n"

func transition(from, to string) reply {
	return reply{403, `{"errorMessage":"State transition from ` + from + ` to ` + to +
		` failed for runtime. Error: State transition is not allowed","errorType":"InvalidStateTransition"}` + "\n"}
}

func TestCycle(t *testing.T) {
	h := newHost(t)
	s := NewSession()
	h.Attach(netip.MustParseAddr("127.0.0.2"), s)
	c := client(t, "127.0.0.2")
	x, err := s.Offer(Event{
		RequestID: "id-1", FunctionARN: "arn:f", Trace: "Root=1", ClientContext: `{"a":1}`, CognitoIdentity: `{"b":2}`,
		Payload: []byte(`{"n":1}`), Timeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, header := do(t, c, "GET", h.url+"runtime/invocation/next", nil)
	want(t, "next", got, reply{200, `{"n":1}`})
	for name, value := range map[string]string{
		"Lambda-Runtime-Aws-Request-Id": "id-1", "Lambda-Runtime-Trace-Id": "Root=1", "Lambda-Runtime-Invoked-Function-Arn": "arn:f",
		"Lambda-Runtime-Client-Context": `{"a":1}`, "Lambda-Runtime-Cognito-Identity": `{"b":2}`, "Content-Type": "application/json",
	} {
		if header.Get(name) != value {
			t.Errorf("%s = %q, want %q", name, header.Get(name), value)
		}
	}
	if ms, _ := strconv.ParseInt(header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64); ms != x.Deadline().UnixMilli() {
		t.Errorf("deadline header = %d, want %d", ms, x.Deadline().UnixMilli())
	}
	got, _ = do(t, c, "GET", h.url+"runtime/invocation/next", nil)
	want(t, "next again before an answer is the same event", got, reply{200, `{"n":1}`})

	got, _ = do(t, c, "POST", h.url+"runtime/invocation/id-1/response", strings.NewReader("answer"))
	want(t, "response", got, reply{202, accepted})
	<-x.Answered()
	if a := x.Answer(); string(a.Body) != "answer" || a.ErrorType != "" {
		t.Errorf("answer = %+v", a)
	}
	got, _ = do(t, c, "POST", h.url+"runtime/invocation/id-1/response", strings.NewReader("late"))
	want(t, "second response", got, transition("ResponseSent", "InvocationResponse"))
	if a := x.Answer(); string(a.Body) != "answer" {
		t.Errorf("a late answer replaced the first: %q", a.Body)
	}
}

func TestRefusals(t *testing.T) {
	h := newHost(t)
	s, other := NewSession(), NewSession()
	h.Attach(netip.MustParseAddr("127.0.0.2"), s)
	h.Attach(netip.MustParseAddr("127.0.0.3"), other)
	c, spy := client(t, "127.0.0.2"), client(t, "127.0.0.3")
	invalidID := reply{400, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}` + "\n"}

	got, _ := do(t, c, "POST", h.url+"runtime/invocation/none/response", nil)
	want(t, "response before any event", got, invalidID)
	x := offer(t, s, "id-1")
	do(t, c, "GET", h.url+"runtime/invocation/next", nil)
	got, _ = do(t, spy, "POST", h.url+"runtime/invocation/id-1/response", strings.NewReader("forged"))
	want(t, "another sandbox's request id", got, invalidID)
	got, _ = do(t, c, "POST", h.url+"runtime/invocation/id-2/error", strings.NewReader("forged"))
	want(t, "unknown request id", got, invalidID)
	got, _ = do(t, c, "POST", h.url+"runtime/init/error", strings.NewReader("{}"))
	want(t, "init error while running", got, transition("Running", "InitError"))
	got, _ = do(t, client(t, "127.0.0.9"), "GET", h.url+"runtime/invocation/next", nil)
	if got.Status != -1 {
		t.Errorf("a stranger was answered: %+v", got)
	}
	got, _ = do(t, c, "DELETE", h.url+"runtime/invocation/next", nil)
	if got.Status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE next: %+v", got)
	}
	got, _ = do(t, c, "GET", h.url+"ping", nil)
	want(t, "ping", got, reply{200, "pong"})
	select {
	case <-x.Answered():
		t.Errorf("answered by a forgery: %+v", x.Answer())
	default:
	}
}

func TestErrors(t *testing.T) {
	cause := `{"errorMessage":"m","errorType":"T","stackTrace":["s"],"errorCause":{"x":1}}`
	for _, tc := range []struct {
		name, contentType, errorType, body string
		want                               Answer
	}{
		{"plain", "application/json", "Function.Boom", `{"errorType":"E"}`, Answer{Body: []byte(`{"errorType":"E"}`), ErrorType: "Function.Boom"}},
		{"own name", "application/json", "TypeError", `{}`, Answer{Body: []byte(`{}`), ErrorType: "Runtime.Unknown"}},
		{"bad function name", "application/json", "Function.42", `{}`, Answer{Body: []byte(`{}`), ErrorType: "Function.Unknown"}},
		{"broken JSON", "application/json", "", `{"errorType`, Answer{Body: []byte(`{"errorType`), ErrorType: "Runtime.Unknown"}},
		{"with cause", "application/vnd.aws.lambda.error.cause+json", "Runtime.X", cause,
			Answer{Body: []byte(`{"errorMessage":"m","errorType":"T","stackTrace":["s"]}`), ErrorType: "Runtime.Xx"}},
		{"with broken cause", "application/vnd.aws.lambda.error.cause+json", "Runtime.Xx", "{", Answer{Body: []byte(`"Invalid error body"`), ErrorType: "Runtime.Xx"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, s, c, x := handed(t)
			if tc.errorType == "Runtime.X" {
				tc.errorType = "Runtime.Xx"
			}
			got, _ := do(t, c, "POST", h.url+"runtime/invocation/id/error", strings.NewReader(tc.body),
				"Content-Type", tc.contentType, errorTypeHeader, tc.errorType)
			want(t, "error", got, reply{202, accepted})
			<-x.Answered()
			a := x.Answer()
			a.At = time.Time{}
			if d := cmp.Diff(tc.want, a); d != "" {
				t.Error(d)
			}
			if s.Idle() {
				t.Error("idle before the runtime asks again")
			}
		})
	}
}

// handed is a session whose runtime has event "id".
func handed(t *testing.T) (*host, *Session, *http.Client, *Exchange) {
	t.Helper()
	h, s := newHost(t), NewSession()
	h.Attach(netip.MustParseAddr("127.0.0.2"), s)
	c := client(t, "127.0.0.2")
	x := offer(t, s, "id")
	if got, _ := do(t, c, "GET", h.url+"runtime/invocation/next", nil); got.Status != 200 {
		t.Fatalf("next: %+v", got)
	}
	return h, s, c, x
}

func TestResponseBodies(t *testing.T) {
	big := bytes.Repeat([]byte("x"), MaxPayload+1)
	tooLarge := reply{413, `{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}` + "\n"}
	for _, tc := range []struct {
		name   string
		body   io.Reader
		header []string
		reply  reply
		size   int
		kind   string
	}{
		{"empty", nil, nil, reply{202, accepted}, 0, ""},
		{"chunked", io.MultiReader(strings.NewReader("ab"), strings.NewReader("cd")), nil, reply{202, accepted}, 4, ""},
		{"largest", bytes.NewReader(big[:MaxPayload]), nil, reply{202, accepted}, MaxPayload, ""},
		{"too large", bytes.NewReader(big), nil, tooLarge, 139, ResponseTooLarge},
		{"too large, chunked", io.MultiReader(bytes.NewReader(big)), nil, tooLarge, 139, ResponseTooLarge},
		{"streaming", strings.NewReader("x"), []string{responseModeHeader, "streaming"},
			reply{400, `{"errorMessage":"Invalid function response mode","errorType":"InvalidFunctionResponseMode"}` + "\n"}, 0, InvalidResponseMode},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, _, c, x := handed(t)
			got, _ := do(t, c, "POST", h.url+"runtime/invocation/id/response", tc.body, tc.header...)
			// A client that still writes may see its connection cut before the refusal.
			if got.Status != -1 || tc.reply.Status != 413 {
				want(t, "response", got, tc.reply)
			}
			<-x.Answered()
			if a := x.Answer(); len(a.Body) != tc.size || a.ErrorType != tc.kind {
				t.Errorf("answer = %d bytes %q %q, want %d %q", len(a.Body), a.ErrorType, a.Body[:min(200, len(a.Body))], tc.size, tc.kind)
			}
		})
	}
}

func TestTrailers(t *testing.T) {
	h, _, c, x := handed(t)
	pr, pw := io.Pipe()
	req, err := http.NewRequest("POST", h.url+"runtime/invocation/id/response", pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{errorTypeHeader: nil, errorBodyTrailer: nil}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = pw.Write([]byte("half an ans"))
		req.Trailer.Set(errorTypeHeader, "Function.Broke")
		req.Trailer.Set(errorBodyTrailer, "eyJlcnJvclR5cGUiOiJFIn0=")
		_ = pw.Close()
	})
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	wg.Wait()
	<-x.Answered()
	if a := x.Answer(); a.ErrorType != "Function.Broke" || string(a.Body) != `{"errorType":"E"}` {
		t.Errorf("answer = %q %s", a.ErrorType, a.Body)
	}
}

// raw opens a connection from ip and writes text.
func raw(t *testing.T, h *host, ip, text string) net.Conn {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c, err := d.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(h.url, "http://"), "/2018-06-01/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTruncatedAndSlowBodies(t *testing.T) {
	const head = "POST /2018-06-01/runtime/invocation/id/response HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
	t.Run("truncated", func(t *testing.T) {
		h, _, _, x := handed(t)
		c := raw(t, h, "127.0.0.2", head)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		<-x.Answered()
		if a := x.Answer(); a.ErrorType != TruncatedResponse {
			t.Errorf("answer = %+v", a)
		}
	})
	t.Run("slow", func(t *testing.T) {
		h, s := newHost(t), NewSession()
		h.Attach(netip.MustParseAddr("127.0.0.2"), s)
		x, err := s.Offer(Event{RequestID: "id", Timeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		do(t, client(t, "127.0.0.2"), "GET", h.url+"runtime/invocation/next", nil)
		c := raw(t, h, "127.0.0.2", head)
		if data, err := io.ReadAll(c); len(data) > 0 || err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("after the deadline: %q, %v", data, err)
		}
		select {
		case <-x.Answered():
			t.Errorf("answered: %+v", x.Answer())
		default:
		}
	})
	t.Run("closed", func(t *testing.T) {
		h, s, _, _ := handed(t)
		c := raw(t, h, "127.0.0.2", head)
		for !s.Answering() {
			runtime.Gosched()
		}
		s.Close()
		if data, err := io.ReadAll(c); len(data) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("after Close: %q, %v", data, err)
		}
	})
}

func TestInitError(t *testing.T) {
	h, s := newHost(t), NewSession()
	h.Attach(netip.MustParseAddr("127.0.0.2"), s)
	c := client(t, "127.0.0.2")
	got, _ := do(t, c, "POST", h.url+"runtime/init/error", strings.NewReader(`{"errorType":"X"}`), errorTypeHeader, "Runtime.ImportModuleError")
	want(t, "init error", got, reply{202, accepted})
	<-s.Initialised()
	if d := cmp.Diff(&InitFailure{ErrorType: "Runtime.ImportModuleError", Body: []byte(`{"errorType":"X"}`)}, s.InitFailure()); d != "" {
		t.Error(d)
	}
	got, _ = do(t, c, "GET", h.url+"runtime/invocation/next", nil)
	want(t, "next after init error", got, transition("InitError", "Ready"))
	if _, err := s.Offer(Event{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Offer after init error: %v", err)
	}
}

// TestOneInitErrorAtATime: code cannot have a body read on each of its connections.
func TestOneInitErrorAtATime(t *testing.T) {
	h, s := newHost(t), NewSession()
	h.Attach(netip.MustParseAddr("127.0.0.2"), s)
	c := client(t, "127.0.0.2")
	slow := raw(t, h, "127.0.0.2", "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
	for {
		s.mu.Lock()
		reading := s.reports
		s.mu.Unlock()
		if reading {
			break
		}
		runtime.Gosched()
	}
	got, _ := do(t, c, "POST", h.url+"runtime/init/error", strings.NewReader(`{}`))
	want(t, "second report", got, transition("Started", "InitError"))
	if _, err := io.WriteString(slow, "}"); err != nil {
		t.Fatal(err)
	}
	<-s.Initialised()
	if f := s.InitFailure(); f == nil || string(f.Body) != "{}" {
		t.Errorf("first report: %+v", f)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	h, s := newHost(t), NewSession()
	addr := netip.MustParseAddr("127.0.0.2")
	h.Attach(addr, s)
	var conns []net.Conn
	for range maxConns {
		c := raw(t, h, "127.0.0.2", "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	c := raw(t, h, "127.0.0.2", "")
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("connection 65 was served")
	}
	_ = conns[0].Close()
	for open(h, addr) == maxConns {
		runtime.Gosched()
	}
	c = raw(t, h, "127.0.0.2", "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}

func open(h *host, addr netip.Addr) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.conns[addr]
}

func TestWithdrawAndWaitIdle(t *testing.T) {
	h, s := newHost(t), NewSession()
	h.Attach(netip.MustParseAddr("127.0.0.2"), s)
	x := offer(t, s, "id-1")
	if !s.Withdraw(x) || s.Withdraw(x) {
		t.Error("Withdraw is true once")
	}
	c := client(t, "127.0.0.2")
	var wg sync.WaitGroup
	wg.Go(func() {
		got, header := do(t, c, "GET", h.url+"runtime/invocation/next", nil)
		if got.Status != 200 || header.Get("Lambda-Runtime-Aws-Request-Id") != "id-2" {
			t.Errorf("next: %+v %v", got, header)
		}
	})
	if err := s.WaitIdle(context.Background()); err != nil {
		t.Fatal(err)
	}
	x = offer(t, s, "id-2")
	<-x.Delivered()
	if s.Withdraw(x) {
		t.Error("withdrew what was delivered")
	}
	wg.Wait()
	s.Close()
	if err := s.WaitIdle(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("WaitIdle: %v", err)
	}
}

// TestUnreceived: an event counts as seen unless the sandbox's network stack never took it.
func TestUnreceived(t *testing.T) {
	x := &Exchange{delivered: make(chan struct{}), written: make(chan struct{})}
	x.sent()
	if !x.Unreceived() {
		t.Error("an event that was not handed out was received")
	}
	close(x.delivered)
	if x.Unreceived() {
		t.Error("without knowledge it must count as received")
	}
	for n, want := range map[int]bool{0: false, 1: true} {
		x.outq = func() int { return n }
		if x.Unreceived() != want {
			t.Errorf("%d bytes unacknowledged: %v", n, !want)
		}
	}
	s := NewSession()
	s.current, x.outq = x, func() int { return 1 }
	s.hear()
	if x.Unreceived() {
		t.Error("a request came after the event: what is unacknowledged is the answer to that")
	}
	h, _, _, x := handed(t)
	_ = h
	if x.Unreceived() {
		t.Error("a live client has acknowledged its event")
	}
}
