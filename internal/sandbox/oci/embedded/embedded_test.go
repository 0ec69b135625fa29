package embedded

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestUnpack: once per contents, whole, executable by all; damage is repaired.
func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	program := bytes.Repeat([]byte("program "), 300_000)
	var g errgroup.Group
	paths := make([]string, 4)
	for i := range paths {
		g.Go(func() (err error) {
			paths[i], err = unpack(dir, sum(program), program)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	path := paths[0]
	check := func(when string) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, program) {
			t.Errorf("%s: %d bytes, %v", when, len(got), err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", when, st.Mode(), err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
			t.Errorf("%s: files %v", when, left)
		}
	}
	check("unpacked")
	if err := os.WriteFile(path, program[:len(program)-1], 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(dir, sum(program), program); err != nil {
		t.Fatal(err)
	}
	check("cut short")
	before, _ := os.Stat(path)
	if _, err := unpack(dir, sum(program), program); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("written again although it was right")
	}
	other, err := unpack(dir, sum([]byte("another")), []byte("another"))
	if err != nil || other == path {
		t.Errorf("another version at %s, %v", other, err)
	}
	if err := removeOthers(dir, other); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || filepath.Join(dir, left[0].Name()) != filepath.Dir(other) {
		t.Errorf("versions %v, want only the last one", left)
	}
}

// TestBrokenBuild: what does not have the digest it is said to have is not written.
func TestBrokenBuild(t *testing.T) {
	dir := t.TempDir()
	if path, err := unpack(dir, sum([]byte("one")), []byte("another")); err == nil {
		t.Errorf("unpacked to %s", path)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func TestFindNothing(t *testing.T) {
	if len(binary) > 0 {
		t.Skip("a runtime is embedded")
	}
	t.Chdir(t.TempDir())
	if p, err := Find(Options{Dir: t.TempDir(), FromSource: true}); !errors.Is(err, ErrNotFound) {
		t.Errorf("found %q, %v", p, err)
	}
}
