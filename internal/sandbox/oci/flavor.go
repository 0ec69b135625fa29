package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"lambent.dev/lambent/internal/sandbox"
)

// sidecarDir is the one name in the instance's directory that is no sandbox. Sandbox
// ids do not start with a dot.
const sidecarDir = ".runtime"

// Flavor is an OCI runtime with its peculiarities.
type Flavor struct {
	// Name is for messages.
	Name string
	// Capabilities of sandboxes under this runtime.
	Capabilities sandbox.Capabilities
	// Global is the list of flags that precede the command, without the place of
	// the runtime's state.
	Global []string
	// Network is the flag for sandboxes with and without a network.
	Network, NoNetwork []string
	// EROFS: the runtime mounts EROFS images itself, told by annotations.
	EROFS bool
	// Placed: the runtime moves itself into version 1 control groups and takes
	// memory, CPU count, standard streams and scratch files for the sandbox process
	// as lambent-runsc does.
	Placed bool
	// Overhead is what the runtime's own processes may need on top of Spec.Memory.
	Overhead int64
	// Base is what they take in a sandbox that does nothing; Stats leave it out.
	Base int64
	// Sidecars prepares dir, and returns it open, for runtimes that start helper
	// programs from a directory. Nil when there is none.
	Sidecars func(dir, binary string) (*os.File, error)
}

// RunSC is lambent-runsc, gVisor, in the hardened configuration: no host file system
// (directfs off and no gofer), its own network stack, no host sockets, and a sandbox
// process that is nobody and has no capabilities.
var RunSC = Flavor{
	Name: "runsc",
	Capabilities: sandbox.Capabilities{
		Isolated:    true,
		MemoryLimit: true,
		CPUQuota:    true,
		Network:     true,
	},
	Global: []string{
		"--ignore-cgroups", // ours, see package cgroup
		"--host-settings=ignore",
		"--platform=systrap",
		"--directfs=false",
		"--host-uds=none",
		"--overlay2=none",
		"--sidecar-usage-policy=STRICT",
	},
	Network:   []string{"--network=sandbox"},
	NoNetwork: []string{"--network=none"},
	EROFS:     true,
	Placed:    true,
	Overhead:  20 << 20,
	Base:      8 << 20, // measured: 7 MiB anonymous, 1 MiB kernel
	Sidecars:  runscSidecars,
}

// runscSidecars makes the names by which runsc looks for its sentry. They are links to
// whatever runs: the sandbox process resolves them as nobody, who can enter neither
// the state directory nor the binary's, but needs to go through neither, since runsc
// gets this directory open.
func runscSidecars(dir, _ string) (*os.File, error) {
	for _, name := range []string{"gvisor_sentry", "gvisor-sentry-prewarmer"} {
		err := os.Symlink("/proc/self/exe", filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("link sidecar: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open sidecars: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open sidecars: %w", err)
	}
	return f, nil
}
