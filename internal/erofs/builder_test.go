package erofs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
)

func newBuilder(t *testing.T, limits Limits) *Builder {
	t.Helper()
	b, err := New(t.TempDir(), limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func add(t *testing.T, b *Builder, path, data string) {
	t.Helper()
	if err := b.Add(Entry{Path: path, Mode: 0o644}, strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, b *Builder, path, target string) {
	t.Helper()
	if err := b.Add(Entry{Path: path, Mode: fs.ModeSymlink | 0o777, Target: target}, nil); err != nil {
		t.Fatal(err)
	}
}

// write writes b's image and lists it with the library's reader: "path mode size target".
func list(t *testing.T, b *Builder) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.erofs")
	if err := b.WriteFile(name); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := erofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	err = fs.WalkDir(img, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		// FileInfo.Mode of this reader lacks the set-id and sticky bits.
		line := p + " " + info.Sys().(*erofs.Stat).Mode.String()
		switch {
		case info.Mode().IsRegular():
			if l := info.Sys().(*erofs.Stat).InodeLayout; l != 0 {
				t.Errorf("%s has layout %d: gVisor cannot map it", p, l)
			}
			data, err := fs.ReadFile(img, p)
			if err != nil {
				return err
			}
			if len(data) > 20 {
				data = data[:20]
			}
			line += " " + string(data)
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := fs.ReadLink(img, p)
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

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(*testing.T, *Builder)
		want  []string
	}{
		{"implied directories", func(t *testing.T, b *Builder) { add(t, b, "/a/b/c", "x") },
			[]string{"a drwxr-xr-x", "a/b drwxr-xr-x", "a/b/c -rw-r--r-- x"}},
		{"dots stay inside", func(t *testing.T, b *Builder) { add(t, b, "../../../etc/./x/../passwd", "x") },
			[]string{"etc drwxr-xr-x", "etc/passwd -rw-r--r-- x"}},
		{"the last of a name wins", func(t *testing.T, b *Builder) { add(t, b, "f", "1"); add(t, b, "f", "2") },
			[]string{"f -rw-r--r-- 2"}},
		{"through an absolute link", func(t *testing.T, b *Builder) {
			link(t, b, "lib", "/usr/lib")
			add(t, b, "lib/x", "x")
		}, []string{"lib Lrwxrwxrwx -> /usr/lib", "usr drwxr-xr-x", "usr/lib drwxr-xr-x", "usr/lib/x -rw-r--r-- x"}},
		{"through a climbing link", func(t *testing.T, b *Builder) {
			link(t, b, "a/out", "../../../../etc")
			add(t, b, "a/out/x", "x")
		}, []string{"a drwxr-xr-x", "a/out Lrwxrwxrwx -> ../../../../etc", "etc drwxr-xr-x", "etc/x -rw-r--r-- x"}},
		{"a directory keeps its children", func(t *testing.T, b *Builder) {
			add(t, b, "d/x", "x")
			if err := b.Add(Entry{Path: "d", Mode: fs.ModeDir | fs.ModeSticky | 0o777}, nil); err != nil {
				t.Fatal(err)
			}
		}, []string{"d dtrwxrwxrwx", "d/x -rw-r--r-- x"}},
		{"a file replaces a directory", func(t *testing.T, b *Builder) { add(t, b, "d/x", "x"); add(t, b, "d", "y") },
			[]string{"d -rw-r--r-- y"}},
		{"hard link", func(t *testing.T, b *Builder) {
			add(t, b, "a", "x")
			if err := b.Link("b", "/a"); err != nil {
				t.Fatal(err)
			}
		}, []string{"a -rw-r--r-- x", "b -rw-r--r-- x"}},
		{"overwritten through a link", func(t *testing.T, b *Builder) {
			add(t, b, "a", "x")
			link(t, b, "b", "a")
			if err := b.Overwrite("b", strings.NewReader("y")); err != nil {
				t.Fatal(err)
			}
		}, []string{"a -rw-r--r-- y", "b Lrwxrwxrwx -> a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, Limits{})
			c.build(t, b)
			if diff := cmp.Diff(c.want, list(t, b)); diff != "" {
				t.Error(diff)
			}
			if b.Entries() != len(c.want) {
				t.Errorf("%d entries counted, %d written", b.Entries(), len(c.want))
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit Limits
		entry Entry
		data  string
		want  error
	}{
		{"loop", Limits{}, Entry{Path: "loop/x"}, "", ErrBadEntry},
		{"through a file", Limits{}, Entry{Path: "file/x"}, "", ErrBadEntry},
		{"device", Limits{}, Entry{Path: "null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}, "", ErrBadEntry},
		{"pipe", Limits{}, Entry{Path: "p", Mode: fs.ModeNamedPipe}, "", ErrBadEntry},
		{"NUL", Limits{}, Entry{Path: "a\x00b"}, "", ErrBadEntry},
		{"long element", Limits{}, Entry{Path: strings.Repeat("n", 256)}, "", ErrBadEntry},
		{"long path", Limits{}, Entry{Path: strings.Repeat("n/", 2100)}, "", ErrBadEntry},
		{"long target", Limits{}, Entry{Path: "l", Mode: fs.ModeSymlink, Target: strings.Repeat("n", 4096)}, "", ErrBadEntry},
		{"empty target", Limits{}, Entry{Path: "l", Mode: fs.ModeSymlink}, "", ErrBadEntry},
		{"file as root", Limits{}, Entry{Path: "/.."}, "", ErrBadEntry},
		{"bytes", Limits{Bytes: 10}, Entry{Path: "x"}, "0123456789", ErrTooLarge},
		{"entries", Limits{Entries: 6}, Entry{Path: "a/b/c/d"}, "", ErrTooManyEntries},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, c.limit)
			link(t, b, "loop", "loop2")
			link(t, b, "loop2", "/loop")
			add(t, b, "file", "y")
			if err := b.Add(c.entry, strings.NewReader(c.data)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestReplacedBytesCount: a file that is replaced over and over is a bomb too.
func TestReplacedBytesCount(t *testing.T) {
	b := newBuilder(t, Limits{Bytes: 10})
	add(t, b, "x", "0123456789")
	if err := b.Add(Entry{Path: "x"}, strings.NewReader("0")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
}

func TestDeterministic(t *testing.T) {
	write := func(names ...string) []byte {
		b := newBuilder(t, Limits{})
		for _, n := range names {
			add(t, b, n, strings.Repeat(n, 1000))
		}
		name := filepath.Join(t.TempDir(), "x")
		if err := b.WriteFile(name); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if !bytes.Equal(write("a", "b/c", "d"), write("d", "b/c", "a")) {
		t.Error("the order of entries changes the image")
	}
}

type header struct {
	name, link string
	typ        byte
	mode       int64
	data       string
}

func layer(t *testing.T, headers ...header) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.mode == 0 {
			h.mode = 0o644
		}
		err := w.WriteHeader(&tar.Header{Name: h.name, Linkname: h.link, Typeflag: h.typ, Mode: h.mode, Size: int64(len(h.data)), ModTime: time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, h.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

func TestLayers(t *testing.T) {
	b := newBuilder(t, Limits{})
	for _, l := range [][]header{
		{
			{name: "etc/", typ: tar.TypeDir, mode: 0o755},
			{name: "etc/passwd", typ: tar.TypeReg, data: "root"},
			{name: "gone/deep/x", typ: tar.TypeReg, data: "x"},
			{name: "opaque/old", typ: tar.TypeReg, data: "x"},
			{name: "opaque/dir/old", typ: tar.TypeReg, data: "x"},
			{name: "opaque/dir/kept/old", typ: tar.TypeReg, data: "x"},
			{name: "bin/su", typ: tar.TypeReg, mode: 0o4755, data: "su"},
			{name: "dev/null", typ: tar.TypeChar},
			{name: "pipe", typ: tar.TypeFifo},
		},
		{
			{name: ".wh.gone", typ: tar.TypeReg},
			{name: ".wh.absent", typ: tar.TypeReg},
			{name: "opaque/dir/kept/new", typ: tar.TypeReg, data: "n"},
			{name: "opaque/.wh..wh..opq", typ: tar.TypeReg},
			{name: "opaque/late", typ: tar.TypeReg, data: "l"},
			{name: "etc/passwd-", typ: tar.TypeLink, link: "etc/passwd"},
			{name: ".wh..wh.aufs", typ: tar.TypeReg},
		},
	} {
		if err := b.AddTar(layer(t, l...)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"bin drwxr-xr-x", "bin/su urwxr-xr-x su", "etc drwxr-xr-x", "etc/passwd -rw-r--r-- root", "etc/passwd- -rw-r--r-- root",
		"opaque drwxr-xr-x", "opaque/dir drwxr-xr-x", "opaque/dir/kept drwxr-xr-x", "opaque/dir/kept/new -rw-r--r-- n", "opaque/late -rw-r--r-- l",
	}
	if diff := cmp.Diff(want, list(t, b)); diff != "" {
		t.Error(diff)
	}
	if b.Entries() != len(want) {
		t.Errorf("%d entries counted, %d written", b.Entries(), len(want))
	}
}

// TestMount has the kernel mount an image and compares what it sees.
func TestMount(t *testing.T) {
	needMount(t)
	b := newBuilder(t, Limits{})
	big := strings.Repeat("0123456789abcdef", 20_000)
	add(t, b, "big", big)
	add(t, b, "empty", "")
	link(t, b, "l", "big")
	for i := range 3000 { // a directory of many blocks, names that sort before "." among them
		add(t, b, "many/!"+strings.Repeat("n", i%200)+string(rune('a'+i%26))+time.Duration(i).String(), "x")
	}
	if err := b.Add(Entry{Path: "own", Mode: 0o600, UID: 993, GID: 990, MTime: time.Unix(1e9, 5)}, strings.NewReader("o")); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(Entry{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777}, nil); err != nil {
		t.Fatal(err)
	}
	dir, name := t.TempDir(), filepath.Join(t.TempDir(), "x.erofs")
	if err := b.WriteFile(name); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "erofs", "-o", "loop,ro", name, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}()
	if got, err := os.ReadFile(filepath.Join(dir, "l")); err != nil || string(got) != big {
		t.Errorf("through the link: %d bytes, %v", len(got), err)
	}
	names, err := os.ReadDir(filepath.Join(dir, "many"))
	if err != nil || len(names) != 3000 {
		t.Errorf("%d names, %v", len(names), err)
	}
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(dir, "many", n.Name())); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "tmp")); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("tmp: %v, %v", info, err)
	}
	info, err := os.Stat(filepath.Join(dir, "own"))
	if err != nil || info.Mode() != 0o600 || !info.ModTime().Equal(time.Unix(1e9, 5)) {
		t.Errorf("own: %v, %v", info, err)
	}
}

func needMount(t *testing.T) {
	t.Helper()
	known, err := os.ReadFile("/proc/filesystems")
	if os.Geteuid() != 0 || err != nil || !strings.Contains(string(known), "erofs") {
		t.Skip("needs root and a kernel with EROFS")
	}
}
