package statedir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenKeepsWhatItMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	a, err := Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Account) != 12 || len(a.Instance) != 8 || a.Key == [32]byte{} {
		t.Errorf("got %+v", a)
	}
	if _, err := Open(path, ""); !errors.Is(err, ErrLocked) {
		t.Errorf("a second server: %v, want ErrLocked", err)
	}
	a.Close()
	b, err := Open(path, a.Account)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Account != a.Account || b.Instance != a.Instance || b.Key != a.Key {
		t.Error("the second start has other values than the first")
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Run("newer format", func(t *testing.T) {
		path := t.TempDir()
		write(t, path, "format", "2")
		if _, err := Open(path, ""); !errors.Is(err, ErrNewer) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another account", func(t *testing.T) {
		path := t.TempDir()
		write(t, path, "account", "111122223333")
		if _, err := Open(path, "444455556666"); err == nil || !strings.Contains(err.Error(), "belongs to account 111122223333") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("damaged key", func(t *testing.T) {
		path := t.TempDir()
		if err := os.Mkdir(filepath.Join(path, "keys"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, "keys/region", "abc")
		if _, err := Open(path, ""); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("got %v", err)
		}
	})
}

func TestWriteProfile(t *testing.T) {
	d, err := Open(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.WriteProfile(Profile{"AKIAX", "s3cret", "us-east-1", "http://127.0.0.1:4566"}, Owner{os.Getuid(), os.Getgid()}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"credentials", "config"} {
		if info, err := os.Stat(filepath.Join(d.Path, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLeftovers: a write that was cut short leaves nothing behind the next start.
func TestLeftovers(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	left := []string{filepath.Join(path, ".new-123"), filepath.Join(path, "keys", ".new-456")}
	for _, name := range left {
		if err := os.WriteFile(name, []byte("half a key"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d, err = Open(path, ""); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range left {
		if _, err := os.Stat(name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}
