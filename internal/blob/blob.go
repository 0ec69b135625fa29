// Package blob keeps immutable files named by the SHA-256 of their content.
//
// A blob that Put has answered for is on disk: the file is fsynced, renamed to its name, and the
// folder fsynced. A file under its final name is always whole, so an interrupted Put leaves only
// a temporary file, which the next Open removes. Blobs are kept by reference: whoever stores a
// digest owns it, and Sweep removes what nobody refers to any more. Everything is safe for
// concurrent use, also by several processes on one folder, except that Open must not run while
// another process puts.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

var (
	// ErrNotFound is returned for a digest that has no blob.
	ErrNotFound = errors.New("blob not found")
	// ErrCorrupt is returned when a blob's content does not have its digest.
	ErrCorrupt = errors.New("blob does not match its digest")
	// ErrDigest is returned for a string that is no digest.
	ErrDigest = errors.New("malformed digest")
)

// tmpPrefix starts the names of files that are still being written.
const tmpPrefix = "tmp-"

// Digest is the lower-case hexadecimal SHA-256 of a blob.
type Digest string

// Valid reports whether d has the form of a digest; anything else is never turned into a path.
func (d Digest) Valid() bool {
	if len(d) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(d) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Sum is the digest of data.
func Sum(data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest(hex.EncodeToString(sum[:]))
}

// Store is a folder of blobs, fanned out by the first two digits of their digests.
type Store struct {
	dir string

	// mu makes "the blob is there, so keep it" and "the blob is old, so remove it" exclude each
	// other: Put holds it shared while it refreshes or renames, Sweep alone while it removes.
	mu sync.RWMutex

	// young are the blobs that this process put, and when by its monotonic clock: a wall clock
	// that is set forward makes files look old whose references are about to be written.
	youngMu sync.Mutex
	young   map[Digest]time.Time
}

// Open opens the store in dir, which is made if it is missing, and removes what interrupted
// writes left.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, tmpPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("open blobs: %w", err)
		}
	}
	return &Store{dir: dir, young: map[Digest]time.Time{}}, nil
}

// Put stores what r yields and returns its digest and size once both are durable. Putting a blob
// that exists refreshes its age, so that a Sweep running at the same time keeps it.
func (s *Store) Put(ctx context.Context, r io.Reader) (d Digest, size int64, err error) {
	tmp, err := os.CreateTemp(s.dir, tmpPrefix)
	if err != nil {
		return "", 0, fmt.Errorf("put blob: %w", err)
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(tmp, h), &contextReader{ctx: ctx.Err, r: r})
	if err != nil {
		return "", 0, fmt.Errorf("put blob: %w", err)
	}
	d = Digest(hex.EncodeToString(h.Sum(nil)))
	s.remember(d)
	if s.refresh(d, size) {
		os.Remove(tmp.Name())
		return d, size, nil
	}
	if err := tmp.Sync(); err != nil {
		return "", 0, fmt.Errorf("put blob %s: %w", d, err)
	}
	if err := s.install(tmp.Name(), d); err != nil {
		return "", 0, fmt.Errorf("put blob %s: %w", d, err)
	}
	return d, size, nil
}

// remember notes that a blob is being put.
func (s *Store) remember(d Digest) {
	s.youngMu.Lock()
	defer s.youngMu.Unlock()
	s.young[d] = time.Now()
}

// isYoung tells whether this process put a blob less than olderThan ago.
func (s *Store) isYoung(d Digest, olderThan time.Duration) bool {
	s.youngMu.Lock()
	defer s.youngMu.Unlock()
	at, known := s.young[d]
	return known && time.Since(at) < olderThan
}

// prune forgets the blobs that are young no longer.
func (s *Store) prune(olderThan time.Duration) {
	s.youngMu.Lock()
	defer s.youngMu.Unlock()
	maps.DeleteFunc(s.young, func(_ Digest, at time.Time) bool { return time.Since(at) >= olderThan })
}

