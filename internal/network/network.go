// Package network gives every sandbox a network of its own and lets it reach nothing but the
// agent, the public internet and what an operator opened.
//
// Each server instance owns one network namespace, the node namespace. In it are
// 169.254.100.1 (the agent's address, the same for every sandbox), one veth per sandbox, the
// nftables rules and a DNS forwarder. One veth pair joins it to the host, where one nftables
// table named after the instance masquerades what leaves. Nothing else of the host is changed,
// but for the forwarding switch of interfaces that traffic leaves by (see forward.go).
//
// Promises:
//   - A sandbox sends only from its own address, and its address is enough to know it: an
//     address rests 60 s before another sandbox gets it.
//   - Closed always: other sandboxes, every address of the host, 169.254/16 (metadata services
//     among it), multicast, all of IPv6. Closed until Config.EgressAllow opens them: private
//     ranges.
//   - Two instances on one host do not meet, and Sweep removes what one instance left, nothing
//     of another.
//   - A frozen sandbox, which answers nothing, loses no connection to the agent: neighbour
//     entries are permanent and the agent's listeners send no keep-alives.
//
// All methods of Network may be called from any goroutine.
package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Agent is the address at which every sandbox finds its server.
var Agent = netip.AddrFrom4([4]byte{169, 254, 100, 1})

var (
	// ErrAttached says that a sandbox of this id already has a network.
	ErrAttached = errors.New("sandbox is already attached to the network")
	// ErrNoAddress says that every address is in use or resting.
	ErrNoAddress = errors.New("no free sandbox address")
	// ErrClosed says that the network has been closed.
	ErrClosed = errors.New("network is closed")
)

// Config says whose network to build and what its sandboxes may reach.
type Config struct {
	// Instance names the server among others on this host: 1 to 40 characters of a-z, 0-9, -.
	Instance string
	// Dir is where the node namespace is bound, so that it is found by the next start.
	Dir string
	// EgressAllow opens private ranges: "CIDR", "CIDR:PORT" or "CIDR:FIRST-LAST". An address
	// stands for itself alone. Ports are those of TCP and UDP.
	EgressAllow []string
	// DNS are the resolvers queries are forwarded to (port 53 unless given); empty means those
	// of ResolvConf.
	DNS []string
	// ResolvConf is read for upstream resolvers when DNS is empty; default /etc/resolv.conf.
	ResolvConf string
	Logger     *slog.Logger
	// Now is the clock resting addresses are measured by; default time.Now.
	Now func() time.Time
}

// Endpoint is the network of one sandbox.
type Endpoint struct {
	// ID is the sandbox it was attached for.
	ID string
	// NetNS is the path of the sandbox's network namespace. It is valid in processes of this
	// host for as long as the endpoint is attached and the server lives.
	NetNS string
	// Addr is the sandbox's own address, which no other sandbox has or had within 60 s.
	Addr netip.Addr
}

// Network is the network of one server instance.
type Network struct {
	instance string
	logger   *slog.Logger
	now      func() time.Time
	openings []opening

	host, ns *os.File // the host's network namespace and the node's
	pair     pair
	links    *netlink.Handle // works in the node namespace
	dns      *forwarder

	// open is held for reading while a sandbox is attached or detached, so that Close sees all
	// or nothing of it.
	open   sync.RWMutex
	closed bool

	mu    sync.Mutex
	free  pool
	boxes map[string]*box // by sandbox id; a nil box is being made

	visitors visitors

	rulesMu sync.Mutex // one change of the rules at a time
	rules   *nodeRules
}

// box is the network of one sandbox as we hold it.
type box struct {
	Endpoint
	ns    *os.File
	index int // of the veth in the node namespace
}

// Open sweeps what an earlier run of the instance left and builds its node namespace anew.
func Open(ctx context.Context, cfg Config) (_ *Network, err error) {
	if err := checkInstance(cfg.Instance); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	n := &Network{
		instance: cfg.Instance, logger: cfg.Logger, now: cfg.Now,
		free: pool{size: addresses}, boxes: map[string]*box{},
		visitors: visitors{gone: map[netip.Addr]bool{}, conns: map[netip.Addr]map[*conn]struct{}{}},
	}
	if n.logger == nil {
		n.logger = slog.New(slog.DiscardHandler)
	}
	if n.now == nil {
		n.now = time.Now
	}
	if n.openings, err = parseOpenings(cfg.EgressAllow); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	if n.dns, err = newForwarder(cfg.DNS, cmp.Or(cfg.ResolvConf, "/etc/resolv.conf"), n.logger); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	unlock, err := lockHost(ctx)
	if err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	defer unlock()
	if err := sweep(n.instance); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	if err := n.build(filepath.Join(cfg.Dir, bindName(n.instance))); err != nil {
		return nil, fmt.Errorf("open network: %w", errors.Join(err, n.release(), sweep(n.instance)))
	}
	return n, nil
}

