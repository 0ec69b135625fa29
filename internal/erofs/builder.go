// Package erofs writes EROFS images: the read-only root filesystems and code packages that
// sandboxes mount. A Builder takes entries in any order, resolves them against the image's own
// tree (never the host's), and writes an uncompressed image. A Cache keeps finished images by
// key, built once, leased and swept.
//
// Promises: the same entries give the same bytes; no entry, however named or linked, touches a
// file of the host; entries and real bytes are bounded by Limits; device nodes, pipes and
// sockets never reach an image.
//
// A Builder belongs to one goroutine. A Cache is safe for concurrent use.
package erofs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

var (
	// ErrTooManyEntries is returned when an image would hold more entries than its Limits.
	ErrTooManyEntries = errors.New("too many entries")
	// ErrTooLarge is returned when the real bytes of an image's files exceed its Limits.
	ErrTooLarge = errors.New("contents too large")
	// ErrBadEntry is returned for an entry that no image can hold: a name or link target that is
	// too long or contains a NUL, a path that runs through a loop of links or through a file.
	ErrBadEntry = errors.New("bad entry")
)

// Entry is one file, directory or symbolic link of an image.
type Entry struct {
	Path   string      // slash-separated; relative to the root, "..", "." and a leading slash are resolved there
	Mode   fs.FileMode // type and permissions, set-id and sticky bits included
	UID    uint32
	GID    uint32
	MTime  time.Time
	Target string // of a symbolic link
	Size   int64  // bytes of a file; filled by the Builder from the real data
}

// Limits bound an image. Zero means no bound.
type Limits struct {
	Entries int   // directories that entries imply count too
	Bytes   int64 // real bytes of all data added, replaced and removed files included
}

// Builder collects the entries of one image. Data goes to an unlinked spool file.
type Builder struct {
	limits  Limits
	root    *node
	entries int
	bytes   int64 // added so far, replaced files included: a bomb cannot hide behind itself
	spool   *os.File
}

// New returns an empty Builder whose spool lies in dir.
func New(dir string, limits Limits) (*Builder, error) {
	spool, err := os.CreateTemp(dir, ".spool-*")
	if err != nil {
		return nil, fmt.Errorf("create spool: %w", err)
	}
	if err := os.Remove(spool.Name()); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	root := &node{entry: Entry{Mode: fs.ModeDir | 0o755, MTime: time.Unix(0, 0)}, children: map[string]*node{}}
	return &Builder{limits: limits, root: root, spool: spool}, nil
}

// Close frees the spool. It may be called more than once.
func (b *Builder) Close() error {
	if b.spool == nil {
		return nil
	}
	err := b.spool.Close()
	b.spool = nil
	return err
}

// Add puts an entry into the image and reads a file's data to its end. Missing parents are
// made (root:root 0755); links among them are followed inside the image. An entry that exists
// is replaced, but a directory added over a directory keeps its children.
func (b *Builder) Add(e Entry, data io.Reader) error {
	switch e.Mode.Type() {
	case 0, fs.ModeDir, fs.ModeSymlink:
	default:
		return fmt.Errorf("%s is a %s: %w", e.Path, e.Mode.Type(), ErrBadEntry)
	}
	if e.Mode.Type() == fs.ModeSymlink {
		if err := checkTarget(e.Target); err != nil {
			return fmt.Errorf("link %s: %w", e.Path, err)
		}
	}
	parent, name, err := b.parent(e.Path)
	if err != nil {
		return err
	}
	n := &node{entry: e}
	if e.Mode.IsRegular() && data != nil {
		if n.offset, n.entry.Size, err = b.copyIn(e.Path, data); err != nil {
			return err
		}
	}
	return b.put(parent, name, n)
}

// Link makes a second name of a file that is in the image already. EROFS could share the inode;
// the writer below cannot, so the data is written twice and counts twice.
func (b *Builder) Link(name, old string) error {
	n, err := b.find(old)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if n.entry.Mode.IsDir() {
		return fmt.Errorf("link %s to directory %s: %w", name, old, ErrBadEntry)
	}
	parent, base, err := b.parent(name)
	if err != nil {
		return err
	}
	if err := b.count(n.entry.Size); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return b.put(parent, base, &node{entry: n.entry, offset: n.offset})
}

// Remove takes an entry and what is below it out of the image; a name that is absent is no error.
func (b *Builder) Remove(name string) error {
	parent, base, err := b.parent(name)
	if err != nil || base == "" {
		return err
	}
	if n, ok := parent.children[base]; ok {
		b.entries -= n.size()
		delete(parent.children, base)
	}
	return nil
}

// RemoveChildren empties a directory; a name that is absent or no directory is no error.
func (b *Builder) RemoveChildren(name string) {
	n, err := b.find(name)
	if err != nil || !n.entry.Mode.IsDir() {
		return
	}
	b.entries -= n.size() - 1
	clear(n.children)
}

// Lookup returns the entry at name, following links inside the image. The path of the result is name.
func (b *Builder) Lookup(name string) (Entry, bool) {
	n, err := b.find(name)
	if err != nil {
		return Entry{}, false
	}
	e := n.entry
	e.Path = name
	return e, true
}

// Open returns the data of the file at name, following links inside the image.
func (b *Builder) Open(name string) (io.Reader, error) {
	n, err := b.find(name)
	if err != nil {
		return nil, err
	}
	if !n.entry.Mode.IsRegular() {
		return nil, fmt.Errorf("%s is no file: %w", name, ErrBadEntry)
	}
	return io.NewSectionReader(b.spool, n.offset, n.entry.Size), nil
}

// Entries returns how many entries the image has, its root aside; Bytes what was added so far.
func (b *Builder) Entries() int { return b.entries }

// Bytes returns how many bytes of data were added so far.
func (b *Builder) Bytes() int64 { return b.bytes }

func (b *Builder) copyIn(name string, data io.Reader) (offset, size int64, err error) {
	offset, err = b.spool.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, 0, err
	}
	if b.limits.Bytes > 0 { // one byte more than allowed is enough to know
		data = io.LimitReader(data, b.limits.Bytes-b.bytes+1)
	}
	size, err = io.Copy(b.spool, data)
	if err != nil {
		return 0, 0, fmt.Errorf("read %s: %w", name, err)
	}
	if err := b.count(size); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", name, err)
	}
	return offset, size, nil
}

func (b *Builder) count(size int64) error {
	b.bytes += size
	if b.limits.Bytes > 0 && b.bytes > b.limits.Bytes {
		return ErrTooLarge
	}
	return nil
}

// Overwrite gives the file at name, links followed, other data. It must exist.
func (b *Builder) Overwrite(name string, data io.Reader) error {
	n, err := b.find(name)
	if err != nil {
		return err
	}
	if !n.entry.Mode.IsRegular() {
		return fmt.Errorf("%s is no file: %w", name, ErrBadEntry)
	}
	n.offset, n.entry.Size, err = b.copyIn(name, data)
	return err
}
