package edge

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/sigv4"
	"lambent.dev/lambent/internal/wire"
)

// An exchange is one request and its answer.
type exchange struct {
	server    *Server
	w         *recorder
	r         *http.Request
	info      wire.Request
	service   *wire.Service // nil until the signature's scope names one
	call      *wire.Call
	principal iam.Principal
	release   []func() // give back what the request holds
	code      string   // of the error answered
}

func newExchange(s *Server, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{server: s, w: &recorder{ResponseWriter: w}, r: r}
	x.info = wire.Request{
		ID: uuid.NewString(), Host: r.Host, TLS: r.TLS != nil, SourceIP: r.RemoteAddr, UserAgent: r.UserAgent(),
		TraceHeader: r.Header.Get("X-Amzn-Trace-Id"), Started: s.now(),
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		x.info.SourceIP = host
	}
	x.w.Header()["X-Amzn-Requestid"] = []string{x.info.ID}
	return x
}

// serve takes the request through its steps; an error is not answered yet.
func (x *exchange) serve() error {
	ctx := wire.WithRequest(x.r.Context(), x.info)
	p, err := x.authenticate(ctx)
	if err != nil {
		return err
	}
	ctx = iam.WithPrincipal(ctx, p)
	x.r = x.r.WithContext(ctx)
	if err := x.hold(x.server.requests, 1); err != nil {
		return err
	}
	if x.call, err = x.service.Route(x.r); err != nil {
		return err
	}
	body, err := x.readBody(ctx)
	if err != nil {
		return err
	}
	if err := x.call.Decode(body); err != nil {
		return err
	}
	if err := x.authorize(ctx); err != nil {
		return err
	}
	return x.call.Handle(ctx, x.w)
}

// authenticate chooses the service and verifies the head of the request. What is left of the
// signature is verified by whoever reads the body.
func (x *exchange) authenticate(ctx context.Context) (iam.Principal, error) {
	sig, err := sigv4.Parse(x.r)
	if err != nil {
		return iam.Principal{}, x.unauthentic(err)
	}
	svc := x.server.services[sig.Service]
	if svc == nil {
		return iam.Principal{}, x.unknownService(sig.Service)
	}
	x.service = svc
	secret, p, err := x.server.cfg.Authenticate(ctx, sig.AccessKeyID, sig.Token)
	if err != nil {
		return iam.Principal{}, x.unauthentic(err)
	}
	want := sigv4.Expectation{Service: svc.Signing(), Global: svc.Global}
	if err := x.server.verifier.Verify(x.r, sig, secret, want); err != nil {
		return iam.Principal{}, x.unauthentic(err)
	}
	x.principal = p
	return p, nil
}

func (x *exchange) authorize(ctx context.Context) error {
	action, resources := x.call.Access(x.server.scope(x.principal))
	if action == "" {
		return nil
	}
	return x.server.cfg.Authorize(ctx, action, resources)
}

// fail answers err, or cuts the connection if an answer has begun: its reader must not take half
// of it for the whole.
func (x *exchange) fail(err error) {
	if x.w.status != 0 {
		x.server.log.Error("answer broken off", "request", x.info.ID, "operation", x.operation(), "err", err)
		panic(http.ErrAbortHandler)
	}
	hurry(x.w, x.r)
	svc := x.service
	if svc == nil {
		svc = fallback(x.r)
	}
	api, status := svc.WriteError(x.w, x.info.ID, x.translate(svc, err))
	x.code = api.ErrorCode()
	if status >= http.StatusInternalServerError {
		x.server.log.Error("request failed", "request", x.info.ID, "service", svc.Name, "operation", x.operation(), "err", err)
	}
}

// finish recovers from a panic, gives back what the request held and writes the access log.
func (x *exchange) finish() {
	p := recover()
	if p != nil && p != http.ErrAbortHandler {
		x.server.log.Error("panic", "request", x.info.ID, "operation", x.operation(), "panic", p, "stack", string(debug.Stack()))
		if x.w.status == 0 {
			x.fail(fmt.Errorf("panic: %v", p))
			p = nil
		} else {
			p = http.ErrAbortHandler
		}
	}
	x.server.inFlight.Add(-1)
	for _, release := range x.release {
		release()
	}
	x.logAccess()
	if p != nil {
		panic(p)
	}
}

