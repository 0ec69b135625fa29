// Package code keeps deployment packages: the zip as it came, by digest, and an EROFS image of
// its contents that sandboxes mount at /var/task. A zip goes straight into the image; nothing in
// it ever becomes a file of the host.
//
// Promises: Put returns only when the package is whole, within AWS's limits by its real bytes and
// on the disk; the image of a digest is built once, leased while it is used, and can be rebuilt
// from the zip at any time.
//
// A Store is safe for concurrent use and runs no goroutine of its own.
package code

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/erofs"
)

const (
	// MaxUpload is the size that a zip sent in a request must stay below.
	MaxUpload = 52428800
	// MaxUnzipped is the size that a package's contents must stay below.
	MaxUnzipped = 262144000
	// MaxEntries bounds the files and directories of a package.
	MaxEntries = 100_000
)

var (
	// ErrNotZip is returned for what cannot be unzipped. AWS: "Could not unzip uploaded file.
	// Please check your file, then try to upload again."
	ErrNotZip = errors.New("could not unzip uploaded file")
	// ErrEmpty is returned for a zip without entries. AWS: "Uploaded file must be a non-empty zip"
	ErrEmpty = errors.New("uploaded file must be a non-empty zip")
	// ErrTooLarge is returned when contents reach MaxUnzipped or MaxEntries. AWS: "Unzipped size
	// must be smaller than 262144000 bytes"
	ErrTooLarge = errors.New("unzipped size must be smaller than 262144000 bytes")
	// ErrNotFound is returned for a digest that the store does not have.
	ErrNotFound = errors.New("deployment package not found")
)

// layoutVersion changes whenever the same zip would give another image.
const layoutVersion = "1"

// Config says where zips and images are kept.
type Config struct {
	Dir    string // the images
	Blobs  *blob.Store
	Room   func() error // whether the disk takes a new package: asked by Put; nil means always
	Logger *slog.Logger
}

// Store keeps deployment packages.
type Store struct {
	blobs  *blob.Store
	room   func() error
	cache  *erofs.Cache
	limits erofs.Limits
	logger *slog.Logger
}

// Package describes a stored zip.
type Package struct {
	Digest blob.Digest
	SHA256 string // base64, as AWS shows it
	Size   int64  // of the zip
}

// Open returns the store in config.Dir, made if absent.
func Open(config Config) (*Store, error) {
	cache, err := erofs.OpenCache(config.Dir)
	if err != nil {
		return nil, err
	}
	return &Store{
		blobs: config.Blobs, room: config.Room, cache: cache, logger: cmp.Or(config.Logger, slog.New(slog.DiscardHandler)),
		// AWS: "must be smaller than", so the limit itself is one too many.
		limits: erofs.Limits{Entries: MaxEntries, Bytes: MaxUnzipped - 1},
	}, nil
}

// Put validates a zip by unpacking it into its image and stores it.
func (s *Store) Put(ctx context.Context, zip []byte) (Package, error) {
	if s.room != nil {
		if err := s.room(); err != nil {
			return Package{}, fmt.Errorf("put package: %w", err)
		}
	}
	sum := sha256.Sum256(zip)
	p := Package{
		Digest: blob.Digest(hex.EncodeToString(sum[:])),
		SHA256: base64.StdEncoding.EncodeToString(sum[:]),
		Size:   int64(len(zip)),
	}
	release, err := s.build(ctx, p.Digest, bytes.NewReader(zip), p.Size)
	if err != nil {
		return Package{}, fmt.Errorf("put package: %w", err)
	}
	defer release()
	if _, _, err := s.blobs.Put(ctx, bytes.NewReader(zip)); err != nil {
		return Package{}, fmt.Errorf("put package: %w", err)
	}
	return p, nil
}

// Image returns the path of the EROFS image of a package, leased: it stays until release is called.
func (s *Store) Image(ctx context.Context, d blob.Digest) (path string, release func(), err error) {
	if !d.Valid() {
		return "", nil, fmt.Errorf("image of package %.80q: %w", d, ErrNotFound)
	}
	path, release, err = s.cache.Get(ctx, key(d), s.limits, func(ctx context.Context, b *erofs.Builder) error {
		f, err := s.Open(d)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		return s.fill(ctx, b, f, info.Size())
	})
	if err != nil {
		return "", nil, fmt.Errorf("image of package %s: %w", d, err)
	}
	return path, release, nil
}

// Open returns the zip of a digest.
func (s *Store) Open(d blob.Digest) (*os.File, error) {
	f, err := s.blobs.Open(d)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("open package %s: %w", d, ErrNotFound)
	}
	return f, err
}

// Sweep removes the images that nobody leases, keep does not want and nobody used for olderThan.
// The zips are swept by the blob store.
func (s *Store) Sweep(ctx context.Context, keep func(blob.Digest) bool, olderThan time.Duration) (removed int, err error) {
	return s.cache.Sweep(ctx, func(k string) bool {
		d, ok := digestOf(k)
		return ok && keep(d)
	}, olderThan)
}

func (s *Store) build(ctx context.Context, d blob.Digest, zip io.ReaderAt, size int64) (release func(), err error) {
	started := time.Now()
	_, release, err = s.cache.Get(ctx, key(d), s.limits, func(ctx context.Context, b *erofs.Builder) error {
		if err := s.fill(ctx, b, zip, size); err != nil {
			return err
		}
		s.logger.Debug("package unpacked", "digest", d, "entries", b.Entries(), "bytes", b.Bytes(), "took", time.Since(started))
		return nil
	})
	return release, err
}

func key(d blob.Digest) string { return string(d) + "-" + layoutVersion }

func digestOf(key string) (blob.Digest, bool) {
	d, found := bytes.CutSuffix([]byte(key), []byte("-"+layoutVersion))
	return blob.Digest(d), found
}
