// Package node builds every component of a server and runs them; it is the only package that
// imports all of them.
//
// Open makes everything that can fail at once, so that a missing privilege, a busy port or a
// state directory of somebody else's ends a start with one line. Run runs the components in
// order and stops them in reverse: requests drain first, environments go next, the state engine
// last. However the process ends, the reaper ends its sandboxes; the next Open sweeps the rest.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/doctor"
	"lambent.dev/lambent/internal/edge"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/statedir"
)

// Options say what to run.
type Options struct {
	Config  config.Config
	Owner   statedir.Owner // of the credentials that the first start writes
	Version string
	Logger  *slog.Logger
}

// Node is a server that is ready to run.
type Node struct {
	cfg      config.Config
	log      *slog.Logger
	heap     int64 // bound of the server's own memory
	version  string
	opened   time.Time
	sweeping sync.RWMutex // held while what nobody needs is removed, shared while a backup is made
	dir      *statedir.Dir
	owner    statedir.Owner // of the credentials
	profile  sync.Mutex     // held while they are replaced
	listener net.Listener
	engine   *engine
	machine  *machine
	region   *region
	edge     *edge.Server
	closers  []func() // undo Open, last first
}

// closeTimeout bounds the removal of sandboxes and networks when a server ends.
const closeTimeout = 30 * time.Second

// Open prepares a server. On error nothing of it remains running.
func Open(ctx context.Context, o Options) (_ *Node, err error) {
	if err := doctor.Require(); err != nil {
		return nil, err
	}
	n := &Node{cfg: o.Config, log: o.Logger, version: o.Version, owner: o.Owner, opened: time.Now(), heap: protect(o.Logger)}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.dir, err = statedir.Open(o.Config.StateDir, o.Config.Account); err != nil {
		return nil, err
	}
	n.onClose(func() { _ = n.dir.Close() })
	if n.listener, err = net.Listen("tcp", o.Config.Listen); err != nil {
		return nil, fmt.Errorf("listen (choose another address with --listen): %w", err)
	}
	n.onClose(func() { _ = n.listener.Close() })
	if n.engine, err = openEngine(ctx, n); err != nil {
		return nil, err
	}
	if n.machine, err = openMachine(ctx, n); err != nil {
		return nil, err
	}
	if n.region, err = openRegion(ctx, n); err != nil {
		return nil, err
	}
	if err := n.writeProfile(ctx, o.Owner); err != nil {
		return nil, err
	}
	n.edge, err = n.region.edge(n)
	return n, err
}

// URL is where the region is served.
func (n *Node) URL() string { return "http://" + n.listener.Addr().String() }

// Run serves until ctx ends, then drains and stops. ready is called once requests are served.
func (n *Node) Run(ctx context.Context, ready func(url string)) error {
	defer n.close()
	var g lifecycle.Group
	n.engine.add(&g)
	n.machine.add(&g)
	n.region.add(&g)
	g.Add("sweeper", lifecycle.Func(n.sweep))
	g.Add("inner edge", lifecycle.Func(func(ctx context.Context) error { return n.edge.Serve(ctx, n.machine.api) }))
	g.Add("edge", lifecycle.Func(func(ctx context.Context) error { return n.edge.ServeHost(ctx, n.listener) }))
	g.Add("ready", lifecycle.Func(func(context.Context) error {
		n.log.Info("ready", "url", n.URL(), "account", n.dir.Account, "region", n.cfg.Region)
		ready(n.URL())
		return nil
	}))
	err := g.Run(ctx)
	n.log.Info("stopped")
	return err
}

// writeProfile makes the root key at the first start, and tells clients where the region is now.
func (n *Node) writeProfile(ctx context.Context, owner statedir.Owner) error {
	key, created, err := n.region.credentials.Root(ctx, n.dir.Account)
	if err != nil {
		return fmt.Errorf("make the root access key: %w", err)
	}
	if created {
		n.log.Info("made the root access key", "id", key.ID, "file", n.dir.Path+"/credentials")
	}
	return n.dir.WriteProfile(statedir.Profile{
		AccessKeyID: key.ID, Secret: key.Secret, Region: n.cfg.Region, Endpoint: n.URL(),
	}, owner)
}

func (n *Node) onClose(f func()) { n.closers = append(n.closers, f) }

func (n *Node) close() {
	for _, f := range slices.Backward(n.closers) {
		f()
	}
	n.closers = nil
}

// closing runs a removal with a context of its own: the server's has ended by then.
func (n *Node) closing(what string, remove func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := remove(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		n.log.Error("close "+what, "error", err)
	}
}