// build makes everything Open makes; on error the caller takes it away. The host's lock is held.
func (n *Network) build(path string) (err error) {
	if n.host, err = os.Open(threadNS); err != nil {
		return err
	}
	if n.ns, err = create(n.host, func(*os.File) error { return nil }); err != nil {
		return err
	}
	if err := bind(n.ns, path); err != nil {
		return err
	}
	if n.rules, err = openNodeRules(n.ns, n.openings); err != nil {
		return err
	}
	if n.pair, err = openPair(n.instance, n.ns); err != nil {
		return err
	}
	err = inside(n.host, n.ns, func() (err error) {
		if err := setUpNode(n.pair); err != nil {
			return err
		}
		n.links, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return err
	}
	if err := settle(new(netlink.Handle), n.pair.index); err != nil {
		return err
	}
	if err := openHostRules(n.instance, n.pair.name, n.pair.node); err != nil {
		return err
	}
	if err := forward(n.instance, n.pair.name, n.openings); err != nil {
		return err
	}
	return n.listenDNS()
}

// listenDNS opens the sockets Run serves.
func (n *Network) listenDNS() (err error) {
	if n.dns.tcp, err = n.Listen(dnsPort); err != nil {
		return err
	}
	return inside(n.host, n.ns, func() (err error) {
		n.dns.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(Agent, dnsPort)))
		return err
	})
}

// Listen opens a TCP listener on 169.254.100.1 in the node namespace and lets sandboxes reach
// its port. Keep-alives are off for what it accepts, and each sandbox may have 256 connections
// to it at once.
func (n *Network) Listen(port int) (net.Listener, error) {
	n.open.RLock()
	defer n.open.RUnlock()
	if n.closed {
		return nil, fmt.Errorf("listen on port %d of the agent: %w", port, ErrClosed)
	}
	l := &listener{max: connectionsPerBox, visitors: &n.visitors, open: map[netip.Addr]int{}}
	err := inside(n.host, n.ns, func() (err error) {
		config := net.ListenConfig{KeepAlive: -1}
		l.Listener, err = config.Listen(context.Background(), "tcp4", netip.AddrPortFrom(Agent, uint16(port)).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on port %d of the agent: %w", port, err)
	}
	n.rulesMu.Lock()
	defer n.rulesMu.Unlock()
	if err := n.rules.openPort(uint16(l.Addr().(*net.TCPAddr).Port)); err != nil {
		l.Close()
		return nil, fmt.Errorf("open port %d of the agent: %w", port, err)
	}
	return l, nil
}

// Attach makes the network of sandbox id. On error nothing of it remains.
func (n *Network) Attach(ctx context.Context, id string) (*Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("attach sandbox %s: %w", id, err)
	}
	n.open.RLock()
	defer n.open.RUnlock()
	addr, err := n.reserve(id)
	if err != nil {
		return nil, fmt.Errorf("attach sandbox %s: %w", id, err)
	}
	b, err := n.makeBox(id, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		delete(n.boxes, id)
		n.free.give(addr, n.now())
		return nil, fmt.Errorf("attach sandbox %s: %w", id, err)
	}
	n.boxes[id] = b
	end := b.Endpoint
	return &end, nil
}

// reserve takes an address for a sandbox and holds its place among the boxes.
func (n *Network) reserve(id string) (netip.Addr, error) {
	if n.closed {
		return netip.Addr{}, ErrClosed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.boxes[id]; ok {
		return netip.Addr{}, ErrAttached
	}
	addr, ok := n.free.take(n.now())
	if !ok {
		return netip.Addr{}, ErrNoAddress
	}
	n.boxes[id] = nil
	n.visitors.welcome(addr)
	return addr, nil
}

// makeBox makes a sandbox's namespace and all that joins it to the node's.
func (n *Network) makeBox(id string, addr netip.Addr) (*box, error) {
	b := &box{Endpoint: Endpoint{ID: id, Addr: addr}}
	if err := n.changeRules(func(r *nodeRules) error { return r.addPeer(boxLink(addr), addr) }); err != nil {
		return nil, fmt.Errorf("let %s pass: %w", addr, err)
	}
	var err error
	b.ns, err = create(n.host, func(ns *os.File) (err error) {
		b.index, err = openBox(n.links, ns, addr, n.pair.mtu)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, n.removeBox(b))
	}
	// The file of a descriptor, not a mount: hundreds of mounts slow down everything on a host
	// that reads the mount table, and these end by themselves when the server does.
	b.NetNS = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), b.ns.Fd())
	return b, nil
}

