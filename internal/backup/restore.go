package backup

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/etcd"
)

const (
	maxMeta     = 16 << 20 // bytes of the header or of a file of keys, which are read into memory
	maxManifest = 1 << 30
)

// ErrNotEmpty is returned for a directory that has something in it.
var ErrNotEmpty = errors.New("the state directory is not empty")

// sink takes what an archive holds. What it takes is verified only when read returns nil.
type sink interface {
	pairs(ctx context.Context, keys, values [][]byte) error
	file(name string, from io.Reader) error
}

// Verify reads an archive to its end and tells what it is.
func Verify(ctx context.Context, from io.Reader) (Header, error) { return read(ctx, from, nothing{}) }

type nothing struct{}

func (nothing) pairs(context.Context, [][]byte, [][]byte) error { return nil }
func (nothing) file(_ string, from io.Reader) error {
	_, err := io.Copy(io.Discard, from)
	return err
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// read gives an archive's content to to, and verifies it.
func read(ctx context.Context, from io.Reader, to sink) (h Header, err error) {
	z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return h, err
	}
	defer z.Close()
	a := &archive{tar: tar.NewReader(z), to: to}
	if h, err = a.header(); err != nil {
		return h, err
	}
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return h, err
		}
		if done, err = a.next(ctx); err != nil {
			return h, err
		}
	}
	if _, err := a.tar.Next(); err != io.EOF {
		return h, damaged("something follows its manifest (%v)", err)
	}
	if n, err := io.Copy(io.Discard, z); err != nil || n > 0 {
		return h, damaged("something follows its end (%v)", err)
	}
	return h, nil
}

// archive is one that is being read.
type archive struct {
	tar   *tar.Reader
	to    sink
	files []Entry
}

// entry goes to the next file.
func (a *archive) entry() (*tar.Header, error) {
	t, err := a.tar.Next()
	if err == io.EOF {
		return nil, damaged("its end is missing")
	}
	if err != nil {
		return nil, damaged("%v", err)
	}
	if t.Typeflag != tar.TypeReg || !filepath.IsLocal(t.Name) || filepath.Clean(t.Name) != t.Name {
		return nil, damaged("%q is no file of a backup", t.Name)
	}
	return t, nil
}

func (a *archive) header() (h Header, err error) {
	t, err := a.entry()
	if err != nil {
		return h, err
	}
	if t.Name != headerName {
		return h, damaged("it begins with %q", t.Name)
	}
	b, err := a.bytes(t, maxMeta)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(b, &h); err != nil || h.Format < 1 {
		return h, damaged("its header cannot be read (%v)", err)
	}
	if h.Format > Format {
		return h, fmt.Errorf("%w: its format is %d, this build knows %d", ErrNewer, h.Format, Format)
	}
	return h, nil
}

// next takes one file; done says that it was the manifest, and that all before were as it says.
func (a *archive) next(ctx context.Context) (done bool, err error) {
	t, err := a.entry()
	if err != nil {
		return false, err
	}
	switch {
	case t.Name == manifestName:
		return true, a.manifest(t)
	case strings.HasPrefix(t.Name, enginePrefix):
		b, err := a.bytes(t, maxMeta)
		if err != nil {
			return false, err
		}
		keys, values, err := split(b)
		if err != nil {
			return false, err
		}
		return false, a.to.pairs(ctx, keys, values)
	case !restorable(t.Name):
		return false, damaged("%q does not belong into a state directory", t.Name)
	}
	sum := sha256.New()
	source := &tracked{from: a.tar}
	if err := a.to.file(t.Name, io.TeeReader(source, sum)); err != nil {
		if source.err != nil {
			return false, damaged("%s: %v", t.Name, source.err)
		}
		return false, err
	}
	a.files = append(a.files, Entry{t.Name, t.Size, hex.EncodeToString(sum.Sum(nil))})
	return false, nil
}

// tracked remembers an error of reading, so that it is told from one of writing.
type tracked struct {
	from io.Reader
	err  error
}

