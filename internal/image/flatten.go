package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent/internal/erofs"
)

// inspect reads an image's digest and settings and checks that its configuration is the one its
// manifest names and fits this machine.
func inspect(img v1.Image) (digest string, settings Settings, err error) {
	d, err := img.Digest()
	if err != nil {
		return "", Settings{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		return "", Settings{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if manifest.Config.Size > maxDocument {
		return "", Settings{}, fmt.Errorf("configuration of %d bytes: %w", manifest.Config.Size, ErrTooLarge)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return "", Settings{}, fmt.Errorf("read configuration: %w", err)
	}
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != manifest.Config.Digest.Hex {
		return "", Settings{}, fmt.Errorf("configuration is not %s: %w", manifest.Config.Digest, ErrCorrupt)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return "", Settings{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if p := platform(); file.OS != "" && file.OS != p.OS || file.Architecture != "" && file.Architecture != p.Architecture {
		return "", Settings{}, fmt.Errorf("image is for %s/%s: %w", file.OS, file.Architecture, ErrPlatform)
	}
	if len(file.RootFS.DiffIDs) != len(manifest.Layers) {
		return "", Settings{}, fmt.Errorf("%d layers, %d digests: %w", len(manifest.Layers), len(file.RootFS.DiffIDs), ErrCorrupt)
	}
	c := file.Config
	return d.String(), Settings{Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir, User: c.User}, nil
}

// flatten applies an image's layers in order and furnishes the result.
func (s *Store) flatten(ctx context.Context, b *erofs.Builder, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	for i, layer := range layers {
		if err := s.applyLayer(ctx, b, layer, file.RootFS.DiffIDs[i]); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return furnish(b, s.config.CA)
}

// applyLayer reads one layer and compares its bytes with the digest that the configuration
// promises: with the digests of configuration and manifest that is a chain to the image's own.
func (s *Store) applyLayer(ctx context.Context, b *erofs.Builder, layer v1.Layer, want v1.Hash) (err error) {
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	sum := sha256.New()
	// Data that no entry keeps (skipped files, headers, padding) is bounded here.
	bounded := &io.LimitedReader{R: until(ctx, r), N: 2*s.config.MaxBytes + 1}
	tee := io.TeeReader(bounded, sum)
	err = b.AddTar(tee)
	if err == nil {
		_, err = io.Copy(io.Discard, tee)
	}
	if bounded.N <= 0 {
		return ErrTooLarge
	}
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.Hex {
		return fmt.Errorf("contents are %s, not %s: %w", got, want.Hex, ErrCorrupt)
	}
	return nil
}

// readerFunc is a Read method on its own.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// until ends a long copy when nobody waits for it any more.
func until(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}
