package erofs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"
)

// AddFS copies src below dir, owned by root, with the times given: an embedded file system has
// none, and a checkout's would change the image at every clone.
func (b *Builder) AddFS(dir string, src fs.FS, mtime time.Time) error {
	return fs.WalkDir(src, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := Entry{Path: path.Join(dir, name), Mode: info.Mode(), MTime: mtime}
		switch info.Mode().Type() {
		case fs.ModeDir:
			return b.Add(e, nil)
		case fs.ModeSymlink:
			if e.Target, err = fs.ReadLink(src, name); err != nil {
				return err
			}
			return b.Add(e, nil)
		case 0:
			return b.addFile(e, src, name)
		}
		return fmt.Errorf("%s is a %s: %w", name, info.Mode().Type(), ErrBadEntry)
	})
}

func (b *Builder) addFile(e Entry, src fs.FS, name string) error {
	f, err := src.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return b.Add(e, io.Reader(f))
}