func (t *tracked) Read(b []byte) (int, error) {
	n, err := t.from.Read(b)
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// restorable reports whether Write would have written a file of that name.
func restorable(name string) bool {
	if slices.Contains(single, name) {
		return true
	}
	dir, _, below := strings.Cut(name, "/")
	return below && slices.Contains(directories, dir)
}

// bytes reads a small file.
func (a *archive) bytes(t *tar.Header, most int64) ([]byte, error) {
	if t.Size > most {
		return nil, damaged("%s has %d bytes", t.Name, t.Size)
	}
	b, err := io.ReadAll(a.tar)
	if err != nil {
		return nil, damaged("%s: %v", t.Name, err)
	}
	sum := sha256.Sum256(b)
	a.files = append(a.files, Entry{t.Name, t.Size, hex.EncodeToString(sum[:])})
	return b, nil
}

func (a *archive) manifest(t *tar.Header) error {
	seen := a.files
	b, err := a.bytes(t, maxManifest)
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return damaged("its manifest cannot be read (%v)", err)
	}
	for i, want := range m.Files {
		if i >= len(seen) || seen[i] != want {
			return damaged("%s is not as it was written", want.Name)
		}
	}
	if len(seen) != len(m.Files) {
		return damaged("it has %d files, its manifest %d", len(seen), len(m.Files))
	}
	return nil
}

// split is the inverse of appendPair.
func split(b []byte) (keys, values [][]byte, err error) {
	field := func() []byte {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			err = damaged("its keys cannot be read")
			return nil
		}
		f := b[used : used+int(n)]
		b = b[used+int(n):]
		return f
	}
	for len(b) > 0 && err == nil {
		keys = append(keys, field())
		if err == nil {
			values = append(values, field())
		}
	}
	return keys, values, err
}

// RestoreConfig is what Restore needs.
type RestoreConfig struct {
	Dir    string // the state directory to make: not there, or empty
	Logger *slog.Logger
}

// Restore makes a state directory. It appears under its name when the whole archive was verified
// and is on disk; on error nothing of it is left.
func Restore(ctx context.Context, cfg RestoreConfig, from io.Reader) (h Header, err error) {
	if err := checkEmpty(cfg.Dir); err != nil {
		return h, err
	}
	tmp := cfg.Dir + ".restore-" + rand.Text()[:8]
	if err := os.MkdirAll(filepath.Dir(cfg.Dir), 0o755); err != nil {
		return h, fmt.Errorf("restore: %w", err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return h, fmt.Errorf("restore: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(tmp) // the error is what matters
		}
	}()
	engine, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(tmp, "etcd"), Logger: cfg.Logger})
	if err != nil {
		return h, fmt.Errorf("restore: %w", err)
	}
	h, err = read(ctx, from, &directory{path: tmp, client: engine.Client()})
	engine.Close()
	if err != nil {
		return h, fmt.Errorf("restore: %w", err)
	}
	if err := syncTree(tmp); err != nil {
		return h, fmt.Errorf("restore: %w", err)
	}
	if err := os.Remove(cfg.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // empty, see above
		return h, fmt.Errorf("restore: %w", err)
	}
	if err := os.Rename(tmp, cfg.Dir); err != nil {
		return h, fmt.Errorf("restore: %w", err)
	}
	return h, syncDir(filepath.Dir(cfg.Dir))
}

func checkEmpty(dir string) error {
	have, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("restore: %w", err)
	case len(have) > 0:
		return fmt.Errorf("%w: %s has %s in it; a backup is restored into a new one only", ErrNotEmpty, dir, have[0].Name())
	}
	return nil
}

// directory is a state directory that is being made.
type directory struct {
	path   string
	client *clientv3.Client
}

const (
	txnPairs = 100
	txnBytes = etcd.MaxRequestBytes / 2
)

// pairs puts keys into the state engine, many in a transaction.
func (d *directory) pairs(ctx context.Context, keys, values [][]byte) error {
	var ops []clientv3.Op
	size := 0
	commit := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := d.client.Txn(ctx).Then(ops...).Commit()
		ops, size = ops[:0], 0
		if err != nil {
			return fmt.Errorf("fill the state engine: %w", err)
		}
		return nil
	}
	for i := range keys {
		n := len(keys[i]) + len(values[i])
		if len(ops) == txnPairs || size+n > txnBytes {
			if err := commit(); err != nil {
				return err
			}
		}
		ops = append(ops, clientv3.OpPut(string(keys[i]), string(values[i])))
		size += n
	}
	return commit()
}

func (d *directory) file(name string, from io.Reader) error {
	path := filepath.Join(d.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return damaged("it has %s twice", name)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncTree makes the names of all files durable; their content is.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
