package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/network"
)

// patience is how long one connection is waited for.
const patience = 4 * time.Second

// sandboxID is the sandbox that examines the network. It holds no code.
const sandboxID = "probe"

// networks opens a network like a server's, attaches a sandbox and looks out of it.
func networks(ctx context.Context, cfg Config) (out []Finding) {
	const name = "network"
	if f := features(); f.Status == Fail {
		return []Finding{f}
	}
	dir, err := os.MkdirTemp("", "lambent-doctor-")
	if err != nil {
		return []Finding{bad(name, Fail, err, "df -h "+os.TempDir())}
	}
	defer os.Remove(dir)
	n, err := network.Open(ctx, network.Config{Instance: visitor(), Dir: dir, EgressAllow: cfg.EgressAllow, DNS: cfg.DNS})
	if err != nil {
		return []Finding{bad(name, Fail, err, networkFix(err))}
	}
	defer func() {
		if err := n.Close(context.WithoutCancel(ctx)); err != nil {
			out = append(out, bad(name, Warn, err, "ip -br link show type veth; nft list tables; findmnt -t nsfs"))
		}
	}()
	began := time.Now()
	if _, err := n.Attach(ctx, sandboxID); err != nil {
		return []Finding{bad(name, Fail, err, networkFix(err))}
	}
	took := time.Since(began)

	running, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return n.Run(running) })
	defer func() {
		stop()
		if err := g.Wait(); err != nil {
			out = append(out, bad(name, Fail, err, networkFix(err)))
		}
	}()
	probe := cmp.Or(cfg.Probe, DefaultProbe)
	return []Finding{
		ok(name, "a sandbox is attached in %v", took.Round(10*time.Microsecond)),
		names(ctx, n, probe),
		egress(ctx, n, probe),
	}
}

func networkFix(err error) string {
	if errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "read-only file system") {
		return "mount -o remount,rw /proc/sys  # in a container: run it with --privileged"
	}
	return "modprobe -a veth nf_tables nft_ct nft_fib_inet nft_masq nft_chain_nat"
}

// names asks the agent's resolver for the probe's name, as a sandbox would.
func names(ctx context.Context, n *network.Network, probe string) Finding {
	const name = "DNS in sandboxes"
	const fix = "getent ahosts public.ecr.aws  # if that fails mend /etc/resolv.conf, else: lambent serve --dns ADDRESS"
	host, _, err := net.SplitHostPort(probe)
	if err != nil {
		return bad(name, Fail, err, "lambent doctor --probe HOST:PORT")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, patience+time.Second)
	defer cancel()
	c, err := n.Dial(ctx, sandboxID, "udp", netip.AddrPortFrom(network.Agent, 53).String())
	if err != nil {
		return bad(name, Fail, err, fix)
	}
	conn := &dns.Conn{Conn: c}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return bad(name, Fail, err, fix)
	}
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(host), dns.TypeA)); err != nil {
		return bad(name, Fail, err, fix)
	}
	answer, err := conn.ReadMsg()
	if err != nil {
		return bad(name, Fail, fmt.Errorf("the agent's resolver does not answer: %w", err), fix)
	}
	if answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError {
		return ok(name, "the host's resolvers answer for sandboxes")
	}
	return bad(name, Warn, fmt.Errorf("no resolver answers for %s: %s", host, dns.RcodeToString[answer.Rcode]), fix)
}

// egress connects to the probe from the host and from a sandbox. Only the difference is ours.
func egress(ctx context.Context, n *network.Network, probe string) Finding {
	const name = "egress of sandboxes"
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	dialer := net.Dialer{Timeout: patience}
	c, err := dialer.DialContext(ctx, "tcp4", probe)
	if err != nil {
		return bad(name, Warn, fmt.Errorf("this machine itself cannot connect to %s, so whether sandboxes could is not known: %w", probe, err),
			"lambent doctor --probe HOST:PORT  # something public that this machine reaches")
	}
	to := c.RemoteAddr().String()
	c.Close()
	ctx, cancel = context.WithTimeout(ctx, patience)
	defer cancel()
	if c, err = n.Dial(ctx, sandboxID, "tcp4", to); err == nil {
		c.Close()
		return ok(name, "a sandbox connects to %s", probe)
	}
	err = fmt.Errorf("this machine connects to %s, a sandbox does not: %w", probe, err)
	if addr := netip.MustParseAddrPort(to).Addr(); addr.IsPrivate() {
		return bad(name, Warn, fmt.Errorf("%w (%s is private)", err, addr), "lambent serve --egress-allow "+addr.String()+"/32")
	}
	chains, e := droppers()
	if e != nil {
		return bad(name, Fail, errors.Join(err, e), "nft list ruleset")
	}
	if len(chains) == 0 {
		return bad(name, Fail, err, "iptables-legacy -I FORWARD -i lmb+ -j ACCEPT && iptables-legacy -I FORWARD -o lmb+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
	}
	var fixes, where []string
	for _, chain := range chains {
		where = append(where, chain)
		fixes = append(fixes,
			`nft insert rule `+chain+` iifname '"lmb*"' accept`,
			`nft insert rule `+chain+` oifname '"lmb*"' ct state established,related accept`)
	}
	err = fmt.Errorf("%w; the firewall drops what is forwarded, in %s", err, strings.Join(where, ", "))
	return bad(name, Fail, err, strings.Join(fixes, " && "))
}

// droppers are the chains on this machine that drop forwarded packets unless told otherwise, as
// nft names them. An accept in our own table does not overrule them.
func droppers() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list the firewall's chains: %w", err)
	}
	families := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip"}
	var out []string
	for _, c := range chains {
		family, routes := families[c.Table.Family]
		if !routes || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		out = append(out, family+" "+c.Table.Name+" "+c.Name)
	}
	return out, nil
}
