package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/schemas"

	identity "lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/wire"
)

// listening serves on a real socket, by Serve, until the test ends.
func listening(t *testing.T, change func(*Config)) (ts *testServer, addr string) {
	t.Helper()
	ts = serve(t, change)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	wait := lifecycle.Go("serve", func() {
		if err := ts.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); wait() })
	return ts, l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// wantCut checks that the server ends a connection, not the test's own deadline.
func wantCut(t *testing.T, c net.Conn, within time.Duration) string {
	t.Helper()
	began := time.Now()
	answer, err := io.ReadAll(c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("the connection still lives: %q", answer)
	}
	if took := time.Since(began); took > within {
		t.Errorf("it took %s", took)
	}
	return string(answer)
}

// head is a signed request up to its body, of which only the length is said.
func head(t *testing.T, addr, method, path, body string) string {
	t.Helper()
	r := sign(t, "lambda", method, "http://"+addr+path, body, nil)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", method, r.URL.RequestURI(), addr, len(body))
	if err := r.Header.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\r\n"
}

const invokeX = "/2015-03-31/functions/x/invocations"

// TestSlowHead: a client that takes its time for the head is cut.
func TestSlowHead(t *testing.T) {
	_, addr := listening(t, func(c *Config) { c.HeadTimeout = 100 * time.Millisecond })
	c := dial(t, addr)
	send(t, c, "GET /_lambent/health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	wantCut(t, c, 5*time.Second)
}

// TestLongHead: a head beyond the limit is refused, however it is filled.
func TestLongHead(t *testing.T) {
	_, addr := listening(t, nil)
	for name, more := range map[string]string{
		"one header":   "X: " + strings.Repeat("x", 100<<10),
		"many headers": strings.Repeat("X: y\r\n", 20<<10),
		"path":         "",
	} {
		c := dial(t, addr)
		path := "/"
		if more == "" {
			path += strings.Repeat("x", 100<<10)
		}
		sent := lifecycle.Go("send", func() { _, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n"+more+"\r\n\r\n") })
		if answer := wantCut(t, c, 10*time.Second); answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 431 ") {
			t.Errorf("%s: %.60q", name, answer)
		}
		sent()
	}
}

// TestSlowBody: a body that stops on its way is given up, and its memory with it.
func TestSlowBody(t *testing.T) {
	ts, addr := listening(t, func(c *Config) { c.BodyGrace = 100 * time.Millisecond })
	c := dial(t, addr)
	body := strings.Repeat("x", 30<<10)
	send(t, c, head(t, addr, "POST", invokeX, body)+body[:100])
	wantCut(t, c, 5*time.Second)
	if _, err := ts.bodies.wait(t.Context(), "anybody", 256<<20); err != nil {
		t.Error("its memory was not given back")
	}
}

// TestSlowReader: a client that does not take its answer is cut; one that takes it slowly is not.
func TestSlowReader(t *testing.T) {
	const size = 32 << 20 // more than both sides' sockets hold
	ended := make(chan error, 2)
	answer := wire.OpRaw(schemas.GetFunction, schemas.GetFunctionRequest,
		func(_ context.Context, _ *lambda.GetFunctionInput, w http.ResponseWriter) error {
			_, err := w.Write(make([]byte, size))
			ended <- err
			return err
		}, wire.Public("a test"))
	_, addr := listening(t, func(c *Config) {
		c.Services = []*wire.Service{{Name: "lambda", Protocol: wire.RestJSON, Operations: []wire.Operation{answer}}}
		c.WriteTimeout = 300 * time.Millisecond
	})
	stuck := dial(t, addr)
	send(t, stuck, head(t, addr, "GET", "/2015-03-31/functions/f", ""))
	if err := <-ended; err == nil {
		t.Error("a client that reads nothing got its answer")
	}

	slow := dial(t, addr)
	send(t, slow, head(t, addr, "GET", "/2015-03-31/functions/f", ""))
	resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	tick := time.NewTicker(30 * time.Millisecond) // 1 MiB each: the whole takes several timeouts
	defer tick.Stop()
	got := int64(0)
	for {
		<-tick.C
		n, err := io.CopyN(io.Discard, resp.Body, 1<<20)
		if got += n; err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("cut after %d bytes: %v", got, err)
		}
	}
	if err := <-ended; err != nil || got != size {
		t.Errorf("%d bytes, %v", got, err)
	}
}

// TestConnections: beyond the bound, new connections are closed; one that ends makes room.
func TestConnections(t *testing.T) {
	_, addr := listening(t, func(c *Config) { c.MaxConns = 2 })
	health := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "GET /_lambent/health HTTP/1.1\r\nHost: x\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			r.Body.Close()
		}
		return err == nil
	}
	a, b := dial(t, addr), dial(t, addr)
	if !health(a) || !health(b) {
		t.Fatal("connections within the bound are not served")
	}
	if health(dial(t, addr)) {
		t.Error("a third connection is served")
	}
	a.Close()
	for end := time.Now().Add(10 * time.Second); !health(dial(t, addr)); {
		if time.Now().After(end) {
			t.Fatal("a closed connection makes no room")
		}
	}
}

