package statedir

import (
	"errors"
	"io/fs"
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

// TestMemory: the directory in memory is the same after a kill, goes with a graceful end when it is
// empty, and is not used when somebody else may have made it.
func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	open := func() *Dir {
		d, err := Open(path, "")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	where, err := d.Memory()
	if err != nil {
		t.Skip(err) // a host without one; the server does without
	}
	t.Cleanup(func() { _ = os.RemoveAll(where) })
	if again, err := d.Memory(); err != nil || again != where || filepath.Base(where) != "lambent-"+d.Instance {
		t.Errorf("%s, then %s, %v", where, again, err)
	}
	write(t, where, "needed", "")
	d.Close()
	d = open()
	if again, err := d.Memory(); err != nil || again != where {
		t.Errorf("%s, then %s, %v", where, again, err)
	}
	if _, err := os.Stat(filepath.Join(where, "needed")); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(where, "needed")); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := os.Stat(where); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	elsewhere := t.TempDir()
	for what, make := range map[string]func() error{
		"open to others":  func() error { return errors.Join(os.Mkdir(where, 0o755), os.Chmod(where, 0o755)) },
		"a link":          func() error { return os.Symlink(elsewhere, where) },
		"a file":          func() error { return os.WriteFile(where, nil, 0o700) },
		"somebody else's": func() error { return errors.Join(os.Mkdir(where, 0o700), os.Chown(where, 1, 1)) },
	} {
		if what == "somebody else's" && os.Geteuid() != 0 {
			continue
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		d := open()
		if got, err := d.Memory(); err == nil {
			t.Errorf("%s: %s is used", what, got)
		}
		d.Close()
		if _, err := os.Lstat(where); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.RemoveAll(where); err != nil {
			t.Fatal(err)
		}
	}
}
