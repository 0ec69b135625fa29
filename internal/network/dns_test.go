package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// upstream is a resolver on the host's loopback.
func upstream(t *testing.T, h dns.HandlerFunc) string {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	must(t, err)
	l, err := net.Listen("tcp4", pc.LocalAddr().String())
	must(t, err)
	var g errgroup.Group
	t.Cleanup(func() { must(t, g.Wait()) }) // after the servers were shut down
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		g.Go(s.ActivateAndServe)
		<-started
		t.Cleanup(func() { must(t, s.Shutdown()) })
	}
	return pc.LocalAddr().String()
}

// records answers with n addresses.
func records(n int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for i := range n {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.IPv4(192, 0, 2, byte(i)),
			})
		}
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(m)
	}
}

// runNetwork runs a network until the test ends.
func runNetwork(t *testing.T, n *Network) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return n.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		must(t, g.Wait())
	})
}

// lookup asks the agent from sandbox id.
func lookup(t *testing.T, n *Network, id, network string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c, err := n.Dial(t.Context(), id, network, netip.AddrPortFrom(Agent, dnsPort).String())
	must(t, err)
	conn := &dns.Conn{Conn: c}
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	must(t, conn.WriteMsg(q))
	a, err := conn.ReadMsg()
	must(t, err)
	if a.Id != q.Id {
		t.Fatalf("answer %d to question %d", a.Id, q.Id)
	}
	return a
}

func question(name string) *dns.Msg { return new(dns.Msg).SetQuestion(name, dns.TypeA) }

func TestDNS(t *testing.T) {
	needRoot(t)
	internet(t)
	silent := upstream(t, func(dns.ResponseWriter, *dns.Msg) {})
	failing := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	})
	good := upstream(t, records(200))
	n := open(t, Config{DNS: []string{failing, silent, good}})
	n.dns.timeout = 50 * time.Millisecond
	runNetwork(t, n)
	attach(t, n, "a")

	over := lookup(t, n, "a", "tcp", question("example.com."))
	if len(over.Answer) != 200 {
		t.Errorf("by TCP: %d answers, %s", len(over.Answer), dns.RcodeToString[over.Rcode])
	}
	plain := lookup(t, n, "a", "udp", question("example.com."))
	plain.Compress = true
	if !plain.Truncated || plain.Len() > dns.MinMsgSize {
		t.Errorf("by UDP: %d bytes, truncated %t", plain.Len(), plain.Truncated)
	}
	for _, q := range []*dns.Msg{
		new(dns.Msg).SetAxfr("example.com."),
		{MsgHdr: dns.MsgHdr{Id: 7}},
		{MsgHdr: dns.MsgHdr{Id: 7}, Question: []dns.Question{{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}}},
	} {
		if a := lookup(t, n, "a", "tcp", q); a.Rcode == dns.RcodeSuccess {
			t.Errorf("answered %v", q)
		}
	}
}

func TestDNSWithoutAnUpstream(t *testing.T) {
	needRoot(t)
	failing := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	})
	n := open(t, Config{DNS: []string{failing}})
	runNetwork(t, n)
	attach(t, n, "a")
	if a := lookup(t, n, "a", "udp", question("example.com.")); a.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %s", dns.RcodeToString[a.Rcode])
	}
}

// One sandbox's queries that hang do not keep another's from being answered.
func TestDNSIsBoundedPerSandbox(t *testing.T) {
	needRoot(t)
	arrived, release := make(chan struct{}, queriesPerBox), make(chan struct{})
	server := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Name == "slow." {
			arrived <- struct{}{}
			<-release
		}
		records(1)(w, q)
	})
	n := open(t, Config{DNS: []string{server}})
	runNetwork(t, n)
	attach(t, n, "a")
	attach(t, n, "b")
	c, err := n.Dial(t.Context(), "a", "udp", netip.AddrPortFrom(Agent, dnsPort).String())
	must(t, err)
	conn := &dns.Conn{Conn: c}
	defer conn.Close()
	for range queriesPerBox {
		must(t, conn.WriteMsg(question("slow.")))
	}
	for range queriesPerBox {
		<-arrived
	}
	if a := lookup(t, n, "a", "udp", question("example.com.")); a.Rcode != dns.RcodeRefused {
		t.Errorf("query %d of a sandbox: %s", queriesPerBox+1, dns.RcodeToString[a.Rcode])
	}
	if a := lookup(t, n, "b", "udp", question("example.com.")); a.Rcode != dns.RcodeSuccess {
		t.Errorf("query of another: %s", dns.RcodeToString[a.Rcode])
	}
	close(release)
}

