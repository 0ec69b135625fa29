package erofs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// AddTar applies a layer of an OCI image: its entries replace earlier ones, whiteouts remove
// them, an opaque marker empties its directory of what earlier layers put there. Device nodes,
// pipes and sockets are left out: a sandbox has its own /dev.
func (b *Builder) AddTar(r io.Reader) error {
	// An opaque marker hides lower layers only, but may come after this layer's own entries:
	// what this layer added below a directory has to be known when its marker appears.
	mine := map[*node]bool{}
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if err := b.addHeader(h, t, mine); err != nil {
			return fmt.Errorf("apply layer: %w", err)
		}
	}
}

func (b *Builder) addHeader(h *tar.Header, data io.Reader, mine map[*node]bool) error {
	dir, base := path.Split(path.Clean("/" + h.Name))
	if base == opaque {
		return b.hide(dir, mine)
	}
	if removed, ok := strings.CutPrefix(base, whiteout); ok {
		if strings.HasPrefix(removed, whiteout) || removed == "" || removed == "." || removed == ".." {
			return nil // other ".wh..wh." names are bookkeeping of old graph drivers
		}
		return b.Remove(path.Join(dir, removed))
	}
	e := Entry{
		Path: h.Name, Mode: fs.FileMode(h.Mode & 0o777),
		UID: uint32(h.Uid), GID: uint32(h.Gid), MTime: h.ModTime, Target: h.Linkname,
	}
	for bit, flag := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if h.Mode&bit != 0 {
			e.Mode |= flag
		}
	}
	var err error
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse: // the reader turns the old TypeRegA into TypeReg
		err = b.Add(e, data)
	case tar.TypeDir:
		e.Mode |= fs.ModeDir
		err = b.Add(e, nil)
	case tar.TypeSymlink:
		e.Mode |= fs.ModeSymlink
		err = b.Add(e, nil)
	case tar.TypeLink:
		err = b.Link(h.Name, h.Linkname)
	default:
		return nil
	}
	if err == nil {
		b.mark(h.Name, mine)
	}
	return err
}

// mark notes that this layer put the entry at name.
func (b *Builder) mark(name string, mine map[*node]bool) {
	parent, base, err := b.parent(name)
	if err != nil {
		return
	}
	if n := parent.children[base]; n != nil {
		mine[n] = true
	}
}

// hide removes from dir everything that this layer did not put there.
func (b *Builder) hide(dir string, mine map[*node]bool) error {
	n, err := b.find(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b.prune(n, mine)
	return nil
}

// prune drops what is below n and not of this layer; a directory stays if anything below it stays.
func (b *Builder) prune(n *node, mine map[*node]bool) {
	for name, c := range n.children {
		b.prune(c, mine)
		if !mine[c] && len(c.children) == 0 {
			delete(n.children, name)
			b.entries--
		}
	}
}
