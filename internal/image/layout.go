package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// nameAnnotation is where the OCI layout specification puts an image's name.
const nameAnnotation = "org.opencontainers.image.ref.name"

// Layout is an OCI image layout: a directory of blobs by digest and an index.json that names
// them. Changes replace index.json whole, under a lock, so a reader in any process sees the
// old or the new one. A directory that does not exist is an empty layout.
type Layout struct{ Dir string }

// Find returns the image called name, for this machine's platform if the name is of an index.
func (l Layout) Find(name string) (v1.Image, v1.Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	for _, desc := range slices.Backward(index.Manifests) { // the newest of a name wins
		if desc.Annotations[nameAnnotation] != name {
			continue
		}
		img, err := l.open(desc)
		return img, desc, err
	}
	return nil, v1.Descriptor{}, fmt.Errorf("%q in layout %s: %w", name, l.Dir, ErrNotFound)
}

// Names are the descriptors of a layout's index by name.
type Names map[string]v1.Descriptor

// Names lists the images that have a name.
func (l Layout) Names() (Names, error) {
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	names := Names{}
	for _, desc := range index.Manifests {
		if name := desc.Annotations[nameAnnotation]; name != "" {
			names[name] = desc
		}
	}
	return names, nil
}

// Put writes an image under name, with more annotations, in place of what had that name.
func (l Layout) Put(name string, img v1.Image, annotations map[string]string) error {
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return fmt.Errorf("put image %s: %w", name, err)
	}
	unlock, err := l.lock()
	if err != nil {
		return fmt.Errorf("put image %s: %w", name, err)
	}
	defer unlock()
	if err := l.writeImage(img); err != nil {
		return fmt.Errorf("put image %s: %w", name, err)
	}
	desc, err := partial.Descriptor(img)
	if err != nil {
		return fmt.Errorf("put image %s: %w", name, err)
	}
	desc.ArtifactType = "" // the library sets it for images that are no artifacts
	desc.Annotations = map[string]string{nameAnnotation: name}
	for k, v := range annotations {
		desc.Annotations[k] = v
	}
	desc.Platform = &v1.Platform{OS: "linux", Architecture: platform().Architecture}
	index, err := l.index()
	if err != nil {
		return err
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Annotations[nameAnnotation] == name })
	index.Manifests = append(index.Manifests, *desc)
	if err := l.replaceIndex(index); err != nil {
		return fmt.Errorf("put image %s: %w", name, err)
	}
	return l.collect(index)
}

func (l Layout) writeImage(img v1.Image) error {
	if err := l.path().WriteImage(img); err != nil {
		return err
	}
	// The library renames layers into place but writes these two as they come, and would take
	// what a crash left of them for whole.
	config, err := img.ConfigName()
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	for hash, read := range map[v1.Hash]func() ([]byte, error){config: img.RawConfigFile, digest: img.RawManifest} {
		b, err := read()
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(l.Dir, "blobs", hash.Algorithm, hash.Hex), b); err != nil {
			return err
		}
	}
	return nil
}

func (l Layout) path() layout.Path {
	p, err := layout.FromPath(l.Dir)
	if err != nil { // no index.json yet: the path is usable all the same
		return layout.Path(l.Dir)
	}
	return p
}

func (l Layout) index() (*v1.IndexManifest, error) {
	b, err := os.ReadFile(filepath.Join(l.Dir, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read layout: %w", err)
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w: %w", l.Dir, ErrCorrupt, err)
	}
	return index, nil
}

// open reads the image of a descriptor; an index leads to the image for this platform.
func (l Layout) open(desc v1.Descriptor) (v1.Image, error) {
	if desc.MediaType.IsIndex() {
		ii, err := l.path().ImageIndex()
		if err != nil {
			return nil, err
		}
		sub, err := ii.ImageIndex(desc.Digest)
		if err != nil {
			return nil, err
		}
		m, err := sub.IndexManifest()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		i := slices.IndexFunc(m.Manifests, func(d v1.Descriptor) bool { return d.Platform != nil && d.Platform.Satisfies(platform()) })
		if i < 0 {
			return nil, ErrPlatform
		}
		desc = m.Manifests[i]
		return l.check(sub.Image(desc.Digest))(desc)
	}
	return l.check(l.path().Image(desc.Digest))(desc)
}

// check compares an image's manifest with the descriptor that led to it.
func (l Layout) check(img v1.Image, err error) func(v1.Descriptor) (v1.Image, error) {
	return func(desc v1.Descriptor) (v1.Image, error) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		digest, err := img.Digest()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if digest != desc.Digest {
			return nil, fmt.Errorf("manifest %s is %s: %w", desc.Digest, digest, ErrCorrupt)
		}
		return img, nil
	}
}

func (l Layout) replaceIndex(index *v1.IndexManifest) error {
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(l.Dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	return writeFile(filepath.Join(l.Dir, "index.json"), b)
}

// lock keeps other writers out, in this process and in others.
func (l Layout) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(l.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks; nothing was written
}

// collect removes the blobs that no manifest of the index leads to.
func (l Layout) collect(index *v1.IndexManifest) error {
	used := map[string]bool{}
	for _, desc := range index.Manifests {
		if err := l.reach(desc, used); err != nil {
			return fmt.Errorf("collect layout: %w", err)
		}
	}
	dir := filepath.Join(l.Dir, "blobs", "sha256")
	blobs, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("collect layout: %w", err)
	}
	for _, b := range blobs {
		if used[b.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, b.Name())); err != nil {
			return fmt.Errorf("collect layout: %w", err)
		}
	}
	return nil
}

// reach marks desc's blob and those it leads to.
func (l Layout) reach(desc v1.Descriptor, used map[string]bool) error {
	used[desc.Digest.Hex] = true
	f, err := os.Open(filepath.Join(l.Dir, "blobs", desc.Digest.Algorithm, desc.Digest.Hex))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a sparse layout may lack it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	switch {
	case desc.MediaType.IsImage():
		m, err := v1.ParseManifest(io.LimitReader(f, maxDocument))
		if err != nil {
			return err
		}
		used[m.Config.Digest.Hex] = true
		for _, layer := range m.Layers {
			used[layer.Digest.Hex] = true
		}
	case desc.MediaType.IsIndex():
		m, err := v1.ParseIndexManifest(io.LimitReader(f, maxDocument))
		if err != nil {
			return err
		}
		for _, sub := range m.Manifests {
			if err := l.reach(sub, used); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeFile replaces a file whole and durably.
func writeFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
