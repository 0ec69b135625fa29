package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// Try finds out whether this host can carry a network, by making all of it in a namespace that
// is gone when it returns. The error names every step that is missing.
func Try() error {
	host, err := os.Open(threadNS)
	if err != nil {
		return err
	}
	defer host.Close()
	ns, err := create(host, func(ns *os.File) error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "try0", TxQLen: -1}, PeerName: "try1"}
		var missing []error
		if err := netlink.LinkAdd(veth); err != nil {
			missing = append(missing, fmt.Errorf("make veth: %w", err))
		}
		if err := nodeSwitches(); err != nil {
			missing = append(missing, err)
		}
		rules, err := openNodeRules(ns, nil)
		if err == nil {
			err = rules.close()
		}
		node := netip.AddrFrom4([4]byte{169, 254, 192, 2})
		return errors.Join(append(missing, err, openHostRules("try", "try0", node))...)
	})
	if err != nil {
		return err
	}
	return ns.Close()
}
