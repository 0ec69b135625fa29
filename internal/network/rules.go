package network

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// nodeTable is the only table of a node namespace.
	nodeTable = "lambent"
	// boxPrefix begins the name of every sandbox's veth in the node namespace.
	boxPrefix = "sb"
	// uplink is the node namespace's end of the pair that joins it to the host.
	uplink = "up0"
	// linkPrefix begins the name of the host's end, for every instance.
	linkPrefix = "lmb"

	// connections bounds what one sandbox may have tracked at once, so that it cannot fill the
	// host's connection table. An AWS execution environment has 1,024 descriptors.
	connections = 2048
	// idleTimeout forgets connections that say nothing for so long, as AWS's NAT does. Those of a
	// sandbox that was killed would otherwise fill the host's table for five days.
	idleTimeout = 350
)

const (
	stateInvalid = expr.CtStateBitINVALID
	stateOpen    = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	stateNew     = expr.CtStateBitNEW
)

// nodeRules are the rules inside a node namespace. Their two sets change while it lives.
type nodeRules struct {
	conn  *nftables.Conn
	peers *nftables.Set // (veth, address) of each sandbox
	tcp   *nftables.Set // ports of the agent
}

// openNodeRules writes the rules of a node namespace.
func openNodeRules(ns *os.File, openings []opening) (*nodeRules, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())), nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	r := ruleset{conn, conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: nodeTable})}
	n := &nodeRules{
		conn: conn,
		peers: &nftables.Set{
			Table: r.table, Name: "peers", Concatenation: true,
			KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr),
		},
		tcp: &nftables.Set{Table: r.table, Name: "tcp", KeyType: nftables.TypeInetService},
	}
	counts := &nftables.Set{
		Table: r.table, Name: "counts", KeyType: nftables.TypeIPAddr, Dynamic: true, Size: addresses,
	}
	for _, set := range []*nftables.Set{n.peers, n.tcp, counts} {
		if err := conn.AddSet(set, nil); err != nil {
			conn.CloseLasting()
			return nil, fmt.Errorf("add set %s: %w", set.Name, err)
		}
	}
	n.antiSpoof(r)
	n.input(r)
	n.forward(r, counts, openings)
	post := r.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	r.rule(post, oif(uplink), masquerade())
	if err := conn.Flush(); err != nil {
		conn.CloseLasting()
		return nil, fmt.Errorf("write the node namespace's rules: %w", err)
	}
	return n, nil
}

// antiSpoof comes before connection tracking, so that what it drops costs no table entry. What
// goes to and from the agent is not tracked at all: it needs no translation, it is the hot path,
// and DNS would fill a sandbox's share of the table.
func (n *nodeRules) antiSpoof(r ruleset) {
	pre := r.chain("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw, nftables.ChainPolicyAccept)
	r.rule(pre, ipv6(), drop())
	r.rule(pre, iifPrefix(boxPrefix), []expr.Any{
		// A name fills register 1, so that the address in register 2 follows it.
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		loadAddr(offSource, 2),
		&expr.Lookup{SourceRegister: 1, SetName: n.peers.Name, SetID: n.peers.ID, Invert: true},
	}, drop())
	agent := netip.PrefixFrom(Agent, 32)
	r.rule(pre, iifPrefix(boxPrefix), destination(agent), untracked())
	out := r.chain("output", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityRaw, nftables.ChainPolicyAccept)
	r.rule(out, ipv6(), drop())
	r.rule(out, source(expr.CmpOpEq, Agent), untracked())
}

// input lets sandboxes reach the agent's ports and DNS, and nothing else reach anything.
func (n *nodeRules) input(r ruleset) {
	in := r.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	agent := destination(netip.PrefixFrom(Agent, 32))
	r.rule(in, iifPrefix(boxPrefix), agent, protocol(unix.IPPROTO_TCP), portIn(n.tcp), accept())
	r.rule(in, iifPrefix(boxPrefix), agent, protocol(unix.IPPROTO_UDP), ports(dnsPort, dnsPort), accept())
}

// forward lets sandboxes reach the uplink, but for what is closed.
func (n *nodeRules) forward(r ruleset, counts *nftables.Set, openings []opening) {
	fwd := r.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	r.rule(fwd, state(stateInvalid), drop())
	r.rule(fwd, iif(uplink), state(stateOpen), accept())
	r.rule(fwd, iif(uplink), drop())
	r.rule(fwd, notOIF(uplink), drop()) // sandbox to sandbox
	for _, p := range never {
		r.rule(fwd, destination(p), drop())
	}
	r.rule(fwd, state(stateOpen), accept())
	r.rule(fwd, state(stateNew), crowded(counts, connections), drop())
	for _, o := range openings {
		if o.first == 0 {
			r.rule(fwd, destination(o.prefix), accept())
			continue
		}
		for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			r.rule(fwd, destination(o.prefix), protocol(proto), ports(o.first, o.last), accept())
		}
	}
	for _, p := range private {
		r.rule(fwd, destination(p), drop())
	}
	r.rule(fwd, iifPrefix(boxPrefix), accept())
}

// peer is the key of one sandbox in the set of peers.
func peer(link string, addr netip.Addr) []nftables.SetElement {
	return []nftables.SetElement{{Key: append(ifname(link), addr.AsSlice()...)}}
}

func (n *nodeRules) addPeer(link string, addr netip.Addr) error {
	if err := n.conn.SetAddElements(n.peers, peer(link, addr)); err != nil {
		return err
	}
	return n.conn.Flush()
}

func (n *nodeRules) removePeer(link string, addr netip.Addr) error {
	if err := n.conn.SetDeleteElements(n.peers, peer(link, addr)); err != nil {
		return err
	}
	return n.conn.Flush()
}

func (n *nodeRules) openPort(port uint16) error {
	key := []byte{byte(port >> 8), byte(port)}
	if err := n.conn.SetAddElements(n.tcp, []nftables.SetElement{{Key: key}}); err != nil {
		return err
	}
	return n.conn.Flush()
}

func (n *nodeRules) close() error { return n.conn.CloseLasting() }
