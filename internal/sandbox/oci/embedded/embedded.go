// Package embedded finds the OCI runtime that belongs to this program.
//
// A release carries lambent-runsc inside itself (build tag lambent_embed, set by
// `make build`); Unpack writes it to disk once per version. Without the tag the
// runtime is a file beside the executable, and for tests in the source tree's bin.
package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Name is the file name of the runtime.
const Name = "lambent-runsc"

// ErrNotFound is returned when there is no runtime to be had.
var ErrNotFound = errors.New("the sandbox runtime " + Name + " was not found")

// Options change where Find looks.
type Options struct {
	// Dir is where an embedded runtime is unpacked: Dir/<digest>/runsc. It is not
	// used when none is embedded.
	Dir string
	// FromSource also looks in bin/ of the module that contains the working
	// directory, for tests.
	FromSource bool
}

// Find returns the path of the runtime, unpacking it first if it is embedded.
func Find(o Options) (string, error) {
	if len(binary) > 0 && o.Dir != "" {
		path, err := unpack(o.Dir, strings.TrimSpace(digest), binary)
		if err != nil {
			return "", err
		}
		return path, removeOthers(o.Dir, path)
	}
	var tried []string
	if exe, err := os.Executable(); err == nil {
		tried = append(tried, filepath.Join(filepath.Dir(exe), Name))
	}
	if o.FromSource {
		if root, ok := moduleRoot(); ok {
			tried = append(tried, filepath.Join(root, "bin", Name))
		}
	}
	for _, p := range tried {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: tried %q", ErrNotFound, tried)
}

// moduleRoot is the nearest directory above the working directory with a go.mod.
func moduleRoot() (string, bool) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, true
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return "", false
}

// unpack writes program to dir/<digest>/runsc unless it is there. The file appears whole or not at
// all, and concurrent calls agree. What is there is not read again: that would be 36 MB of the disk
// and as many of memory, at every start.
func unpack(dir, digest string, program []byte) (_ string, err error) {
	dir = filepath.Join(dir, digest)
	path := filepath.Join(dir, "runsc")
	if st, err := os.Stat(path); err == nil && st.Mode() == 0o755 && st.Size() == int64(len(program)) {
		return path, nil
	}
	if sum := sha256.Sum256(program); hex.EncodeToString(sum[:]) != digest {
		return "", fmt.Errorf("unpack runtime: it has digest %x, not %s: the build is broken", sum, digest)
	}
	// runsc runs itself as nobody.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("unpack runtime: %w", err)
	}
	f, err := os.CreateTemp(dir, ".runsc-*")
	if err != nil {
		return "", fmt.Errorf("unpack runtime: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			err = fmt.Errorf("unpack runtime: %w", err)
		}
	}()
	_, err = f.Write(program)
	err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close())
	if err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

// unpacking takes less than this.
const unpacking = time.Minute

// removeOthers removes the versions that earlier releases unpacked, and what an unpacking that was
// cut short left. Sandboxes that still run one keep it until they end.
func removeOthers(dir, path string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove old runtimes: %w", err)
	}
	for _, e := range entries {
		if old := filepath.Join(dir, e.Name()); old != filepath.Dir(path) {
			if err := os.RemoveAll(old); err != nil {
				return fmt.Errorf("remove old runtimes: %w", err)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".runsc-*"))
	if err != nil {
		return err
	}
	for _, name := range left {
		if info, err := os.Stat(name); err != nil || time.Since(info.ModTime()) < unpacking {
			continue // gone, or another server's that is at it
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove half a runtime: %w", err)
		}
	}
	return nil
}
