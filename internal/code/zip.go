package code

import (
	"archive/zip"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"lambent.dev/lambent/internal/erofs"
)

const maxTarget = 4095 // bytes of a symbolic link's target

// fill unpacks a zip into b. Only what unpacking really yields is believed: declared sizes are
// bounds for nothing. Names are taken as Linux names; leading slashes are dropped, a name that
// climbs out of the root is refused, the last of duplicates wins. Links are kept, wherever they
// point: inside a sandbox there is nothing to reach by them. Set-id bits are dropped.
func (s *Store) fill(ctx context.Context, b *erofs.Builder, r io.ReaderAt, size int64) error {
	// The section turns offsets that lead out of the file, negative ones too, into io.EOF.
	z, err := zip.NewReader(io.NewSectionReader(r, 0, size), size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("%w: %w", ErrNotZip, err)
	}
	if len(z.File) == 0 {
		return ErrEmpty
	}
	if len(z.File) > s.limits.Entries {
		return fmt.Errorf("%d entries: %w", len(z.File), ErrTooLarge)
	}
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := add(b, f); err != nil {
			return fmt.Errorf("unzip %.200q: %w", f.Name, classify(err))
		}
	}
	return nil
}

func add(b *erofs.Builder, f *zip.File) error {
	depth, err := checkName(f.Name)
	if err != nil {
		return err
	}
	if depth == 0 {
		return nil // "./": AWS: /var/task itself is root's and 0755, whatever the zip says
	}
	e := erofs.Entry{Path: f.Name, Mode: mode(f), MTime: f.Modified}
	if f.Modified.Year() < 1980 { // a zip without a time
		e.MTime = time.Unix(0, 0)
	}
	switch e.Mode.Type() {
	case fs.ModeDir:
		return b.Add(e, nil)
	case 0, fs.ModeSymlink:
	default: // devices, pipes, sockets: no use in a package, and no good
		return nil
	}
	data, err := f.Open()
	if err != nil {
		return err
	}
	defer data.Close()
	if e.Mode.Type() == fs.ModeSymlink {
		target, err := io.ReadAll(io.LimitReader(data, maxTarget+1))
		if err != nil {
			return err
		}
		e.Target = string(target)
		return b.Add(e, nil)
	}
	return b.Add(e, data)
}

// checkName says how deep below the root an entry lies.
func checkName(name string) (depth int, err error) {
	if name == "" || strings.ContainsRune(name, 0) {
		return 0, fmt.Errorf("name %q: %w", name, erofs.ErrBadEntry)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return 0, fmt.Errorf("name leaves the package: %w", erofs.ErrBadEntry)
			}
		default:
			depth++
		}
	}
	return depth, nil
}

// mode is the type and the permissions of an entry.
//
// AWS: permissions are those of the zip, so a bootstrap without its execute bit does not start;
// a zip made where there are none (creator FAT, NTFS) gives files 0644 and directories 0755.
func mode(f *zip.File) fs.FileMode {
	const creatorUnix, creatorMacOS = 3, 19
	m := f.Mode()
	if creator := f.CreatorVersion >> 8; creator != creatorUnix && creator != creatorMacOS || f.ExternalAttrs>>16 == 0 {
		m = 0o644
		if strings.HasSuffix(f.Name, "/") {
			m = 0o755
		}
	}
	if strings.HasSuffix(f.Name, "/") { // a name that ends so is a directory whatever its mode says
		return fs.ModeDir | m.Perm()
	}
	return m &^ (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}

func classify(err error) error {
	switch {
	case errors.Is(err, erofs.ErrTooLarge), errors.Is(err, erofs.ErrTooManyEntries):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, erofs.ErrBadEntry), errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrChecksum),
		errors.Is(err, zip.ErrAlgorithm), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), broken(err):
		return fmt.Errorf("%w: %w", ErrNotZip, err)
	}
	return err
}

// broken says whether decompression met bytes that are no deflate stream.
func broken(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.As(err, &corrupt)
}
