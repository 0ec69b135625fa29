package runtimes

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/runtimes"
)

func TestRecipes(t *testing.T) {
	all, err := recipes()
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		ID, Family string
		Images     []string
	}
	if err := json.Unmarshal(runtimes.Table, &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if checks[r.Family] == nil {
			t.Errorf("%s: family %s has no check", r.Name, r.Family)
		}
		served := false
		for _, row := range rows {
			served = served || row.ID == r.Name && row.Family == r.Family && slices.Contains(row.Images, "oci:"+r.Name)
		}
		if !served {
			t.Errorf("%s: no row of the table takes the image", r.Name)
		}
		if r.Family == "node" {
			if _, err := fs.Stat(runtimes.Recipes, "sdk/"+r.Name+"/package-lock.json"); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := load([]string{"cobol85"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	some, err := load(nil)
	if err != nil || len(some) == 0 || len(some) == len(all) {
		t.Errorf("%d of %d by default, %v", len(some), len(all), err)
	}
}

// TestLocks: every version is locked by a hash, and no file says from which registry it came.
func TestLocks(t *testing.T) {
	err := fs.WalkDir(runtimes.Recipes, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(runtimes.Recipes, name)
		if err != nil {
			return err
		}
		if bytes.Contains(b, []byte("://")) && !strings.HasSuffix(name, "package-lock.json") {
			t.Errorf("%s names a host", name)
		}
		switch filepath.Base(name) {
		case "package-lock.json":
			var lock struct{ Packages map[string]map[string]any }
			if err := json.Unmarshal(b, &lock); err != nil {
				return err
			}
			for pkg, p := range lock.Packages {
				if pkg != "" && p["integrity"] == nil || p["resolved"] != nil {
					t.Errorf("%s: %s has no hash, or a host", name, pkg)
				}
			}
		case "requirements.txt":
			for line := range strings.Lines(string(b)) {
				if !strings.HasPrefix(line, "#") && !strings.Contains(line, "==") || !strings.HasPrefix(line, "#") && !strings.Contains(line, "--hash=sha256:") {
					t.Errorf("%s: %s", name, line)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSources(t *testing.T) {
	host := []source{
		{"http://tools.test/apt", "bookworm-tools"}, {"http://a.test/debian/", "bookworm"},
		{"http://a.test/debian/", "bookworm-updates"}, {"http://s.test/debian-security/", "bookworm-security"},
	}
	for _, c := range []struct {
		known []source
		suite string
		want  []string
	}{
		{host, "trixie", []string{"deb http://a.test/debian/ trixie main", "deb http://a.test/debian/ trixie-updates main", "deb http://s.test/debian-security/ trixie-security main"}},
		{host, "sid", []string{"deb http://a.test/debian/ sid main"}},
		{host[:2], "trixie", []string{"deb http://a.test/debian/ trixie main"}},
		{[]source{{"http://u.test/ubuntu", "noble"}}, "trixie", nil},
	} {
		got, err := lines(c.known, c.suite)
		if diff := cmp.Diff(c.want, got); diff != "" || (c.want == nil) != errors.Is(err, errNoMirror) {
			t.Errorf("%s: %v %s", c.suite, err, diff)
		}
	}
}

func TestGroups(t *testing.T) {
	all, err := load([]string{"nodejs24.x", "python3.13", "nodejs22.x"})
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for _, g := range groups(all) {
		var names []string
		for _, r := range g {
			names = append(names, r.Name)
		}
		got = append(got, names)
	}
	if diff := cmp.Diff([][]string{{"nodejs24.x", "nodejs22.x"}, {"python3.13"}}, got); diff != "" {
		t.Error(diff)
	}
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFinish: what maintainer scripts would have made is there, what no function needs is gone.
func TestFinish(t *testing.T) {
	dir := tree(t, map[string]string{
		"usr/share/ca-certificates/mozilla/A.crt": "A", "usr/share/ca-certificates/mozilla/B.crt": "B\n",
		"usr/share/doc/x/copyright": "c", "usr/share/doc/x/README": "r", "usr/share/man/man1/x.1": "m",
		"usr/bin/bash": "", "usr/bin/mawk": "", "etc/hostname": "builder", "etc/resolv.conf": "host's",
	})
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := finish(root); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"etc/ssl/certs/ca-certificates.crt": "A\nB\n", "usr/share/doc/x/copyright": "c", "etc/passwd": files["etc/passwd"]} {
		if got, err := root.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{"usr/bin/sh": "bash", "usr/bin/awk": "mawk", "etc/pki/tls/certs/ca-bundle.crt": "/etc/ssl/certs/ca-certificates.crt"} {
		if got, err := root.Readlink(name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"usr/share/doc/x/README", "usr/share/man", "etc/hostname", "etc/resolv.conf", "usr/bin/which"} {
		if _, err := root.Lstat(name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// TestPack: a layer has the names asked for with their parents, and says nothing of this machine.
func TestPack(t *testing.T) {
	dir := tree(t, map[string]string{"a/b/c": "1", "a/d": "2", "e": "3"})
	if err := os.Link(filepath.Join(dir, "a/b/c"), filepath.Join(dir, "a/b/hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("c", filepath.Join(dir, "a/b/soft")); err != nil {
		t.Fatal(err)
	}
	b := &builder{work: t.TempDir()}
	l, err := b.pack(dir, "a/b", "e", "absent")
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.pack(dir, "a/b", "e")
	if err != nil || again.digest != l.digest || again.diff != l.diff {
		t.Errorf("%v and %v, %v", l.digest, again.digest, err)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: %+v", h.Name, h)
		}
		got = append(got, string(h.Typeflag)+" "+h.Name+" "+h.Linkname)
	}
	if diff := cmp.Diff([]string{"5 a/ ", "5 a/b/ ", "0 a/b/c ", "1 a/b/hard a/b/c", "2 a/b/soft c", "0 e "}, got); diff != "" {
		t.Error(diff)
	}
}

// put makes an image called name of one layer, as Build would.
func put(t *testing.T, b *builder, r recipe) {
	t.Helper()
	l, err := b.pack(tree(t, map[string]string{"f": r.Name}), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.write(r, []*layer{l}, 7); err != nil {
		t.Fatal(err)
	}
}

func newTestBuilder(t *testing.T, options Options) *builder {
	t.Helper()
	options.LayoutDir = t.TempDir()
	options.Now = func() time.Time { return time.Unix(1e9, 0) }
	b, err := newBuilder(options)
	if err != nil {
		t.Fatal(err)
	}
	b.work = t.TempDir()
	return b
}

// TestList: an image is current until its recipe or its client changes.
func TestList(t *testing.T) {
	clients := fstest.MapFS{"python/bootstrap.py": {Data: []byte("1")}, "wrapper": {Data: []byte("w")}}
	b := newTestBuilder(t, Options{Clients: clients})
	all, err := load([]string{"python3.13", "nodejs24.x"})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := b.stale(all)
	if err != nil || len(pending) != 2 {
		t.Fatalf("%d pending, %v", len(pending), err)
	}
	put(t, b, pending[0])
	put(t, b, recipe{Name: "mine"})
	check := func(want bool) {
		t.Helper()
		list, err := List(b.options)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(s Status) bool { return s.Name == "python3.13" })
		if s := list[i]; !s.Present || s.Current != want || s.Size != 7 || !s.Created.Equal(time.Unix(1e9, 0)) {
			t.Errorf("%+v", s)
		}
		if last := list[len(list)-1]; last.Name != "mine" || !last.Present || last.Current {
			t.Errorf("%+v", last)
		}
	}
	check(true)
	if pending, err := b.stale(all); err != nil || len(pending) != 1 {
		t.Errorf("%d pending, %v", len(pending), err)
	}
	clients["python/test_bootstrap.py"] = &fstest.MapFile{Data: []byte("tests are no part of an image")}
	check(true)
	clients["python/bootstrap.py"] = &fstest.MapFile{Data: []byte("2")}
	check(false)
}

func TestExportImport(t *testing.T) {
	ctx := context.Background()
	b := newTestBuilder(t, Options{})
	for _, name := range []string{"a", "b"} {
		put(t, b, recipe{Name: name, digest: "d-" + name})
	}
	var archive bytes.Buffer
	if err := Export(ctx, b.layout.Dir, []string{"b"}, &archive); err != nil {
		t.Fatal(err)
	}
	if err := Export(ctx, b.layout.Dir, []string{"c"}, io.Discard); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("export of c: %v", err)
	}
	to := filepath.Join(t.TempDir(), "new")
	names, err := Import(ctx, to, bytes.NewReader(archive.Bytes()))
	if err != nil || !slices.Equal(names, []string{"b"}) {
		t.Fatalf("%v, %v", names, err)
	}
	before, err := b.layout.Names()
	if err != nil {
		t.Fatal(err)
	}
	after, err := image.Layout{Dir: to}.Names()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]v1.Descriptor{"b": before["b"]}, map[string]v1.Descriptor(after)); diff != "" {
		t.Error(diff)
	}
	for _, dir := range []string{to, b.layout.Dir} {
		left, err := filepath.Glob(filepath.Join(dir, ".[ei]*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

// TestImportRefuses: what is no layout, blobs that are not what they are called, names that climb.
func TestImportRefuses(t *testing.T) {
	archive := func(name, data string) io.Reader {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}), second(io.WriteString(w, data)), w.Close()); err != nil {
			t.Fatal(err)
		}
		return &buf
	}
	dir := t.TempDir()
	for name, r := range map[string]io.Reader{
		"no tar":    strings.NewReader(strings.Repeat("x", 2000)),
		"empty":     archive("oci-layout", "{}"),
		"bad blob":  archive("blobs/sha256/"+strings.Repeat("0", 64), "x"),
		"traversal": archive("../../../escaped", "x"),
	} {
		if _, err := Import(context.Background(), filepath.Join(dir, "a", "b"), r); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*escaped")); err != nil || len(found) > 0 {
		t.Error(found, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestMissingTool(t *testing.T) {
	packageOf["no-such-program"] = "no-such-package"
	defer delete(packageOf, "no-such-program")
	err := need("no-such-program")
	if !errors.Is(err, ErrTool) || !strings.Contains(err.Error(), "apt-get install -y no-such-package") {
		t.Errorf("got %v", err)
	}
}
