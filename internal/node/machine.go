package node

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"lambent.dev/lambent/internal/code"
	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/internal/lambda/environment/runtimeapi"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/network"
	"lambent.dev/lambent/internal/sandbox/oci"
	"lambent.dev/lambent/internal/sandbox/oci/embedded"
	"lambent.dev/lambent/internal/sandbox/reaper"
	"lambent.dev/lambent/internal/workload"
)

// The agent's ports inside the node's network namespace.
const (
	runtimeAPIPort = 9001
	regionPort     = 4566
)

// machine is the machine room: images, sandboxes, their network.
type machine struct {
	images     *image.Store
	code       *code.Store
	network    *network.Network
	reaper     *reaper.Reaper
	workloads  *workload.Machine
	runtimeAPI *runtimeapi.Server
	runtimes   net.Listener // the Runtime API's
	api        net.Listener // the region's, for code
}

func openMachine(ctx context.Context, n *Node) (m *machine, err error) {
	m = &machine{runtimeAPI: runtimeapi.New(runtimeapi.Config{Logger: n.log})}
	if m.images, err = image.Open(image.Config{
		Dir: filepath.Join(n.dir.Path, "images"), Layouts: []string{n.cfg.Runtimes}, Logger: n.log,
	}); err != nil {
		return nil, err
	}
	if m.code, err = code.Open(code.Config{Dir: filepath.Join(n.dir.Path, "code"), Blobs: n.engine.blobs, Room: n.engine.disk.Check, Logger: n.log}); err != nil {
		return nil, err
	}
	if err := m.openSandboxes(ctx, n); err != nil {
		return nil, err
	}
	return m, m.openNetwork(ctx, n)
}

// openSandboxes sweeps what an earlier run left, sandboxes before their network.
func (m *machine) openSandboxes(ctx context.Context, n *Node) error {
	binary, err := embedded.Find(embedded.Options{Dir: filepath.Join(n.dir.Path, "runsc")})
	if err != nil {
		return err
	}
	run, err := n.dir.Sub("run")
	if err != nil {
		return fmt.Errorf("make the sandboxes' directory: %w", err)
	}
	sandboxes, err := oci.Open(oci.Config{Dir: run, Instance: n.dir.Instance, Binary: binary, Logger: n.log})
	if err != nil {
		return err
	}
	n.onClose(func() { n.closing("sandboxes", sandboxes.Close) })
	m.workloads = &workload.Machine{Sandbox: sandboxes}
	if err := m.workloads.Sweep(ctx); err != nil {
		return err
	}
	if m.reaper, err = reaper.Start(reaper.Config{Instance: n.dir.Instance, Logger: n.log}); err != nil {
		return err
	}
	n.onClose(func() { _ = m.reaper.Close() })
	return nil
}

func (m *machine) openNetwork(ctx context.Context, n *Node) (err error) {
	if m.network, err = network.Open(ctx, network.Config{
		Instance: n.dir.Instance, Dir: filepath.Join(n.dir.Path, "run"), EgressAllow: n.cfg.EgressAllow, DNS: n.cfg.DNS, Logger: n.log,
	}); err != nil {
		return err
	}
	n.onClose(func() { n.closing("network", m.network.Close) })
	m.workloads.Network = m.network
	if m.runtimes, err = m.network.Listen(runtimeAPIPort); err != nil {
		return err
	}
	n.onClose(func() { _ = m.runtimes.Close() })
	if m.api, err = m.network.Listen(regionPort); err != nil {
		return err
	}
	n.onClose(func() { _ = m.api.Close() })
	return nil
}

func (m *machine) add(g *lifecycle.Group) {
	g.Add("reaper", m.reaper)
	g.Add("network", m.network)
	g.Add("runtime API", lifecycle.Func(func(ctx context.Context) error { return m.runtimeAPI.Serve(ctx, m.runtimes) }))
}
