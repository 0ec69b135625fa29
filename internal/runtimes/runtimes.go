// Package runtimes builds the images of managed runtimes that can be had without AWS's registry,
// from ordinary packages: a small Debian, an interpreter, the AWS SDK that AWS puts beside it and
// our own runtime client, in AWS's layout (/var/lang, /var/runtime, /var/task, /opt). Images go
// into an OCI layout under their runtime's identifier, from where package image takes them.
//
// Promises: package archives are those the host's own apt, pip and npm are configured for;
// versions that are not Debian's are locked by hash; no maintainer script runs, and what runs from
// an image during its build runs chrooted and without a network; an image appears whole or not at
// all; an image whose recipe did not change is not built again.
//
// Building needs root (mmdebstrap, chroot). One build at a time works on a layout; List, Import
// and Export are safe beside it.
package runtimes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/runtimes"
)

var (
	// ErrUnknown is returned for a name that no recipe has.
	ErrUnknown = errors.New("no recipe")
	// ErrTool is returned when a program that a build needs is missing; the text says how to get it.
	ErrTool = errors.New("program missing")
	// ErrRoot is returned when a build is not run by root.
	ErrRoot = errors.New("building runtime images needs root")
)

const (
	recipeAnnotation  = "dev.lambent.recipe" // digest of all that went into an image
	sizeAnnotation    = "dev.lambent.size"   // bytes of its files
	createdAnnotation = "org.opencontainers.image.created"
)

// Options say what to build and where.
type Options struct {
	Names     []string  // runtime identifiers; empty: the recipes' default set
	LayoutDir string    // the OCI layout, made if absent
	Clients   fs.FS     // the runtime clients; runtimes.Clients by default
	Mirror    string    // URL of a Debian archive; by default the one in apt's configuration
	Force     bool      // build what is there already, for newer packages
	Progress  io.Writer // a line per step; nil: none
	Now       func() time.Time
}

// Build makes the images of options.Names. An image that is there already, made by the same
// recipe, is left.
func Build(ctx context.Context, options Options) error {
	recipes, err := load(options.Names)
	if err != nil {
		return err
	}
	b, err := newBuilder(options)
	if err != nil {
		return err
	}
	pending, err := b.stale(recipes)
	if err != nil || len(pending) == 0 {
		return err
	}
	if os.Geteuid() != 0 {
		return ErrRoot
	}
	unlock, err := b.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for _, group := range groups(pending) {
		if err := b.buildGroup(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

// builder is one run of Build.
type builder struct {
	options Options
	layout  image.Layout
	work    string // directory for everything temporary
}

func newBuilder(options Options) (*builder, error) {
	if options.Clients == nil {
		options.Clients = runtimes.Clients
	}
	if options.Progress == nil {
		options.Progress = io.Discard
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	dir, err := filepath.Abs(options.LayoutDir)
	if err != nil {
		return nil, err
	}
	return &builder{options: options, layout: image.Layout{Dir: dir}, work: filepath.Join(dir, ".work")}, nil
}

// stale drops the recipes whose image is there and up to date.
func (b *builder) stale(recipes []recipe) (pending []recipe, err error) {
	names, err := b.layout.Names()
	if err != nil {
		return nil, err
	}
	for _, r := range recipes {
		if r.digest, err = b.digest(r); err != nil {
			return nil, err
		}
		if !b.options.Force && names[r.Name].Annotations[recipeAnnotation] == r.digest {
			b.say("%s: up to date", r.Name)
			continue
		}
		pending = append(pending, r)
	}
	return pending, nil
}

// lock keeps other builds off the layout and makes an empty work directory.
func (b *builder) lock() (unlock func(), err error) {
	if err := os.MkdirAll(b.layout.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("build runtimes: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(b.layout.Dir, ".build"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("build runtimes: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another build works on %s: %w", b.layout.Dir, err), f.Close())
	}
	if err := errors.Join(os.RemoveAll(b.work), os.Mkdir(b.work, 0o755)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		// Best effort: the next build begins by removing what is left.
		_ = os.RemoveAll(b.work)
		_ = f.Close()
	}, nil
}

func (b *builder) say(format string, args ...any) {
	fmt.Fprintf(b.options.Progress, format+"\n", args...)
}

// step runs fn and reports what it took.
func (b *builder) step(what string, fn func() (note string, err error)) error {
	started := b.options.Now()
	note, err := fn()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.say("%s: %s%.1f s", what, note, b.options.Now().Sub(started).Seconds())
	return nil
}

// groups brings recipes with the same Debian base together, in order.
func groups(recipes []recipe) (all [][]recipe) {
	for _, r := range recipes {
		i := slices.IndexFunc(all, func(g []recipe) bool { return g[0].base() == r.base() })
		if i < 0 {
			all = append(all, nil)
			i = len(all) - 1
		}
		all[i] = append(all[i], r)
	}
	return all
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB, ", float64(n)/1e6) }

// debianArch is this machine's architecture in Debian's words; nodeArch in Node's.
func debianArch() string { return runtime.GOARCH }

func nodeArch() string { return strings.Replace(runtime.GOARCH, "amd64", "x64", 1) }
