// Package oci runs sandboxes with an OCI runtime's command line.
package oci

import (
	"context"
	"errors"
	"log/slog"

	"lambent.dev/lambent/internal/sandbox"
)

// Config is what a Runtime needs.
type Config struct {
	// Dir is the directory for bundles and runtime state (STATE/run).
	Dir string
	// Instance names the server instance; cgroups and directories carry it.
	Instance string
	// Binary is the path of the OCI runtime.
	Binary string
	// Flavor says which runtime Binary is; the zero value is RunSC.
	Flavor Flavor
	// Logger gets what an operator cares about.
	Logger *slog.Logger
}

// Flavor is an OCI runtime with its peculiarities.
type Flavor struct {
	Name string
}

// Runtime is a sandbox.Runtime over an OCI runtime.
type Runtime struct {
	cfg Config
}

var _ sandbox.Runtime = (*Runtime)(nil)

// Open prepares Dir and the instance's cgroups.
func Open(cfg Config) (*Runtime, error) { return &Runtime{cfg: cfg}, nil }

// Run implements sandbox.Runtime.
func (r *Runtime) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	return nil, errors.ErrUnsupported
}

// Capabilities implements sandbox.Runtime.
func (r *Runtime) Capabilities() sandbox.Capabilities { return sandbox.Capabilities{} }

// Sweep implements sandbox.Runtime.
func (r *Runtime) Sweep(ctx context.Context) error { return nil }