// TestUnknownIsNotRead: nothing of a body is read before its sender is known.
func TestUnknownIsNotRead(t *testing.T) {
	ts, addr := listening(t, nil)
	c := dial(t, addr)
	send(t, c, "POST "+invokeX+" HTTP/1.1\r\nHost: x\r\nContent-Length: 6000000\r\n\r\n")
	if answer := wantCut(t, c, unreadBody+5*time.Second); !strings.HasPrefix(answer, "HTTP/1.1 403 ") {
		t.Errorf("got %.60q", answer)
	}
	if len(ts.bodies.held) != 0 {
		t.Error("memory is held for it")
	}
}

// TestDeniedIsNotRead: who may not invoke a function is told so before the event is sent.
func TestDeniedIsNotRead(t *testing.T) {
	asked := ""
	ts, addr := listening(t, func(c *Config) {
		c.Authorize = func(_ context.Context, action string, resources []string) error {
			asked = action + " " + strings.Join(resources, " ")
			return &identity.DeniedError{}
		}
	})
	c := dial(t, addr)
	send(t, c, head(t, addr, "POST", invokeX, strings.Repeat("x", 1<<20)))
	answer := wantCut(t, c, unreadBody+5*time.Second)
	if !strings.HasPrefix(answer, "HTTP/1.1 403 ") || asked != "lambda:InvokeFunction arn:aws:lambda:"+region+":"+account+":function:x" {
		t.Errorf("got %.60q; asked for %s", answer, asked)
	}
	if len(ts.bodies.held) != 0 {
		t.Error("memory is held for it")
	}
}

// TestShares: nobody takes all, whatever the number of those who try, and what is given back
// goes to those who wait.
func TestShares(t *testing.T) {
	s := newShares(1000)
	got := func(who string) (n int) {
		for ; ; n++ {
			if _, ok := s.try(who, 1); !ok {
				return n
			}
		}
	}
	for i, want := range []int{500, 250, 125, 62} { // half of what the others left
		if n := got(fmt.Sprint("p", i)); n != want {
			t.Errorf("principal %d got %d, want %d", i, n, want)
		}
	}
	if s.free == 0 {
		t.Error("nothing is left for the next one")
	}
}

func TestSharesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShares(100)
		first, ok := s.try("a", 80) // counts as 50, the most that one can have
		if !ok || s.free != 50 {
			t.Fatalf("free: %d", s.free)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.wait(short, "a", 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beyond its share: %v", err)
		}
		done := make(chan error, 1)
		lifecycle.Go("waiter", func() {
			release, err := s.wait(t.Context(), "a", 40)
			if err == nil {
				release()
			}
			done <- err
		})
		synctest.Wait()
		if _, ok := s.try("b", 20); !ok {
			t.Error("others wait, too")
		}
		first()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestOnePrincipalLeavesRoom: a principal whose bodies never end keeps its share busy, and no
// more: another one is served meanwhile.
func TestOnePrincipalLeavesRoom(t *testing.T) {
	ts, addr := listening(t, func(c *Config) {
		c.BodyMemory = 1 << 20
	})
	body := strings.Repeat("x", 100<<10)
	for range 20 {
		c := dial(t, addr)
		send(t, c, head(t, addr, "POST", invokeX, body)+"x")
	}
	for end := time.Now().Add(10 * time.Second); ; {
		ts.bodies.mu.Lock()
		free := ts.bodies.free
		ts.bodies.mu.Unlock()
		if free < 600<<10 { // five bodies are on their way
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d bytes are free", free)
		}
	}
	release, ok := ts.bodies.try("arn:aws:iam::"+account+":role/other", 200<<10)
	if !ok {
		t.Fatal("one principal took the memory of all")
	}
	release()
}
