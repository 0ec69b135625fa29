package runtimes

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"lambent.dev/lambent/internal/image"
)

const (
	maxArchive = 64 << 30 // bytes of an imported archive's files
	maxBlobs   = 10_000   // files of an imported archive
)

// ErrArchive is returned for an archive that is no OCI layout.
var ErrArchive = errors.New("not an archive of an OCI image layout")

func sorted(names image.Names) []string { return slices.Sorted(maps.Keys(names)) }

// Export writes the named images of a layout, or all of them, as a tar of an OCI layout.
func Export(ctx context.Context, layoutDir string, names []string, w io.Writer) error {
	from := image.Layout{Dir: layoutDir}
	there, err := from.Names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = sorted(there)
	}
	tmp, err := os.MkdirTemp(layoutDir, ".export-")
	if err != nil {
		return fmt.Errorf("export runtimes: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // hard to leave anything worth an error
	to := image.Layout{Dir: tmp}
	for _, name := range names {
		if err := copyImage(ctx, from, to, name); err != nil {
			return fmt.Errorf("export %s: %w", name, err)
		}
	}
	t := tar.NewWriter(w)
	for _, pattern := range []string{"oci-layout", "index.json", "blobs/sha256/*"} {
		files, err := filepath.Glob(filepath.Join(tmp, pattern))
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			rel, err := filepath.Rel(tmp, f)
			if err != nil {
				return err
			}
			if err := exportFile(t, f, rel); err != nil {
				return fmt.Errorf("export runtimes: %w", err)
			}
		}
	}
	return t.Close()
}

func exportFile(t *tar.Writer, full, name string) error {
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size(), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

// Import reads a tar of an OCI layout and puts its named images into the layout, in place of
// those that have the names. Every blob is checked against its digest first.
func Import(ctx context.Context, layoutDir string, r io.Reader) (names []string, err error) {
	if err := os.MkdirAll(layoutDir, 0o755); err != nil {
		return nil, fmt.Errorf("import runtimes: %w", err)
	}
	tmp, err := os.MkdirTemp(layoutDir, ".import-")
	if err != nil {
		return nil, fmt.Errorf("import runtimes: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // as above
	if err := unpack(ctx, tmp, r); err != nil {
		return nil, fmt.Errorf("import runtimes: %w", err)
	}
	from := image.Layout{Dir: tmp}
	there, err := from.Names()
	if err != nil {
		return nil, err
	}
	if len(there) == 0 {
		return nil, fmt.Errorf("import runtimes: no named image: %w", ErrArchive)
	}
	names = sorted(there)
	for _, name := range names {
		if err := copyImage(ctx, from, image.Layout{Dir: layoutDir}, name); err != nil {
			return nil, fmt.Errorf("import %s: %w", name, err)
		}
	}
	return names, nil
}

func copyImage(ctx context.Context, from, to image.Layout, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	img, desc, err := from.Find(name)
	if err != nil {
		return err
	}
	return to.Put(name, img, desc.Annotations)
}

var blobName = regexp.MustCompile(`^blobs/sha256/[0-9a-f]{64}$`)

// unpack takes only the files that a layout has; a blob must have the digest it is named by.
func unpack(ctx context.Context, dir string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	t := tar.NewReader(io.LimitReader(r, maxArchive))
	for files := 0; ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || name != "oci-layout" && name != "index.json" && !blobName.MatchString(name) {
			continue
		}
		if files++; files > maxBlobs {
			return fmt.Errorf("more than %d files: %w", maxBlobs, ErrArchive)
		}
		if err := unpackFile(filepath.Join(dir, name), t, blobName.MatchString(name)); err != nil {
			return err
		}
	}
}

func unpackFile(name string, r io.Reader, blob bool) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), r)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); blob && got != filepath.Base(name) {
		return fmt.Errorf("blob %s is %s: %w", filepath.Base(name), got, ErrArchive)
	}
	return nil
}
