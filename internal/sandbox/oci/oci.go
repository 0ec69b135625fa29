// Package oci runs sandboxes through the command line of an OCI runtime.
//
// The runtime is a program of its own, started once per sandbox and gone when Run
// returns; what remains of a sandbox on the host is its process tree, one control
// group and one directory, Dir/<instance>/<id>. Nothing is mounted on the host. Limits,
// freezing, measurements and the end of a sandbox go through the control group, never
// through the runtime, so they work on a sandbox that is frozen, starving or hostile.
//
// Flavor holds what differs between runtimes. RunSC, the default and the only flavour
// that isolates code from the host's kernel, is lambent-runsc (module runsc):
// EROFS root file systems and code opened by the sandbox itself, no gofer, no host
// file system and no capability in any process of the sandbox, all of it as uid 65534.
//
// A Runtime makes this process the reaper of orphaned descendants: sandboxes are
// children of the server, so their exit status is exact and their PIDs are not reused
// while they are watched. All methods may be called concurrently.
package oci

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/cgroup"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/sandbox"
)

// Config is what a Runtime needs.
type Config struct {
	// Dir is the directory for bundles and runtime state (STATE/run).
	Dir string
	// Instance names the server instance; cgroups and directories carry it.
	Instance string
	// Binary is the path of the OCI runtime; see package embedded for runsc.
	Binary string
	// Flavor says which runtime Binary is; the zero value is RunSC.
	Flavor Flavor
	// Logger gets what an operator cares about; nil discards it.
	Logger *slog.Logger
}

// Runtime is a sandbox.Runtime over an OCI runtime.
type Runtime struct {
	flavor   Flavor
	binary   string
	dir      string // Dir/<instance>
	sidecars *os.File
	groups   *cgroup.Hierarchy
	log      *slog.Logger
	watchers lifecycle.Tasks

	mu   sync.Mutex
	live map[string]*box // by id, from before the start until deleted
}

var _ sandbox.Runtime = (*Runtime)(nil)

// Open prepares the instance's directory and control groups.
func Open(cfg Config) (_ *Runtime, err error) {
	if cfg.Flavor.Name == "" {
		cfg.Flavor = RunSC
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	binary, err := filepath.Abs(cfg.Binary)
	if err != nil {
		return nil, fmt.Errorf("open sandbox runtime: %w", err)
	}
	if st, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("open sandbox runtime: %w", err)
	} else if st.IsDir() || st.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("open sandbox runtime: %s is not executable", binary)
	}
	dir, err := filepath.Abs(filepath.Join(cfg.Dir, cfg.Instance))
	if err != nil {
		return nil, fmt.Errorf("open sandbox runtime: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, sidecarDir), 0o700); err != nil {
		return nil, fmt.Errorf("open sandbox runtime: %w", err)
	}
	groups, err := cgroup.Open(cgroup.Config{Instance: cfg.Instance})
	if err != nil {
		return nil, fmt.Errorf("open sandbox runtime: %w", err)
	}
	// Sandboxes outlive the runtime's process that starts them; without this they
	// would become init's children and their exit status would be lost.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("open sandbox runtime: become subreaper: %w", err)
	}
	r := &Runtime{
		flavor: cfg.Flavor,
		binary: binary,
		dir:    dir,
		groups: groups,
		log:    cfg.Logger,
		live:   map[string]*box{},
	}
	if r.flavor.Sidecars != nil {
		if r.sidecars, err = r.flavor.Sidecars(filepath.Join(dir, sidecarDir), binary); err != nil {
			return nil, fmt.Errorf("open sandbox runtime: %w", err)
		}
	}
	return r, nil
}

// Capabilities implements sandbox.Runtime.
func (r *Runtime) Capabilities() sandbox.Capabilities { return r.flavor.Capabilities }

// Sweep implements sandbox.Runtime.
func (r *Runtime) Sweep(ctx context.Context) error {
	mine := func(name string) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, ok := r.live[name]
		return ok
	}
	errs := []error{r.groups.Sweep(ctx, mine)}
	entries, err := os.ReadDir(r.dir)
	errs = append(errs, err)
	for _, e := range entries {
		if e.Name() != sidecarDir && !mine(e.Name()) {
			r.log.Info("removing the leftovers of a sandbox", "sandbox", e.Name())
			errs = append(errs, os.RemoveAll(filepath.Join(r.dir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep sandboxes: %w", err)
	}
	return nil
}

// Close deletes all sandboxes and removes the instance's directory and control
// groups. The Runtime must not be used afterwards.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	boxes := make([]*box, 0, len(r.live))
	for _, b := range r.live {
		boxes = append(boxes, b)
	}
	r.mu.Unlock()
	var errs []error
	for _, b := range boxes {
		errs = append(errs, b.Delete(ctx))
	}
	r.watchers.Wait()
	if r.sidecars != nil {
		errs = append(errs, r.sidecars.Close())
	}
	errs = append(errs, r.Sweep(ctx), r.groups.Close(), os.RemoveAll(r.dir))
	return errors.Join(errs...)
}

// reserve claims an id for b.
func (r *Runtime) reserve(b *box) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.live[b.id]; ok {
		return fmt.Errorf("sandbox %s: %w", b.id, os.ErrExist)
	}
	r.live[b.id] = b
	return nil
}

// release gives up the id, if b has it.
func (r *Runtime) release(b *box) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live[b.id] == b {
		delete(r.live, b.id)
	}
}
