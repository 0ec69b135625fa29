package code

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"

	"lambent.dev/lambent/internal/blob"
	images "lambent.dev/lambent/internal/erofs"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	blobs, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: t.TempDir(), Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type file struct {
	name, data string
	mode       fs.FileMode
	plain      bool // without Unix attributes, as Windows makes them
}

func makeZip(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Unix(1e9, 0)}
		if !f.plain {
			h.SetMode(f.mode)
		}
		data, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(data, f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// contents lists an image: "path mode data".
func contents(t testing.TB, s *Store, d blob.Digest) []string {
	t.Helper()
	path, release, err := s.Image(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root, err := erofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*erofs.Stat)
		if name == "." {
			if stat.Mode != fs.ModeDir|0o755 {
				t.Errorf("the root is %v", stat.Mode)
			}
			return nil
		}
		if stat.UID != 0 || stat.GID != 0 {
			t.Errorf("%s belongs to %d:%d", name, stat.UID, stat.GID)
		}
		line := name + " " + stat.Mode.String()
		switch {
		case info.Mode().IsRegular():
			data, err := fs.ReadFile(root, name)
			if err != nil {
				return err
			}
			line += " " + string(data)
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := fs.ReadLink(root, name)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestZips(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []file
		want  []string
	}{
		{"modes are kept", []file{{name: "bootstrap", mode: 0o755, data: "b"}, {name: "a.py", mode: 0o600, data: "a"}},
			[]string{"a.py -rw------- a", "bootstrap -rwxr-xr-x b"}},
		{"no modes", []file{{name: "d/", plain: true}, {name: "d/a.py", plain: true, data: "a"}},
			[]string{"d drwxr-xr-x", "d/a.py -rw-r--r-- a"}},
		{"set-id bits", []file{{name: "su", mode: fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | 0o755}},
			[]string{"su -rwxr-xr-x "}},
		{"absolute", []file{{name: "/etc/passwd", mode: 0o644, data: "x"}},
			[]string{"etc drwxr-xr-x", "etc/passwd -rw-r--r-- x"}},
		{"dots that stay inside", []file{{name: "a/../b/./c", mode: 0o644, data: "x"}},
			[]string{"b drwxr-xr-x", "b/c -rw-r--r-- x"}},
		{"duplicates", []file{{name: "a", mode: 0o644, data: "1"}, {name: "a", mode: 0o600, data: "2"}},
			[]string{"a -rw------- 2"}},
		{"file and directory of one name", []file{{name: "a", mode: 0o644, data: "1"}, {name: "a/", mode: fs.ModeDir | 0o755}, {name: "a/b", mode: 0o644}},
			[]string{"a drwxr-xr-x", "a/b -rw-r--r-- "}},
		{"links stay links", []file{{name: "l", mode: fs.ModeSymlink | 0o777, data: "/etc/shadow"}, {name: "up", mode: fs.ModeSymlink | 0o777, data: "../../.."}},
			[]string{"l Lrwxrwxrwx -> /etc/shadow", "up Lrwxrwxrwx -> ../../.."}},
		{"through a link out", []file{{name: "l", mode: fs.ModeSymlink | 0o777, data: "/etc"}, {name: "l/passwd", mode: 0o644, data: "x"}},
			[]string{"etc drwxr-xr-x", "etc/passwd -rw-r--r-- x", "l Lrwxrwxrwx -> /etc"}},
		{"devices and pipes", []file{{name: "null", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}, {name: "p", mode: fs.ModeNamedPipe | 0o666}, {name: "a", mode: 0o644}},
			[]string{"a -rw-r--r-- "}},
		{"backslashes are letters", []file{{name: `d\a.py`, mode: 0o644}}, []string{`d\a.py -rw-r--r-- `}},
		{"the root's own entry", []file{{name: "./", mode: fs.ModeDir | 0o700}, {name: "./a", mode: 0o644}}, []string{"a -rw-r--r-- "}},
		{"only directories", []file{{name: "d/", mode: fs.ModeDir | 0o700}}, []string{"d drwx------"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			data := makeZip(t, c.files...)
			p, err := s.Put(context.Background(), data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, contents(t, s, p.Digest)); diff != "" {
				t.Error(diff)
			}
			f, err := s.Open(p.Digest)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if back, err := io.ReadAll(f); err != nil || !bytes.Equal(back, data) || p.Size != int64(len(data)) {
				t.Errorf("%d bytes of %d came back, %v", len(back), p.Size, err)
			}
		})
	}
}

// lie changes the sizes that a zip's directory and headers declare.
func lie(data []byte, size uint32) []byte {
	data = bytes.Clone(data)
	for at := 0; ; at += 4 {
		i := bytes.Index(data[at:], []byte("PK\x01\x02"))
		if i < 0 {
			return data
		}
		at += i
		binary.LittleEndian.PutUint32(data[at+24:], size)
	}
}

func TestAttacks(t *testing.T) {
	good := makeZip(t, file{name: "a", mode: 0o644, data: strings.Repeat("data", 1000)})
	bomb := func() []byte {
		var files []file
		for i := range 3 {
			files = append(files, file{name: fmt.Sprint(i), mode: 0o644, data: strings.Repeat("\x00", 1<<20)})
		}
		return makeZip(t, files...)
	}
	many := func(n int, name string) []byte {
		files := make([]file, n)
		for i := range files {
			files[i] = file{name: fmt.Sprintf(name, i), mode: 0o644}
		}
		return makeZip(t, files...)
	}
	for _, c := range []struct {
		name string
		zip  []byte
		want error
	}{
		{"not a zip", []byte("hello"), ErrNotZip},
		{"nothing", nil, ErrNotZip},
		{"empty", makeZip(t), ErrEmpty},
		{"cut", good[:len(good)-30], ErrNotZip},
		{"traversal", makeZip(t, file{name: "../x", mode: 0o644}), ErrNotZip},
		{"deep traversal", makeZip(t, file{name: "a/../../x", mode: 0o644}), ErrNotZip},
		{"NUL", makeZip(t, file{name: "a\x00b", mode: 0o644}), ErrNotZip},
		{"long name", makeZip(t, file{name: strings.Repeat("n", 300), mode: 0o644}), ErrNotZip},
		{"looping links", makeZip(t, file{name: "a", mode: fs.ModeSymlink | 0o777, data: "b"}, file{name: "b", mode: fs.ModeSymlink | 0o777, data: "a"}, file{name: "a/x", mode: 0o644}), ErrNotZip},
		{"long link", makeZip(t, file{name: "a", mode: fs.ModeSymlink | 0o777, data: strings.Repeat("x", 5000)}), ErrNotZip},
		{"declares less", lie(good, 10), ErrNotZip},
		{"declares more", lie(good, 1<<31), ErrNotZip},
		{"bomb", bomb(), ErrTooLarge},
		{"bomb that declares nothing", lie(bomb(), 0), ErrNotZip},
		{"entries", many(101, "%d"), ErrTooLarge},
		{"implied entries", many(51, "%d/x"), ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			s.limits = images.Limits{Entries: 100, Bytes: 2 << 20}
			if _, err := s.Put(context.Background(), c.zip); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestLimit: AWS's limit is "smaller than".
func TestLimit(t *testing.T) {
	s := newStore(t)
	if want := (images.Limits{Entries: 100_000, Bytes: 262143999}); s.limits != want {
		t.Errorf("limits %+v, want %+v", s.limits, want)
	}
	s.limits.Bytes = 999
	for size, want := range map[int]error{1000: ErrTooLarge, 999: nil} {
		data := makeZip(t, file{name: "a", mode: 0o644, data: strings.Repeat("x", size)})
		if _, err := s.Put(context.Background(), data); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestRebuild: an image that was swept comes back from the zip.
func TestRebuild(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	p, err := s.Put(ctx, makeZip(t, file{name: "a", mode: 0o644, data: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := s.Image(ctx, p.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		keep bool
		want int
	}{{false, 0}, {true, 0}, {false, 1}} {
		n, err := s.Sweep(ctx, func(d blob.Digest) bool { return c.keep && d == p.Digest }, 0)
		if err != nil || n != c.want {
			t.Errorf("%+v: swept %d, %v", c, n, err)
		}
		release()
	}
	if got := contents(t, s, p.Digest); !slices.Equal(got, []string{"a -rw-r--r-- x"}) {
		t.Error(got)
	}
	if _, _, err := s.Image(ctx, blob.Digest(strings.Repeat("0", 64))); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown digest: %v", err)
	}
}

// FuzzZip: whatever the bytes, there is an error of ours or an image that can be read to its end.
func FuzzZip(f *testing.F) {
	good := makeZip(f, file{name: "d/a", mode: 0o644, data: strings.Repeat("x", 100)}, file{name: "l", mode: fs.ModeSymlink | 0o777, data: "d"}, file{name: "l/b", mode: 0o755, data: "b"})
	f.Add(good)
	f.Add(lie(good, 5))
	f.Add(makeZip(f))
	f.Add(makeZip(f, file{name: "../x", mode: 0o644}))
	f.Add(makeZip(f, file{name: "a", mode: fs.ModeSymlink | 0o777, data: "a"}, file{name: "a/x", mode: 0o644}))
	s := newStore(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := s.Put(context.Background(), data)
		switch {
		case err == nil:
			contents(t, s, p.Digest)
		case !errors.Is(err, ErrNotZip) && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrTooLarge):
			t.Errorf("not one of ours: %v", err)
		}
	})
}
