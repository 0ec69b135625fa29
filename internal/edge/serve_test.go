package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/schemas"

	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/wire"
)

// TestServeDrains: a request in flight when the server ends is answered.
func TestServeDrains(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	slow := wire.Op(schemas.GetFunction, schemas.GetFunctionRequest, schemas.GetFunctionResponse,
		func(context.Context, *lambda.GetFunctionInput) (*lambda.GetFunctionOutput, error) {
			close(started)
			<-release
			return &lambda.GetFunctionOutput{}, nil
		}, wire.Public("a test"))
	s, err := New(Config{Region: region, Authenticate: authenticate, Authorize: authorize, Services: []*wire.Service{{Name: "lambda", Protocol: wire.RestJSON, Operations: []wire.Operation{slow}}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	wait := lifecycle.Go("serve", func() { served <- s.Serve(ctx, l) })
	defer wait()

	raw := rawGet(t, l.Addr().String())
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	<-started
	cancel()
	close(release)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestUnreadBody: a client that announces a body and does not send it is answered and cut off.
func TestUnreadBody(t *testing.T) {
	ts := serve(t, nil)
	for _, path := range []string{"/2015-03-31/functions", "/_lambent/health"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(ts.http.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(unreadBody + 20*time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 ") {
			t.Errorf("%s: %q, %v", path, answer, err)
		}
	}
}

// rawGet is a signed GetFunction as bytes.
func rawGet(t testing.TB, host string) string {
	t.Helper()
	r := sign(t, "lambda", "GET", "http://"+host+"/2015-03-31/functions/f", "", nil)
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// BenchmarkInvokePath is what the front end adds to an invocation with 1 KiB: verify, route,
// decode, authorise, encode. The network is not in it.
func BenchmarkInvokePath(b *testing.B) {
	s, err := New(Config{Region: region, Services: testServices(), Authenticate: authenticate, Authorize: authorize})
	if err != nil {
		b.Fatal(err)
	}
	payload := `{"data":"` + strings.Repeat("x", 1013) + `"}`
	r := sign(b, "lambda", "POST", "http://127.0.0.1:4566/2015-03-31/functions/f/invocations?Qualifier=PROD", payload, nil)
	r.RequestURI = r.URL.RequestURI()
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(strings.NewReader(payload))
		clear(w.header)
		s.ServeHTTP(w, r)
		if w.status != 202 {
			b.Fatal(fmt.Sprint("status ", w.status))
		}
	}
}

type discard struct {
	header http.Header
	status int
}

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) WriteHeader(status int)      { w.status = status }
func (w *discard) Write(b []byte) (int, error) { return len(b), nil }
