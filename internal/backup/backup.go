// Package backup writes a region's state to one archive while the region runs, and makes a state
// directory of such an archive.
//
// The archive is a tar stream compressed by zstd. Its first file says what it is (Header), its
// last is the manifest: name, size and SHA-256 of all others. An archive that was cut, changed or
// added to, or that a newer build wrote, is refused by Verify and Restore alike.
//
// Consistent: the state engine's keys are those of one revision; blobs, log and ledger segments are
// copied after it, so that everything the keys refer to is there. What comes later than the
// revision may be in segments (a log line, a usage record) and harms nothing. The caller keeps
// sweeps away while Write runs, those that move records between segments among them. Leased keys are left out: their owners are gone when it is restored.
//
// Left out is what is derived (images, code as EROFS, runsc) and what names the original on its
// host (instance). An archive holds the region's keys: who has it has the region.
//
// Each function may be called by any number of goroutines.
package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Format is the version of archives that this build writes; it reads no newer one.
const Format = 1

var (
	// ErrNewer is returned for an archive that a newer build wrote.
	ErrNewer = errors.New("a newer Lambent wrote this backup")
	// ErrDamaged is returned for an archive that is not as it was written.
	ErrDamaged = errors.New("the backup is damaged")
)

const (
	headerName   = "backup.json"
	manifestName = "manifest.json"
	enginePrefix = "engine/"
	page         = 500     // keys of one read
	chunk        = 4 << 20 // bytes of keys in one file of the archive
	attempts     = 5       // to read all keys before history outruns their revision
)

// Files of the state directory that are copied when they are there.
var single = []string{"format", "account", "keys/region", "credentials", "metrics-token", "ledger-id"}

// Directories of files that only grow or go while the region runs.
var directories = []string{"blobs", "logs", "ledger"}

// Header says what an archive is.
type Header struct {
	Format   int
	Version  string // of the build that wrote it
	Region   string // the name that the region must keep: ARNs have it
	Account  string
	Created  time.Time
	Revision int64 // of the state engine
}

// Entry is a file in the manifest.
type Entry struct {
	Name   string
	Size   int64
	SHA256 string
}

type manifest struct{ Files []Entry }

// Config is what Write needs.
type Config struct {
	Client *clientv3.Client
	Dir    string // the state directory
	Header Header // Format, Created and Revision are filled in
}

// Write writes the archive.
func Write(ctx context.Context, cfg Config, to io.Writer) error {
	z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	w := &writer{cfg: cfg, tar: tar.NewWriter(z)}
	if err := w.all(ctx); err != nil {
		_ = z.Close() // what it wrote is given up
		return fmt.Errorf("write backup: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// writer writes one archive; it lives as long as one call of Write.
type writer struct {
	cfg   Config
	tar   *tar.Writer
	files []Entry
}

func (w *writer) all(ctx context.Context) error {
	if err := w.engine(ctx); err != nil {
		return err
	}
	for _, name := range single {
		if err := w.file(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range directories {
		if err := w.directory(ctx, name); err != nil {
			return err
		}
	}
	b, err := json.Marshal(manifest{w.files})
	if err != nil {
		return err
	}
	if err := w.bytes(ctx, manifestName, b); err != nil {
		return err
	}
	return w.tar.Close()
}

// engine writes the header and every key of one revision. They are read to a file first: the
// reader of the archive may be slower than the engine forgets its history.
func (w *writer) engine(ctx context.Context) error {
	spool, err := os.CreateTemp(w.cfg.Dir, ".new-backup-*")
	if err != nil {
		return err
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil { // its name is not needed, and a crash leaves none
		return err
	}
	var revision int64
	var ends []int64
	for try := 1; ; try++ {
		revision, ends, err = snapshot(ctx, w.cfg.Client, spool)
		if err == nil {
			break
		}
		if !errors.Is(err, rpctypes.ErrCompacted) || try == attempts {
			return fmt.Errorf("read the state engine: %w", err)
		}
	}
	h := w.cfg.Header
	h.Format, h.Created, h.Revision = Format, time.Now().UTC(), revision
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := w.bytes(ctx, headerName, b); err != nil {
		return err
	}
	begin := int64(0)
	for i, end := range ends {
		if err := w.put(ctx, fmt.Sprintf("%s%06d", enginePrefix, i+1), end-begin, io.NewSectionReader(spool, begin, end-begin)); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

// snapshot writes the keys of the newest revision to spool, in pieces that end at ends.
func snapshot(ctx context.Context, client *clientv3.Client, spool *os.File) (revision int64, ends []int64, err error) {
	var buf []byte
	size := int64(0)
	flush := func() error {
		_, err := spool.WriteAt(buf, size)
		size += int64(len(buf))
		ends, buf = append(ends, size), buf[:0]
		return err
	}
	for from, more := "\x00", true; more; {
		// The first read is of the newest revision, with everything acknowledged; the others of the same.
		resp, err := client.Get(ctx, from, clientv3.WithFromKey(), clientv3.WithRev(revision), clientv3.WithLimit(page))
		if err != nil {
			return 0, nil, err
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			from = string(kv.Key) + "\x00"
			if kv.Lease == 0 {
				buf = appendPair(buf, kv.Key, kv.Value)
			}
			if len(buf) < chunk {
				continue
			}
			if err := flush(); err != nil {
				return 0, nil, err
			}
		}
		more = resp.More
	}
	return revision, ends, flush()
}

func appendPair(buf, key, value []byte) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(key)))
	buf = append(buf, key...)
	buf = binary.AppendUvarint(buf, uint64(len(value)))
	return append(buf, value...)
}

// directory writes the finished files below one of the state directory's.
func (w *writer) directory(ctx context.Context, name string) error {
	err := filepath.WalkDir(filepath.Join(w.cfg.Dir, name), func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it has gone since its directory was read
		case err != nil:
			return err
		case !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") || strings.HasPrefix(e.Name(), "tmp-"):
			return nil
		}
		rel, err := filepath.Rel(w.cfg.Dir, path)
		if err != nil {
			return err
		}
		return w.file(ctx, rel)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// file writes a file as far as it goes now; one that is not there is left out.
func (w *writer) file(ctx context.Context, name string) error {
	f, err := os.Open(filepath.Join(w.cfg.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return w.put(ctx, name, info.Size(), io.LimitReader(f, info.Size()))
}

func (w *writer) bytes(ctx context.Context, name string, b []byte) error {
	return w.put(ctx, name, int64(len(b)), bytes.NewReader(b))
}

func (w *writer) put(ctx context.Context, name string, size int64, from io.Reader) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX}); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w.tar, sum), from)
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%s became shorter while it was read", name)
	}
	w.files = append(w.files, Entry{name, size, hex.EncodeToString(sum.Sum(nil))})
	return nil
}
