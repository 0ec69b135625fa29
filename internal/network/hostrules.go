package network

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	tablePrefix = "lambent_"
	guardedSet  = "guarded"
)

// tableName is the name of an instance's table on the host. nft takes no hyphen in a name.
func tableName(instance string) string {
	return tablePrefix + strings.ReplaceAll(instance, "-", "_")
}

func hostTable(instance string) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName(instance)}
}

// openHostRules writes an instance's table on the host: what comes from its link goes out
// masqueraded or nowhere. link is the host's end of the pair, node the address of the other end.
func openHostRules(instance, link string, node netip.Addr) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	r := ruleset{conn, conn.AddTable(hostTable(instance))}
	guarded := &nftables.Set{Table: r.table, Name: guardedSet, KeyType: nftables.TypeIFName}
	if err := conn.AddSet(guarded, nil); err != nil {
		return fmt.Errorf("add set %s: %w", guarded.Name, err)
	}

	// Before any address translation of the host's: a port it publishes for a container is an
	// address of the host too.
	pre := r.chain("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw, nftables.ChainPolicyAccept)
	r.rule(pre, iif(link), ipv6(), drop())
	r.rule(pre, iif(link), source(expr.CmpOpNeq, node), drop())
	r.rule(pre, iif(link), notUnicast(), drop())

	track := r.chain("track", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle, nftables.ChainPolicyAccept)
	r.conn.AddObj(&nftables.NamedObj{
		Table: r.table, Name: "idle", Type: nftables.ObjTypeCtTimeout,
		Obj: &expr.CtTimeout{
			L3Proto: unix.NFPROTO_IPV4, L4Proto: unix.IPPROTO_TCP,
			Policy: expr.CtStatePolicyTimeout{expr.CtStateTCPESTABLISHED: idleTimeout},
		},
	})
	r.rule(track, iif(link), protocol(unix.IPPROTO_TCP), []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCtTimeout), Name: "idle"}})

	in := r.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept)
	r.rule(in, iif(link), drop())

	fwd := r.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept)
	r.rule(fwd, oif(link), state(stateOpen), accept())
	r.rule(fwd, oif(link), drop())
	r.rule(fwd, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: guarded.Name, SetID: guarded.ID},
	}, notOIFPrefix(linkPrefix), drop())

	post := r.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	r.rule(post, ipv4(), source(expr.CmpOpEq, node), notOIF(link), masquerade())
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write the host's table %s: %w", r.table.Name, err)
	}
	return nil
}

// removeHostRules removes an instance's table if it is there.
func removeHostRules(instance string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list the host's tables: %w", err)
	}
	for _, t := range tables {
		if t.Name != tableName(instance) {
			continue
		}
		conn.DelTable(hostTable(instance))
		if err := conn.Flush(); err != nil {
			return fmt.Errorf("remove the host's table %s: %w", t.Name, err)
		}
	}
	return nil
}

// guards are the interfaces each instance on this host guards, by table.
func guards() (map[string][]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list the host's tables: %w", err)
	}
	out := map[string][]string{}
	for _, t := range tables {
		if !strings.HasPrefix(t.Name, tablePrefix) {
			continue
		}
		elements, err := conn.GetSetElements(&nftables.Set{Table: t, Name: guardedSet, KeyType: nftables.TypeIFName})
		if err != nil {
			return nil, fmt.Errorf("read set %s of table %s: %w", guardedSet, t.Name, err)
		}
		names := []string{}
		for _, e := range elements {
			names = append(names, string(bytes.TrimRight(e.Key, "\x00")))
		}
		out[t.Name] = names
	}
	return out, nil
}

// setGuards adds interfaces to an instance's guarded set, or takes them out.
func setGuards(instance string, add bool, names []string) error {
	if len(names) == 0 {
		return nil
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	var elements []nftables.SetElement
	for _, name := range names {
		elements = append(elements, nftables.SetElement{Key: ifname(name)})
	}
	set := &nftables.Set{Table: hostTable(instance), Name: guardedSet, KeyType: nftables.TypeIFName}
	change := conn.SetDeleteElements
	if add {
		change = conn.SetAddElements
	}
	if err := change(set, elements); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("change guarded interfaces %v: %w", names, err)
	}
	return nil
}
