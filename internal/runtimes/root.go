package runtimes

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a finished layer in the work directory.
type layer struct {
	path         string
	digest, diff v1.Hash
	size         int64 // compressed
	bytes        int64 // of its files
}

var _ v1.Layer = (*layer)(nil)

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diff, nil }
func (l *layer) Size() (int64, error)                { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (l *layer) Compressed() (io.ReadCloser, error)  { return os.Open(l.path) }
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// pack writes what is below the given names of root into a layer; names that are absent are
// left out. Owners and times are those of no machine: root, and the epoch.
func (b *builder) pack(root string, names ...string) (*layer, error) {
	f, err := os.CreateTemp(b.work, "layer-*")
	if err != nil {
		return nil, err
	}
	defer f.Close() // the error that matters is that of Sync below
	sum, diff := sha256.New(), sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, sum), gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	p := packer{root: root, w: tar.NewWriter(io.MultiWriter(z, diff)), links: map[uint64]string{}, done: map[string]bool{}}
	for _, name := range names {
		if err := p.addTree(name); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := errors.Join(p.w.Close(), z.Close(), f.Sync()); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &layer{path: f.Name(), digest: hashOf(sum), diff: hashOf(diff), size: info.Size(), bytes: p.bytes}, nil
}

func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// packer walks a directory tree of the host, which only this build writes, into a tar.
type packer struct {
	root  string
	w     *tar.Writer
	links map[uint64]string // inode to the first of its names
	done  map[string]bool   // parents written
	bytes int64
}

func (p *packer) addTree(name string) error {
	if _, err := os.Lstat(filepath.Join(p.root, name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := p.addParents(name); err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Join(p.root, name), func(full string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(p.root, full)
		if err != nil || rel == "." {
			return err
		}
		return p.add(rel)
	})
}

func (p *packer) addParents(name string) error {
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if p.done[dir] {
			return nil
		}
		if err := p.addParents(dir); err != nil {
			return err
		}
		if err := p.add(dir); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) add(name string) error {
	full := filepath.Join(p.root, name)
	info, err := os.Lstat(full)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if info.Mode()&fs.ModeSticky != 0 {
		h.Mode |= 0o1000 // set-id bits are dropped: nothing in a function's sandbox changes its user
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		if p.done[name] {
			return nil
		}
		p.done[name] = true
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(full); err != nil {
			return err
		}
	case 0:
		return p.addFile(h, full, info)
	default:
		return nil
	}
	return p.w.WriteHeader(h)
}

func (p *packer) addFile(h *tar.Header, full string, info fs.FileInfo) error {
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		if first, ok := p.links[st.Ino]; ok {
			h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, first
			return p.w.WriteHeader(h)
		}
		p.links[st.Ino] = h.Name
	}
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(p.w, f)
	p.bytes += n
	return err
}

// copyFS writes the files of src below dir into root; a script gets its execute bit, which an
// embedded file system does not keep. It returns the names it wrote.
func copyFS(root *os.Root, dir string, src fs.FS) (names []string, err error) {
	err = fs.WalkDir(src, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !wanted(name) {
			return err
		}
		to := path.Join(dir, name)
		if d.IsDir() {
			return root.MkdirAll(to, 0o755)
		}
		data, err := fs.ReadFile(src, name)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(string(data), "#!") {
			mode = 0o755
		}
		names = append(names, to)
		return root.WriteFile(to, data, mode)
	})
	return names, err
}