// refresh reports whether the blob is there already, and makes it young if so.
func (s *Store) refresh(d Digest, size int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	path := s.Path(d)
	info, err := os.Stat(path)
	if err != nil || info.Size() != size {
		return false
	}
	now := time.Now()
	if os.Chtimes(path, now, now) != nil {
		return false
	}
	// Whoever put it first may not have come to this yet, and we answer for it too.
	return syncDir(filepath.Dir(path)) == nil
}

// install renames a finished file to its name and makes the name durable.
func (s *Store) install(tmp string, d Digest) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	path := s.Path(d)
	parent := filepath.Dir(path)
	if err := os.Mkdir(parent, 0o700); err == nil {
		if err := syncDir(s.dir); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(tmp, 0o400); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(parent)
}

// Open opens a blob for reading. Its content is not checked; see Verify.
func (s *Store) Open(d Digest) (*os.File, error) {
	if !d.Valid() {
		return nil, fmt.Errorf("open blob %q: %w", string(d), ErrDigest)
	}
	f, err := os.Open(s.Path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open blob %s: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return f, nil
}

// Get reads a whole blob into memory and checks it: for small ones, such as message bodies.
func (s *Store) Get(d Digest) ([]byte, error) {
	f, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if Sum(data) != d {
		return nil, fmt.Errorf("read blob %s: %w", d, ErrCorrupt)
	}
	return data, nil
}

// Verify reads a blob and returns ErrCorrupt if its content is not what its name says.
func (s *Store) Verify(ctx context.Context, d Digest) error {
	r, err := s.OpenVerified(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// OpenVerified opens a blob whose reader hashes what it hands out: the read that would end with
// io.EOF ends with ErrCorrupt instead if the content is not what the name says.
func (s *Store) OpenVerified(ctx context.Context, d Digest) (io.ReadCloser, error) {
	f, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	return &verifier{contextReader{ctx: ctx.Err, r: f}, f, sha256.New(), d}, nil
}

// Path is where the blob is, or would be. d must be Valid.
func (s *Store) Path(d Digest) string {
	if !d.Valid() {
		// A path from outside must never leave the store's folder.
		return filepath.Join(s.dir, "malformed")
	}
	return filepath.Join(s.dir, string(d[:2]), string(d))
}

// Has reports whether the blob is there.
func (s *Store) Has(d Digest) bool {
	_, err := os.Stat(s.Path(d))
	return d.Valid() && err == nil
}

// Sweep removes the blobs that keep does not want and that were last put longer than olderThan
// ago. The age protects a blob whose reference is not written yet: choose it longer than any
// caller takes from Put to storing the digest.
func (s *Store) Sweep(ctx context.Context, keep func(Digest) bool, olderThan time.Duration) (removed int, err error) {
	before := time.Now().Add(-olderThan)
	names, err := filepath.Glob(filepath.Join(s.dir, "[0-9a-f][0-9a-f]", strings.Repeat("?", 2*sha256.Size)))
	if err != nil {
		return 0, fmt.Errorf("sweep blobs: %w", err)
	}
	s.prune(olderThan)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return removed, fmt.Errorf("sweep blobs: %w", err)
		}
		d := Digest(filepath.Base(name))
		if !d.Valid() || keep(d) {
			continue
		}
		gone, err := s.removeOlder(name, d, before, olderThan)
		if err != nil {
			return removed, fmt.Errorf("sweep blobs: %w", err)
		}
		if gone {
			removed++
		}
	}
	return removed, nil
}

// removeOlder removes a file unless it was refreshed since before.
func (s *Store) removeOlder(name string, d Digest, before time.Time, olderThan time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.ModTime().After(before) || s.isYoung(d, olderThan) {
		return false, nil
	}
	return true, os.Remove(name)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// contextReader ends a copy when its context does.
type contextReader struct {
	ctx func() error
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

type verifier struct {
	contextReader
	f    *os.File
	hash hash.Hash
	want Digest
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.contextReader.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF && Digest(hex.EncodeToString(v.hash.Sum(nil))) != v.want {
		return n, fmt.Errorf("read blob %s: %w", v.want, ErrCorrupt)
	}
	return n, err
}

func (v *verifier) Close() error { return v.f.Close() }
