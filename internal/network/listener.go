package network

import (
	"net"
	"net/netip"
	"sync"
)

// connectionsPerBox bounds what one sandbox may hold open at one port of the agent, since each
// connection costs the server a descriptor.
const connectionsPerBox = 256

// visitors are the connections of sandboxes at all of the agent's ports. A sandbox that is killed
// says no farewell, and nobody can tell the end of its connections but who takes its network away:
// keep-alives are off.
type visitors struct {
	mu    sync.Mutex
	gone  map[netip.Addr]bool // detached: what the kernel still has of them is closed at once
	conns map[netip.Addr]map[*conn]struct{}
}

// welcome lets a sandbox in that is about to be attached at addr.
func (v *visitors) welcome(addr netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.gone, addr)
}

// enter notes a connection, unless its sandbox is gone.
func (v *visitors) enter(c *conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone[c.from] {
		return false
	}
	if v.conns[c.from] == nil {
		v.conns[c.from] = map[*conn]struct{}{}
	}
	v.conns[c.from][c] = struct{}{}
	return true
}

func (v *visitors) leave(c *conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if delete(v.conns[c.from], c); len(v.conns[c.from]) == 0 {
		delete(v.conns, c.from)
	}
}

// drop closes the connections of the sandbox that was at addr. The kernel is not to send them
// what was written and not read: there is nobody.
func (v *visitors) drop(addr netip.Addr) {
	v.mu.Lock()
	v.gone[addr] = true
	left := v.conns[addr]
	delete(v.conns, addr)
	v.mu.Unlock()
	for c := range left { // nobody enters or leaves it any more
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// listener refuses connections of a sandbox that has too many.
type listener struct {
	net.Listener
	max      int
	visitors *visitors

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
		if !l.enter(from) {
			tcp.Close()
			continue
		}
		out := &conn{TCPConn: tcp, from: from}
		out.leave = sync.OnceFunc(func() { l.leave(from); l.visitors.leave(out) })
		if !l.visitors.enter(out) {
			out.Close()
			continue
		}
		return out, nil
	}
}

func (l *listener) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= l.max {
		return false
	}
	l.open[from]++
	return true
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
	from  netip.Addr
	leave func()
}

// Close closes the connection.
func (c *conn) Close() error {
	c.leave()
	return c.TCPConn.Close()
}
