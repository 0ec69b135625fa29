package erofs

import (
	"encoding/binary"
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
func (b *Builder) WriteTo(f *os.File) error {
	// Epoch zero: the time of the build is not part of the contents.
	out := erofs.Create(f, erofs.WithBuildTime(0, 0), erofs.WithBlockSize(blockSize))
	if err := out.CopyFrom(tree{b}); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := b.correctSizes(f); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

// correctSizes gives small files their true sizes. gVisor maps only files whose data has blocks
// of its own (mkfs.erofs calls it noinline_data; a mapped file with data beside its inode is a
// SIGBUS), and the writer has no option for that: it puts data beside the inode whenever both
// fit into a block. So it is told that no file is smaller than a block, and here the sizes in
// the inodes are put right.
func (b *Builder) correctSizes(f *os.File) error {
	var at [4]byte
	if _, err := f.ReadAt(at[:], metaBlockOffset); err != nil {
		return err
	}
	inodes := int64(binary.LittleEndian.Uint32(at[:])) * blockSize
	img, err := erofs.Open(f)
	if err != nil {
		return err
	}
	return fs.WalkDir(img, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		n, err := tree{b}.at(name)
		if err != nil || n.entry.Size == 0 || n.entry.Size >= blockSize {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var size [4]byte // little endian: the low half is enough, the high one is zero
		binary.LittleEndian.PutUint32(size[:], uint32(n.entry.Size))
		_, err = f.WriteAt(size[:], inodes+info.Sys().(*erofs.Stat).Ino*inodeSlot+inodeSizeOffset)
		return err
	})
}

// The on-disk format, as far as correctSizes needs it.
const (
	metaBlockOffset = 1024 + 40 // in the superblock: the block where inodes begin
	inodeSlot       = 32        // bytes that an inode number counts
	inodeSizeOffset = 8         // in the short and in the long inode
)

const blockSize = 4096

var zeros = strings.Repeat("\x00", blockSize)

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
	data := io.Reader(io.NewSectionReader(t.b.spool, n.offset, n.entry.Size))
	if n.entry.Size < blockSize {
		data = io.MultiReader(data, strings.NewReader(zeros[n.entry.Size:]))
	}
	return treeFile{info{name, n}, data}, nil
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
func (i info) Mode() fs.FileMode  { return i.node.entry.Mode }
func (i info) ModTime() time.Time { return i.node.entry.MTime }
func (i info) IsDir() bool        { return i.node.entry.Mode.IsDir() }

// Size is what the writer is to believe; see correctSizes.
func (i info) Size() int64 {
	if s := i.node.entry.Size; !i.node.entry.Mode.IsRegular() || s == 0 || s > blockSize {
		return s
	}
	return blockSize
}

func (i info) Sys() any {
	e := i.node.entry
	s := &erofs.Stat{UID: e.UID, GID: e.GID}
	// Times before 1970 or absurdly late do not fit: the field is unsigned and readers differ.
	if sec := e.MTime.Unix(); sec > 0 && sec < 1<<33 {
		s.Mtime, s.MtimeNs = uint64(sec), uint32(e.MTime.Nanosecond())
	}
	return s
}
