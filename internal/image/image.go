// Package image turns OCI images into root filesystems: one EROFS file per image digest, found
// in local OCI layouts ("oci:NAME") or pulled from a registry, flattened once, cached, leased
// and swept. Managed runtimes, container-image functions and tasks all take this path.
//
// Promises: every byte of an image is checked against its digest before it is used; an image is
// flattened by one caller while the others wait; sizes and entry counts are bounded; what every
// sandbox needs and a read-only root cannot get by bind mounts (resolver, hosts, users, mount
// points, the region's own certificate) is in the image.
//
// A Store is safe for concurrent use and runs no goroutine of its own.
package image

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent/internal/erofs"
)

var (
	// ErrNotFound is returned when neither a layout nor a registry has the image.
	ErrNotFound = errors.New("image not found")
	// ErrBadReference is returned for a reference that names no image.
	ErrBadReference = errors.New("bad image reference")
	// ErrTooLarge is returned for an image beyond the Store's limits.
	ErrTooLarge = errors.New("image too large")
	// ErrCorrupt is returned when an image's bytes are not what its digests promise, or no image at all.
	ErrCorrupt = errors.New("image corrupt")
	// ErrPlatform is returned when an image has no variant for this machine.
	ErrPlatform = errors.New("image not for this platform")
)

// flattening is the version of what flatten and furnish do; another version is another file.
const flattening = "1"

// Config says where images come from and where their filesystems go.
type Config struct {
	Dir       string         // the EROFS files
	Layouts   []string       // directories of OCI layouts, searched in order for "oci:NAME"; absent ones are empty
	CA        []byte         // PEM of the region's own authority, added to the images' trust stores; may be empty
	MaxBytes  int64          // of one flattened image; 10 GiB by default, as AWS has it
	Entries   int            // of one flattened image; 1,000,000 by default
	Keychain  authn.Keychain // registry credentials; docker's own configuration file by default
	Transport http.RoundTripper
	Logger    *slog.Logger
}

// Store holds flattened images.
type Store struct {
	config Config
	cache  *erofs.Cache
	caTag  string // part of the cache key
}

// Image is an image ready to be mounted.
type Image struct {
	Digest string // of the manifest for this platform, "sha256:..."
	RootFS string // path of the EROFS file
	Config Settings
}

// Settings are what an image's author set for its processes.
type Settings struct {
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	User       string
}

// registryIdle is how long a connection to a registry is kept for the next request.
const registryIdle = 5 * time.Second

// Open returns the store in config.Dir, made if absent.
func Open(config Config) (*Store, error) {
	config.MaxBytes = cmp.Or(config.MaxBytes, 10<<30)
	config.Entries = cmp.Or(config.Entries, 1_000_000)
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	if config.Keychain == nil {
		config.Keychain = authn.DefaultKeychain
	}
	if config.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.IdleConnTimeout = registryIdle // images are seldom pulled
		config.Transport = t
	}
	if err := checkCA(config.CA); err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	cache, err := erofs.OpenCache(config.Dir)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(config.CA)
	return &Store{config: config, cache: cache, caTag: hex.EncodeToString(sum[:4])}, nil
}

// Resolve finds the image ref names and returns it flattened. "oci:NAME" is looked for in the
// layouts, anything else in its registry; a reference by digest that was resolved before needs
// no network.
func (s *Store) Resolve(ctx context.Context, ref string) (*Image, error) {
	if local, ok := strings.CutPrefix(ref, "oci:"); ok {
		img, err := s.local(local)
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", ref, err)
		}
		return s.prepare(ctx, ref, img)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("resolve %.200q: %w: %w", ref, ErrBadReference, err)
	}
	if digest, ok := parsed.(name.Digest); ok {
		if known, ok := s.known(digest.DigestStr()); ok {
			return known, nil
		}
	}
	img, err := s.pull(ctx, parsed)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", ref, err)
	}
	prepared, err := s.prepare(ctx, ref, img)
	if err != nil {
		return nil, err
	}
	if digest, ok := parsed.(name.Digest); ok && digest.DigestStr() != prepared.Digest {
		// The reference names an index: remember which image it led to.
		return prepared, s.remember(digest.DigestStr(), prepared)
	}
	return prepared, nil
}

// Acquire keeps an image that Resolve returned from being swept until release is called.
func (s *Store) Acquire(digest string) (release func()) { return s.cache.Acquire(s.key(digest)) }

// Sweep removes the images that nobody leases, keep (given a digest) does not want and nobody
// resolved for olderThan.
func (s *Store) Sweep(ctx context.Context, keep func(digest string) bool, olderThan time.Duration) (removed int, err error) {
	removed, err = s.cache.Sweep(ctx, func(key string) bool {
		hexDigest, _, _ := strings.Cut(key, "-")
		return strings.HasSuffix(key, s.keySuffix()) && keep("sha256:"+hexDigest)
	}, olderThan)
	return removed, errors.Join(err, s.forget(olderThan))
}

// prepare flattens img unless that was done before.
func (s *Store) prepare(ctx context.Context, ref string, img v1.Image) (*Image, error) {
	digest, settings, err := inspect(img)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", ref, err)
	}
	started := time.Now()
	built := false
	path, release, err := s.cache.Get(ctx, s.key(digest), erofs.Limits{Entries: s.config.Entries, Bytes: s.config.MaxBytes},
		func(ctx context.Context, b *erofs.Builder) error {
			built = true
			return s.flatten(ctx, b, img)
		})
	if err != nil {
		return nil, fmt.Errorf("flatten %s: %w", ref, classify(err))
	}
	release() // the caller's lease is Acquire; until then its fresh mtime protects it
	if built {
		size := int64(0)
		if info, err := os.Stat(path); err == nil {
			size = info.Size()
		}
		s.config.Logger.Info("image flattened", "image", ref, "digest", digest, "bytes", size, "took", time.Since(started))
	}
	out := &Image{Digest: digest, RootFS: path, Config: settings}
	return out, s.remember(digest, out)
}

func (s *Store) key(digest string) string {
	return strings.TrimPrefix(digest, "sha256:") + s.keySuffix()
}

func (s *Store) keySuffix() string { return "-" + flattening + "-" + s.caTag }

// classify turns the image writer's and the filesystem's errors into this package's.
func classify(err error) error {
	switch {
	case errors.Is(err, erofs.ErrTooLarge), errors.Is(err, erofs.ErrTooManyEntries):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, erofs.ErrBadEntry):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
