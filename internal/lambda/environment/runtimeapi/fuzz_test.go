package runtimeapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// pipeListener hands out one connection, from an address of the test's.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// pipeConn is one end of a pipe that says it is TCP from addr.
type pipeConn struct {
	net.Conn
	addr   netip.AddrPort
	closed func()
}

func (c pipeConn) Close() error { defer c.closed(); return c.Conn.Close() }

func (c pipeConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.addr) }

// FuzzRequests sends bytes to the Runtime API as a runtime that has its event may. Whatever they
// are, another sandbox's session stands as it stood, and this one's event is answered only by a
// whole request that posts to its id.
func FuzzRequests(f *testing.F) {
	const path = "/2018-06-01/runtime/invocation/"
	const plain = "POST " + path + "mine/response HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok"
	for _, raw := range []string{
		plain,
		"POST " + path + "mine/response HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"POST " + path + "mine/error HTTP/1.1\r\nHost: h\r\nLambda-Runtime-Function-Error-Type: Function.X\r\nContent-Length: 2\r\n\r\n{}",
		"POST " + path + "other/response HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nforged",
		"POST " + path + "mine/response HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST " + path + "other/response HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
		"POST " + path + "..%2Fother/response HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"POST " + path + "mine/response HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
		"POST " + path + "mine/response HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
		"POST " + path + "mine/response HTTP/1.1\r\nHost: h\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nContent-Length: 0\r\n\r\n",
		"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
		"GET " + path + "next HTTP/1.1\r\nHost: h\r\n\r\nGET " + path + "next HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /2018-06-01/ping HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		mine, other := NewSession(), NewSession()
		x, y := give(t, mine, "mine"), give(t, other, "other")
		talk(t, mine, other, raw)
		select {
		case <-y.Answered():
			t.Errorf("another sandbox's event is answered: %q", y.Answer().Body)
		default:
		}
		if other.state != running || other.InitFailure() != nil {
			t.Errorf("another sandbox's session is %s", other.state)
		}
		select {
		case <-x.Answered():
			if a := x.Answer(); len(a.Body) > MaxPayload || !asked(raw) {
				t.Errorf("answered with %d bytes by\n%q", len(a.Body), raw)
			}
		default:
			if string(raw) == plain {
				t.Error("a plain answer is not taken")
			}
		}
	})
}

// give hands an event to a session's runtime.
func give(t *testing.T, s *Session, id string) *Exchange {
	t.Helper()
	x, err := s.Offer(Event{RequestID: id, Payload: []byte("{}"), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.next(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return x
}

// talk writes raw to a server on one connection, from the first session's address, and reads
// until the server has closed it.
func talk(t *testing.T, mine, other *Session, raw []byte) {
	t.Helper()
	from := netip.MustParseAddrPort("169.254.1.1:1024")
	s := New(Config{Logger: slog.New(slog.DiscardHandler)})
	s.Attach(from.Addr(), mine)
	s.Attach(netip.MustParseAddr("169.254.1.2"), other)
	l := &pipeListener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	ours, theirs := net.Pipe()
	closed := make(chan struct{})
	l.conns <- pipeConn{theirs, from, sync.OnceFunc(func() { close(closed) })}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, ours)
	}()
	_ = ours.SetWriteDeadline(time.Now().Add(time.Second)) // a handler may be parked in /next
	_, err := ours.Write(raw)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) && !strings.Contains(err.Error(), "timeout") {
		t.Fatal(err)
	}
	_ = ours.Close()
	<-read
	<-closed // when its handler has ended
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

// asked tells whether some request in raw posts to the event's id, by net/http's own reading.
func asked(raw []byte) bool {
	r := bufio.NewReader(strings.NewReader(string(raw)))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return false
		}
		p := req.URL.Path
		if req.Method == http.MethodPost && (p == "/2018-06-01/runtime/invocation/mine/response" || p == "/2018-06-01/runtime/invocation/mine/error") {
			return true
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return false
		}
	}
}