func TestUpstreams(t *testing.T) {
	f, err := newForwarder([]string{"192.0.2.53", "192.0.2.54:5353", "2001:db8::53", "[2001:db8::54]:5353"}, "", nil)
	must(t, err)
	want := "[192.0.2.53:53 192.0.2.54:5353 [2001:db8::53]:53 [2001:db8::54]:5353]"
	if got := fmt.Sprint(f.upstreams()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	f, err = newForwarder(nil, path, nil)
	must(t, err)
	if got := f.upstreams(); len(got) != 0 {
		t.Errorf("got %v of no file", got)
	}
	must(t, os.WriteFile(path, []byte("search example.com\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"), 0o600))
	if got := fmt.Sprint(f.upstreams()); got != "[192.0.2.53:53 [2001:db8::53]:53]" {
		t.Errorf("got %s", got)
	}
	must(t, os.Remove(path)) // as while it is being rewritten
	f.read = time.Time{}
	if got := f.upstreams(); len(got) != 2 {
		t.Errorf("got %v after the file went", got)
	}
}

// A sandbox cannot hold more connections to the agent than it may.
func TestConnectionsPerSandboxAreBounded(t *testing.T) {
	needRoot(t)
	n := open(t, Config{})
	attach(t, n, "a")
	attach(t, n, "b")
	l, err := n.Listen(9001)
	must(t, err)
	defer l.Close()
	l.(*listener).max = 1
	dial := func(id string) net.Conn {
		c, err := n.Dial(t.Context(), id, "tcp", netip.AddrPortFrom(Agent, 9001).String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial("a")
	first, err := l.Accept()
	must(t, err)
	refused := dial("a")
	dial("b")
	other, err := l.Accept()
	must(t, err)
	defer other.Close()
	must(t, refused.SetReadDeadline(time.Now().Add(5*time.Second)))
	if _, err := refused.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a second connection is open: %v", err)
	}
	must(t, first.Close())
	_ = first.Close() // counts once
	dial("a")
	again, err := l.Accept()
	must(t, err)
	again.Close()
}

// A sandbox that is killed leaves no connection at the agent: it cannot say that it is gone.
func TestDetachClosesConnections(t *testing.T) {
	needRoot(t)
	n := open(t, Config{})
	attach(t, n, "a")
	attach(t, n, "b")
	l, err := n.Listen(9001)
	must(t, err)
	defer l.Close()
	accept := func(id string) net.Conn {
		c, err := n.Dial(t.Context(), id, "tcp", netip.AddrPortFrom(Agent, 9001).String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		served, err := l.Accept()
		must(t, err)
		t.Cleanup(func() { served.Close() })
		must(t, served.SetReadDeadline(time.Now().Add(5*time.Second)))
		return served
	}
	of, other := accept("a"), accept("b")
	// One more is in the kernel's queue when the sandbox goes.
	waiting, err := n.Dial(t.Context(), "a", "tcp", netip.AddrPortFrom(Agent, 9001).String())
	must(t, err)
	defer waiting.Close()
	must(t, n.Detach(t.Context(), "a"))
	if _, err := of.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection of a sandbox that is gone: %v", err)
	}
	last := accept("b") // and not what waited
	if got, want := last.RemoteAddr().(*net.TCPAddr).IP, other.RemoteAddr().(*net.TCPAddr).IP; !got.Equal(want) {
		t.Errorf("accepted a connection of %s, which is gone; want %s", got, want)
	}
	must(t, other.SetReadDeadline(time.Now().Add(-time.Second)))
	if _, err := other.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("the connection of another sandbox: %v", err)
	}
}