// removeBox takes away what makeBox made, or as much of it as there is.
func (n *Network) removeBox(b *box) error {
	var err error
	if b.index != 0 {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: b.index}}
		if e := n.links.LinkDel(link); e != nil && !errors.Is(e, unix.ENODEV) {
			err = fmt.Errorf("remove veth: %w", e)
		}
	}
	e := n.changeRules(func(r *nodeRules) error { return r.removePeer(boxLink(b.Addr), b.Addr) })
	if e != nil && !errors.Is(e, unix.ENOENT) {
		err = errors.Join(err, fmt.Errorf("let %s pass no more: %w", b.Addr, e))
	}
	if err == nil && b.ns != nil {
		err = b.ns.Close()
	}
	return err
}

func (n *Network) changeRules(fn func(*nodeRules) error) error {
	n.rulesMu.Lock()
	defer n.rulesMu.Unlock()
	return fn(n.rules)
}

// Detach removes the network of sandbox id, closes its connections to the agent and rests its
// address. Detaching a sandbox that is
// not attached does nothing.
func (n *Network) Detach(ctx context.Context, id string) error {
	n.open.RLock()
	defer n.open.RUnlock()
	if n.closed {
		return nil
	}
	n.mu.Lock()
	b := n.boxes[id]
	if b != nil {
		n.boxes[id] = nil // nobody else detaches it meanwhile, nobody attaches it
	}
	n.mu.Unlock()
	if b == nil {
		return nil
	}
	err := n.removeBox(b)
	n.visitors.drop(b.Addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.boxes[id] = b
		return fmt.Errorf("detach sandbox %s: %w", id, err)
	}
	delete(n.boxes, id)
	n.free.give(b.Addr, n.now())
	return nil
}

// Dial connects as sandbox id would: from its namespace, under its rules. Doctor and tests use
// it; address must hold an IP, since names are resolved by the host.
func (n *Network) Dial(ctx context.Context, id, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial from sandbox %s: %w", id, err)
	}
	n.mu.Lock()
	b := n.boxes[id]
	n.mu.Unlock()
	if b == nil {
		return nil, fmt.Errorf("dial from sandbox %s: it is not attached", id)
	}
	var conn net.Conn
	err := inside(n.host, b.ns, func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial from sandbox %s: %w", id, err)
	}
	return conn, nil
}

// forwardEvery is how often forwarding is brought in step with the host's routes.
const forwardEvery = 5 * time.Second

// Run serves DNS to sandboxes and keeps forwarding in step with the host's routes until ctx
// ends. It is called once.
func (n *Network) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.dns.run(ctx) })
	g.Go(func() error {
		tick := time.NewTicker(forwardEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := n.keepForwarding(ctx); err != nil && ctx.Err() == nil {
					n.logger.Error("sandboxes may have lost their way out", "error", err)
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	return g.Wait()
}

func (n *Network) keepForwarding(ctx context.Context) error {
	// In the order of Close: first our own lock, then the host's.
	n.open.RLock()
	defer n.open.RUnlock()
	if n.closed {
		return nil
	}
	unlock, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return forward(n.instance, n.pair.name, n.openings)
}

// Close removes everything of the instance. Its listeners are closed by whoever opened them.
func (n *Network) Close(ctx context.Context) error {
	n.open.Lock()
	defer n.open.Unlock()
	if n.closed {
		return nil
	}
	unlock, err := lockHost(ctx)
	if err != nil {
		return fmt.Errorf("close network: %w", err)
	}
	defer unlock()
	n.closed = true
	if err := errors.Join(n.release(), sweep(n.instance)); err != nil {
		return fmt.Errorf("close network: %w", err)
	}
	return nil
}

// release closes what this process holds of the namespaces, or as much as there is.
func (n *Network) release() error {
	var err error
	for _, b := range n.boxes {
		err = errors.Join(err, b.ns.Close())
	}
	n.boxes = map[string]*box{}
	n.dns.close()
	if n.links != nil {
		n.links.Close()
	}
	if n.rules != nil {
		err = errors.Join(err, n.rules.close())
	}
	for _, f := range []*os.File{n.ns, n.host} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
