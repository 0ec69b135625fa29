package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	dnsPort = 53

	// queriesPerBox and queriesInAll bound the queries under way; those above are refused, which
	// a resolver takes for "try again or elsewhere".
	queriesPerBox = 64
	queriesInAll  = 1024
	// upstreamTimeout is for one upstream, queryTimeout for all that are asked for one query:
	// resolvers give up after 5 s.
	upstreamTimeout = 2 * time.Second
	queryTimeout    = 4500 * time.Millisecond
	// maxUDPAnswer is the longest answer sent in a datagram, whatever a client offers: what
	// passes every path without fragments (DNS flag day 2020).
	maxUDPAnswer = 1232
	// resolvConfEvery is how often the host's resolv.conf is looked at.
	resolvConfEvery = 5 * time.Second
)

// forwarder answers the DNS queries of sandboxes by asking the host's resolvers, from the host's
// namespace. It keeps no answers: the resolvers do.
type forwarder struct {
	logger     *slog.Logger
	fixed      []string // upstreams by configuration
	resolvConf string
	timeout    time.Duration // upstreamTimeout

	// The sockets in the node namespace; Run serves them, close closes them.
	tcp net.Listener
	udp net.PacketConn

	mu       sync.Mutex
	inflight map[netip.Addr]int
	total    int
	read     time.Time // when resolvConf was last read
	upstream []string
}

func newForwarder(servers []string, resolvConf string, logger *slog.Logger) (*forwarder, error) {
	f := &forwarder{resolvConf: resolvConf, timeout: upstreamTimeout, logger: logger, inflight: map[netip.Addr]int{}}
	for _, s := range servers {
		if ap, err := netip.ParseAddrPort(s); err == nil {
			f.fixed = append(f.fixed, ap.String())
			continue
		}
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("DNS server %q: %w", s, err)
		}
		f.fixed = append(f.fixed, netip.AddrPortFrom(addr, dnsPort).String())
	}
	return f, nil
}

// run serves both sockets until ctx ends.
func (f *forwarder) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { f.serve(ctx, w, q) })
	servers := []*dns.Server{
		{PacketConn: f.udp, Handler: handler},
		{Listener: f.tcp, Handler: handler, MaxTCPQueries: 128},
	}
	for _, s := range servers {
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		g.Go(func() error {
			defer close(ended)
			return s.ActivateAndServe()
		})
		g.Go(func() error {
			<-ctx.Done()
			select {
			case <-started:
				return s.Shutdown()
			case <-ended: // it failed to start, and said so
				return nil
			}
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("serve DNS: %w", err)
	}
	return nil
}

func (f *forwarder) close() {
	if f.tcp != nil {
		f.tcp.Close()
	}
	if f.udp != nil {
		f.udp.Close()
	}
}

// serve answers one query.
func (f *forwarder) serve(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	from, err := netip.ParseAddrPort(w.RemoteAddr().String())
	if err != nil {
		return
	}
	answer := new(dns.Msg)
	switch {
	case !plain(q):
		answer.SetRcode(q, dns.RcodeRefused)
	case !f.enter(from.Addr()):
		answer.SetRcode(q, dns.RcodeRefused)
	default:
		defer f.leave(from.Addr())
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		_, overTCP := w.RemoteAddr().(*net.TCPAddr)
		answer = f.ask(ctx, q, overTCP)
		if !overTCP {
			answer.Truncate(udpSize(q))
		}
	}
	// A sandbox that does not take its answer loses nothing of ours.
	_ = w.WriteMsg(answer)
}

// plain says whether q is the kind of query programs make: one question about the internet, no
// transfer of a zone.
func plain(q *dns.Msg) bool {
	if q.Response || q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 {
		return false
	}
	t := q.Question[0].Qtype
	return q.Question[0].Qclass == dns.ClassINET && t != dns.TypeAXFR && t != dns.TypeIXFR
}

// udpSize is how long an answer to q may be in a datagram.
func udpSize(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDPAnswer)
	}
	return dns.MinMsgSize
}

// enter counts a query in, if there is room for it.
func (f *forwarder) enter(from netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total >= queriesInAll || f.inflight[from] >= queriesPerBox {
		return false
	}
	f.total++
	f.inflight[from]++
	return true
}

func (f *forwarder) leave(from netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	if f.inflight[from]--; f.inflight[from] == 0 {
		delete(f.inflight, from)
	}
}

// ask asks the upstreams one after the other until one knows. The answer carries q's id; what
// goes upstream carries one of our own, which a sandbox cannot guess.
func (f *forwarder) ask(ctx context.Context, q *dns.Msg, overTCP bool) *dns.Msg {
	client := dns.Client{Net: "udp", Timeout: f.timeout, UDPSize: dns.DefaultMsgSize}
	if overTCP {
		client.Net = "tcp"
	}
	failed := new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	for _, server := range f.upstreams() {
		query := q.Copy()
		query.Id = dns.Id()
		answer, _, err := client.ExchangeContext(ctx, query, server)
		if err == nil && !answers(answer, q) {
			err = errors.New("answer is to another question")
		}
		if err != nil {
			f.logger.Debug("DNS upstream does not answer", "server", server, "error", err)
			continue
		}
		answer.Id = q.Id
		if answer.Rcode != dns.RcodeServerFailure {
			return answer
		}
		failed = answer
	}
	return failed
}

// answers says whether answer is one to q.
func answers(answer, q *dns.Msg) bool {
	if len(answer.Question) != 1 {
		return false
	}
	a, b := answer.Question[0], q.Question[0]
	return strings.EqualFold(a.Name, b.Name) && a.Qtype == b.Qtype && a.Qclass == b.Qclass
}

// upstreams are the resolvers to ask, as the configuration or the host says at this time.
func (f *forwarder) upstreams() []string {
	if len(f.fixed) > 0 {
		return f.fixed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.upstream != nil && time.Since(f.read) < resolvConfEvery {
		return f.upstream
	}
	f.read = time.Now()
	config, err := dns.ClientConfigFromFile(f.resolvConf)
	if err != nil || len(config.Servers) == 0 {
		// While it is being rewritten the old ones are better than none.
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			f.logger.Warn("cannot read resolvers", "file", f.resolvConf, "error", err)
		}
		return f.upstream
	}
	f.upstream = nil
	for _, s := range config.Servers {
		f.upstream = append(f.upstream, net.JoinHostPort(s, config.Port))
	}
	return f.upstream
}
