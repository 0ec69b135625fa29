package network

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The functions here are words for rules: each is one match or verdict, and a rule is a row of
// them. A word leaves nothing in the registers for the next one.

// ruleset adds to one table of one namespace. Nothing happens before its Flush.
type ruleset struct {
	conn  *nftables.Conn
	table *nftables.Table
}

// chain adds a base chain.
func (r ruleset) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority, policy nftables.ChainPolicy) *nftables.Chain {
	return r.conn.AddChain(&nftables.Chain{
		Name: name, Table: r.table, Type: kind, Hooknum: hook, Priority: &priority, Policy: &policy,
	})
}

// rule adds a rule made of words.
func (r ruleset) rule(chain *nftables.Chain, words ...[]expr.Any) {
	var all []expr.Any
	for _, w := range words {
		all = append(all, w...)
	}
	r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: chain, Exprs: all})
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() []expr.Any   { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

// ifname is an interface name as the kernel compares it.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func meta(key expr.MetaKey, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

func iif(name string) []expr.Any    { return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname(name)) }
func oif(name string) []expr.Any    { return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, ifname(name)) }
func notOIF(name string) []expr.Any { return meta(expr.MetaKeyOIFNAME, expr.CmpOpNeq, ifname(name)) }

// A comparison with fewer bytes than a name has is one with its beginning.
func iifPrefix(prefix string) []expr.Any {
	return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, []byte(prefix))
}

func notOIFPrefix(prefix string) []expr.Any {
	return meta(expr.MetaKeyOIFNAME, expr.CmpOpNeq, []byte(prefix))
}

func ipv4() []expr.Any { return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4}) }
func ipv6() []expr.Any { return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV6}) }

func protocol(p byte) []expr.Any { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{p}) }

// Offsets in the IPv4 header and the headers of TCP and UDP.
const (
	offSource      = 12
	offDestination = 16
	offPort        = 2
)

func loadAddr(offset, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

func loadPort() expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offPort, Len: 2}
}

func source(op expr.CmpOp, addr netip.Addr) []expr.Any {
	return []expr.Any{loadAddr(offSource, 1), &expr.Cmp{Op: op, Register: 1, Data: addr.AsSlice()}}
}

func destination(p netip.Prefix) []expr.Any {
	return []expr.Any{
		loadAddr(offDestination, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func ports(first, last uint16) []expr.Any {
	return []expr.Any{loadPort(), &expr.Range{
		Op: expr.CmpOpEq, Register: 1,
		FromData: binary.BigEndian.AppendUint16(nil, first), ToData: binary.BigEndian.AppendUint16(nil, last),
	}}
}

func portIn(set *nftables.Set) []expr.Any {
	return []expr.Any{loadPort(), &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}}
}

// state matches connections in one of the given states of conntrack.
func state(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// notUnicast matches destinations that the routing table does not take for an address elsewhere:
// the host's own, broadcast, multicast, unreachable ones.
func notUnicast() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_UNICAST)},
	}
}

// crowded matches the packet that would give its source more than limit tracked connections.
func crowded(counts *nftables.Set, limit uint32) []expr.Any {
	return []expr.Any{
		loadAddr(offSource, 1),
		&expr.Dynset{
			SrcRegKey: 1, SetName: counts.Name, SetID: counts.ID, Operation: uint32(unix.NFT_DYNSET_OP_ADD),
			Exprs: []expr.Any{&expr.Connlimit{Count: limit, Flags: expr.NFT_CONNLIMIT_F_INV}},
		},
	}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

// untracked keeps a packet out of connection tracking.
func untracked() []expr.Any { return []expr.Any{&expr.Notrack{}} }
