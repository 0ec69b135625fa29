package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// build makes an image of one layer per map, "name": "data"; a value "-> x" is a link, a name
// that ends in a slash a directory.
func build(t *testing.T, layers ...map[string]string) v1.Image {
	t.Helper()
	img := empty.Image
	for _, files := range layers {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for name, data := range files {
			h := &tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(data))}
			if target, ok := strings.CutPrefix(data, "-> "); ok {
				h.Typeflag, h.Linkname, h.Size, data = tar.TypeSymlink, target, 0, ""
			}
			if strings.HasSuffix(name, "/") {
				h.Typeflag = tar.TypeDir
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", platform().Architecture
	file.Config = v1.Config{Env: []string{"A=b"}, Entrypoint: []string{"/e"}, Cmd: []string{"c"}, WorkingDir: "/w", User: "u"}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

func open(t *testing.T, c Config) *Store {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func resolve(t *testing.T, s *Store, ref string) (*Image, fs.FS) {
	t.Helper()
	img, err := s.Resolve(context.Background(), ref)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(img.RootFS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	root, err := erofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	return img, root
}

func read1(t *testing.T, root fs.FS, name string) string {
	t.Helper()
	b, err := fs.ReadFile(root, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestBadCA: it would make the bundles of all images unreadable.
func TestBadCA(t *testing.T) {
	for _, ca := range []string{"x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := Open(Config{Dir: t.TempDir(), CA: []byte(ca)}); err == nil {
			t.Errorf("%q was taken", ca)
		}
	}
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	l := Layout{Dir: dir}
	base := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\nalice:x:993:1::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
		"etc/hosts":  "-> ../run/hosts", "etc/resolv.conf": "-> /etc/passwd",
		"etc/ssl/certs/ca-certificates.crt": "BUNDLE", "etc/pki/tls/certs/ca-bundle.crt": "-> /etc/ssl/certs/ca-certificates.crt",
		"tmp": "-> var/tmp", "var/tmp/": "", "f": "lower",
	}
	if err := l.Put("base", build(t, base, map[string]string{"f": "upper"}), map[string]string{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	ca := certificate(t)
	s := open(t, Config{Layouts: []string{filepath.Join(dir, "absent"), dir}, CA: ca})
	img, root := resolve(t, s, "oci:base")
	for name, want := range map[string]string{
		"f":                                 "upper",
		"etc/resolv.conf":                   resolvConf,
		"etc/hosts":                         hosts,
		"etc/passwd":                        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n" + sandboxUser + "\n",
		"etc/group":                         rootGroup + "\n" + sandboxGroup + "\n" + nobodyGroup + "\n",
		"etc/ssl/certs/ca-certificates.crt": "BUNDLE\n" + string(ca),
	} {
		if diff := cmp.Diff(want, read1(t, root, name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, m := range mountPoints {
		info, err := fs.Stat(root, m.path[1:])
		if err != nil || !info.IsDir() {
			t.Errorf("%s: %v, %v", m.path, info, err)
		}
	}
	if diff := cmp.Diff(Settings{[]string{"A=b"}, []string{"/e"}, []string{"c"}, "/w", "u"}, img.Config); diff != "" {
		t.Error(diff)
	}
	_, desc, err := l.Find("base")
	if err != nil || desc.Digest.String() != img.Digest || desc.Annotations["k"] != "v" {
		t.Errorf("%v, %v", desc, err)
	}
	if _, err := s.Resolve(context.Background(), "oci:other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("oci:other: %v", err)
	}
}

// TestReplace: a name's new image takes the old one's place, and the blobs of the old go.
func TestReplace(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	for _, data := range []string{"1", "2"} {
		for _, name := range []string{"a", "b"} {
			if err := l.Put(name, build(t, map[string]string{"f": data}), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := open(t, Config{Layouts: []string{l.Dir}})
	if _, root := resolve(t, s, "oci:a"); read1(t, root, "f") != "2" {
		t.Error("the old image is still there")
	}
	blobs, err := os.ReadDir(filepath.Join(l.Dir, "blobs", "sha256"))
	if err != nil || len(blobs) != 3 { // layer, configuration, manifest, shared by a and b
		t.Errorf("%d blobs, %v", len(blobs), err)
	}
	names, err := l.Names()
	if err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestRegistry(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	host := strings.TrimPrefix(server.URL, "http://")
	img := build(t, map[string]string{"f": "x"})
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: platform().Architecture}}})
	ref, err := name.ParseReference(host + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{})
	byTag, root := resolve(t, s, ref.String())
	if read1(t, root, "f") != "x" {
		t.Error("another file")
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	resolve(t, s, host+"/team/app@"+digest.String())
	_, err = s.Resolve(context.Background(), host+"/team/other:1")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	server.Close()
	// By digest, of the index or of the image, nothing is asked of a registry any more.
	for _, d := range []string{digest.String(), byTag.Digest} {
		if got, _ := resolve(t, s, host+"/team/app@"+d); got.Digest != byTag.Digest || got.Config.User != "u" {
			t.Errorf("%s: %+v", d, got)
		}
	}
	if _, err := s.Resolve(context.Background(), ref.String()); err == nil {
		t.Error("a tag was resolved without its registry")
	}
}

func TestPlainHTTPStaysHome(t *testing.T) {
	s := open(t, Config{})
	for _, ref := range []string{"10.1.2.3:5000/x", "images.local/x"} {
		if _, err := s.Resolve(context.Background(), ref); err == nil {
			t.Errorf("%s was resolved", ref)
		}
	}
	if _, err := s.Resolve(context.Background(), "UPPER CASE"); !errors.Is(err, ErrBadReference) {
		t.Errorf("got %v", err)
	}
}

// TestEndlessDocument: a registry that never stops sending a manifest is cut off.
func TestEndlessDocument(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "manifests") {
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		for chunk := bytes.Repeat([]byte(" "), 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	if _, err := open(t, Config{}).Resolve(context.Background(), strings.TrimPrefix(server.URL, "http://")+"/x:1"); err == nil {
		t.Error("resolved")
	}
}

// TestCorrupt changes one byte of each blob in turn: no image comes out.
func TestCorrupt(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	if err := l.Put("x", build(t, map[string]string{"f": strings.Repeat("data", 100)}), nil); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(l.Dir, "blobs", "sha256", "*"))
	if err != nil || len(blobs) != 3 {
		t.Fatal(blobs, err)
	}
	for _, name := range blobs {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, len(whole) / 2, len(whole) - 2} {
			bad := bytes.Clone(whole)
			bad[i] ^= 1
			if err := os.WriteFile(name, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			s := open(t, Config{Layouts: []string{l.Dir}})
			if _, err := s.Resolve(context.Background(), "oci:x"); err == nil {
				t.Errorf("byte %d of %s changed: resolved", i, filepath.Base(name))
			}
		}
		if err := os.WriteFile(name, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBounds(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	if err := l.Put("x", build(t, map[string]string{"a": strings.Repeat("x", 2000), "b": ""}), nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{{MaxBytes: 1000}, {Entries: 1}} {
		c.Layouts = []string{l.Dir}
		if _, err := open(t, c).Resolve(context.Background(), "oci:x"); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestPlatform(t *testing.T) {
	img := build(t, map[string]string{"a": ""})
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.Architecture = "s390x"
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	l := Layout{Dir: t.TempDir()}
	if err := l.Put("x", img, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, Config{Layouts: []string{l.Dir}}).Resolve(context.Background(), "oci:x"); !errors.Is(err, ErrPlatform) {
		t.Errorf("got %v", err)
	}
}

func TestSweep(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	if err := l.Put("x", build(t, map[string]string{"a": ""}), nil); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Layouts: []string{l.Dir}})
	img, _ := resolve(t, s, "oci:x")
	ctx := context.Background()
	release := s.Acquire(img.Digest)
	sweep := func(keep bool, age time.Duration) int {
		n, err := s.Sweep(ctx, func(d string) bool { return keep && d == img.Digest }, age)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if sweep(false, 0) != 0 {
		t.Error("swept under a lease")
	}
	release()
	if sweep(true, 0) != 0 || sweep(false, time.Hour) != 0 {
		t.Error("swept what was to be kept")
	}
	if sweep(false, 0) != 1 {
		t.Error("not swept")
	}
	left, err := os.ReadDir(s.config.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	resolve(t, s, "oci:x")
}
