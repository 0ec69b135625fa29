package runtimeapi

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// TestDetachClosesConnections: what a sandbox that was killed had open is closed, whatever it was
// in the middle of, and takes no place from who has its address next.
func TestDetachClosesConnections(t *testing.T) {
	h, s := newHost(t), NewSession()
	addr := netip.MustParseAddr("127.0.0.2")
	h.Attach(addr, s)
	var conns []net.Conn
	for i := range maxConns {
		text := "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n" // and then it idles
		if i%2 == 1 {
			text += "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nX: " // and never ends
		}
		c := raw(t, h, "127.0.0.2", text)
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	s.Close()
	h.Detach(addr, NewSession()) // another's: nothing happens
	if n := open(h, addr); n != maxConns {
		t.Fatalf("%d connections", n)
	}
	h.Detach(addr, s)
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d is open", i)
		}
	}
	if n := open(h, addr); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
	h.Attach(addr, NewSession())
	c := raw(t, h, "127.0.0.2", "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("the next sandbox: %v", err)
	}
}