func (x *exchange) logAccess() {
	if !x.server.log.Enabled(x.r.Context(), slog.LevelDebug) {
		return
	}
	service := ""
	if x.service != nil {
		service = x.service.Name
	}
	x.server.log.LogAttrs(x.r.Context(), slog.LevelDebug, "request",
		slog.String("request", x.info.ID), slog.String("service", service), slog.String("operation", x.operation()),
		slog.Int("status", x.w.status), slog.String("error", x.code), slog.String("principal", x.principal.ARN),
		slog.String("source", x.info.SourceIP), slog.Int64("in", x.r.ContentLength), slog.Int64("out", x.w.bytes),
		slog.Duration("took", x.server.now().Sub(x.info.Started)))
}

func (x *exchange) operation() string {
	if x.call == nil {
		return ""
	}
	return x.call.Operation()
}

// A recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// hurry bounds how long what is left of a body may take that no handler reads: net/http reads
// some of it before it sends the answer, so that a client that is slow on purpose would hold the
// connection for as long as it likes.
func hurry(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadBody)) // not every connection has deadlines
	}
}

const (
	unreadBody   = 2 * time.Second
	smallBody    = 4 << 10  // above it, a body waits for memory
	largeBody    = 64 << 10 // above it, no length is believed
	memoryWait   = 30 * time.Second
	slowestBytes = 32 << 10 // a second; slower bodies are given up
)

// readBody reads the whole body, which verifies it.
func (x *exchange) readBody(ctx context.Context) ([]byte, error) {
	limit := x.call.MaxBody()
	size := x.r.ContentLength
	switch {
	case size > limit:
		return nil, x.call.TooLarge()
	case x.r.Body == nil || x.r.Body == http.NoBody:
		return nil, nil // the verifier has seen that
	case size < 0:
		size = limit
	}
	if size > largeBody {
		if err := x.authorizeHead(ctx); err != nil {
			return nil, err
		}
	}
	if size > smallBody {
		if err := x.reserve(ctx, size); err != nil {
			return nil, err
		}
	}
	rc := http.NewResponseController(x.w)
	deadline := time.Now().Add(x.server.cfg.BodyGrace + time.Duration(size/slowestBytes)*time.Second)
	_ = rc.SetReadDeadline(deadline) // not every connection has deadlines
	body, err := readAll(x.r.Body, x.r.ContentLength, limit)
	_ = rc.SetReadDeadline(time.Time{})
	if err != nil {
		return nil, x.unauthentic(err)
	}
	if int64(len(body)) > limit {
		return nil, x.call.TooLarge()
	}
	return body, nil
}

// authorizeHead refuses before a large body is read what the head already tells to be denied.
func (x *exchange) authorizeHead(ctx context.Context) error {
	action, resources, known := x.call.HeadAccess(x.server.scope(x.principal))
	if !known {
		return nil
	}
	return x.server.cfg.Authorize(ctx, action, resources)
}

// reserve waits for the memory of a body.
func (x *exchange) reserve(ctx context.Context, n int64) error {
	// Bodies of invocations are held until their functions end, which may take long.
	ctx, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	release, err := x.server.bodies.wait(ctx, x.payer(), n)
	if err != nil {
		return errBusy
	}
	x.release = append(x.release, release)
	return nil
}

// hold takes a share at once, or refuses.
func (x *exchange) hold(s *shares, n int64) error {
	release, ok := s.try(x.payer(), n)
	if !ok {
		return errBusy
	}
	x.release = append(x.release, release)
	return nil
}

// payer is who shares are counted for: sessions of a role are easily made, so they share one.
func (x *exchange) payer() string { return cmp.Or(x.principal.RoleARN, x.principal.ARN) }

// readAll reads r to its end, or one byte beyond limit. It trusts a length only so far: the
// buffer grows with what has really come.
func readAll(r io.Reader, length, limit int64) ([]byte, error) {
	size := int64(512)
	if length >= 0 {
		size = min(length, largeBody) + 1 // one more, to meet the end without growing
	}
	b := make([]byte, 0, size)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, err
		case int64(len(b)) > limit:
			return b, nil
		case len(b) == cap(b):
			grown := min(int64(cap(b))*2, limit+1)
			if length >= 0 {
				grown = min(grown, length+1)
			}
			b = append(make([]byte, 0, max(grown, int64(cap(b))+1)), b...)
		}
	}
}
