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
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"
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
	cfg Config
}

// Open sweeps what an earlier run of the instance left and builds its node namespace anew.
func Open(ctx context.Context, cfg Config) (*Network, error) {
	return nil, errors.ErrUnsupported
}

// Listen opens a TCP listener on 169.254.100.1 in the node namespace and lets sandboxes reach
// its port. Keep-alives are off for what it accepts.
func (n *Network) Listen(port int) (net.Listener, error) { return nil, errors.ErrUnsupported }

// Attach makes the network of sandbox id. On error nothing of it remains.
func (n *Network) Attach(ctx context.Context, id string) (*Endpoint, error) {
	return nil, errors.ErrUnsupported
}

// Detach removes the network of sandbox id and rests its address. Detaching a sandbox that is
// not attached does nothing.
func (n *Network) Detach(ctx context.Context, id string) error { return errors.ErrUnsupported }

// Dial connects as sandbox id would: from its namespace, under its rules. Doctor and tests use
// it; address must hold an IP, since names are resolved by the host.
func (n *Network) Dial(ctx context.Context, id, network, address string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

// Run serves DNS to sandboxes and keeps forwarding in step with the host's routes until ctx
// ends.
func (n *Network) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Close removes everything of the instance.
func (n *Network) Close(ctx context.Context) error { return errors.ErrUnsupported }

// Sweep removes everything that earlier runs of an instance left on this host, and nothing of
// another instance. It is idempotent.
func Sweep(ctx context.Context, instance string) error { return errors.ErrUnsupported }
