package erofs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/erofs/go-erofs"
)

// WriteFile writes the image to name: whole and on the disk when it returns nil, absent else.
func (b *Builder) WriteFile(name string) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".image-*")
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if err := b.WriteTo(f); err != nil {
		return err
	}
	// Every sandbox's sentry may be another user.
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return syncDir(dir)
}

// WriteTo writes the image to an empty file. The Builder keeps its entries.
func (b *Builder) WriteTo(w io.WriteSeeker) error {
	// Epoch zero: the time of the build is not part of the contents.
	out := erofs.Create(w, erofs.WithBuildTime(0, 0), erofs.WithBlockSize(blockSize))
	if err := out.CopyFrom(tree{b}); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

const blockSize = 4096

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// tree shows a Builder's entries to the writer as an fs.FS.
type tree struct{ b *Builder }

func (t tree) at(name string) (*node, error) {
	n := t.b.root
	if name == "." {
		return n, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if n = n.children[part]; n == nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
	}
	return n, nil
}

func (t tree) Open(name string) (fs.File, error) {
	n, err := t.at(name)
	if err != nil {
		return nil, err
	}
	return treeFile{info{name, n}, io.NewSectionReader(t.b.spool, n.offset, n.entry.Size)}, nil
}

func (t tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.at(name)
	return info{name, n}, err
}

func (t tree) ReadLink(name string) (string, error) {
	n, err := t.at(name)
	if err != nil {
		return "", err
	}
	return n.entry.Target, nil
}

func (t tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.at(name)
	if err != nil {
		return nil, err
	}
	all := make([]fs.DirEntry, 0, len(n.children))
	for name, c := range n.children {
		all = append(all, fs.FileInfoToDirEntry(info{name, c}))
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

type treeFile struct {
	info
	io.Reader
}

func (f treeFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f treeFile) Close() error               { return nil }

// info is an fs.FileInfo whose Sys is what the writer reads owners and times from.
type info struct {
	name string
	node *node
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.node.entry.Size }
func (i info) Mode() fs.FileMode  { return i.node.entry.Mode }
func (i info) ModTime() time.Time { return i.node.entry.MTime }
func (i info) IsDir() bool        { return i.node.entry.Mode.IsDir() }
func (i info) Sys() any {
	e := i.node.entry
	s := &erofs.Stat{UID: e.UID, GID: e.GID}
	// Times before 1970 or absurdly late do not fit: the field is unsigned and readers differ.
	if sec := e.MTime.Unix(); sec > 0 && sec < 1<<33 {
		s.Mtime, s.MtimeNs = uint64(sec), uint32(e.MTime.Nanosecond())
	}
	return s
}
