package network

import (
	"net"
	"net/netip"
	"sync"
)

// connectionsPerBox bounds what one sandbox may hold open at one port of the agent, since each
// connection costs the server a descriptor.
const connectionsPerBox = 256

// listener refuses connections of a sandbox that has too many.
type listener struct {
	net.Listener
	max int

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept waits for a connection of a sandbox that may have one more.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp := c.(*net.TCPConn)
		from := tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		l.mu.Lock()
		full := l.open[from] >= l.max
		if !full {
			l.open[from]++
		}
		l.mu.Unlock()
		if full {
			tcp.Close()
			continue
		}
		return &conn{TCPConn: tcp, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
	}
}

func (l *listener) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

// conn counts itself out when it is closed.
type conn struct {
	*net.TCPConn
	leave func()
}

// Close closes the connection.
func (c *conn) Close() error {
	c.leave()
	return c.TCPConn.Close()
}
