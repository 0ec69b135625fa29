package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"lambent.dev/lambent/internal/image"
)

// entrypoint does what the script of AWS's base images does where there is a Runtime API.
const entrypoint = `#!/bin/sh
if [ $# -ne 1 ]; then
  echo "entrypoint requires the handler name to be the first argument" 1>&2
  exit 142
fi
[ -n "$AWS_LAMBDA_RUNTIME_API" ] || exit 1
export _HANDLER="$1"
exec /var/lang/bin/python3.13 -m awslambdaric "$_HANDLER"
`

// TestBaseImage: an image as AWS's base images are made, with AWS's own runtime client from
// PyPI, serves a runtime straight from a registry when the operator's table names it.
func TestBaseImage(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	reference := strings.TrimPrefix(server.URL, "http://") + "/lambda/python:3.12"
	push(t, reference, baseImage(t))
	r := start(t, "--runtimes", withTable(t, fmt.Sprintf(`[{"id": "python3.12", "family": "python", "images": [%q]}]`, reference)))
	role := r.Role("base")
	code := map[string]string{"app.py": `
import os, sys
def handler(e, c):
    print("seen", e["n"])
    return {"n": e["n"] + 1, "client": "awslambdaric.bootstrap" in sys.modules, "id": c.aws_request_id != "",
            "image": os.environ["ONLY_IMAGE"], "path": os.environ["PATH"], "execution": os.environ["AWS_EXECUTION_ENV"]}
def boom(e, c): raise ValueError("boo")
`}
	for _, handler := range []string{"handler", "boom", "absent"} {
		r.Create(lambda.CreateFunctionInput{FunctionName: &handler, Role: &role, Runtime: types.Runtime("python3.12"), Handler: aws.String("app." + handler), MemorySize: aws.Int32(512), Timeout: aws.Int32(30)}, code)
	}
	for range 2 { // cold and warm
		got := r.invoke("handler", `{"n":1}`)
		want := `{"n": 2, "client": true, "id": true, "image": "yes", "path": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin", "execution": "AWS_Lambda_python3.12"}`
		if got.body != want || got.fault != "" || !strings.Contains(got.log, "seen 1\n") {
			t.Errorf("%+v\nwant %s", got, want)
		}
	}
	got := r.invoke("boom", `{}`)
	if want := `{"errorMessage": "boo", "errorType": "ValueError", "requestId": "ID", "stackTrace": ["  File \"/var/task/app.py\", line 7, in boom\n`; !strings.HasPrefix(normal(got.body), want) || got.fault != "Unhandled" ||
		!strings.Contains(got.log, "[ERROR] ValueError: boo\nTraceback (most recent call last):\n") {
		t.Errorf("%+v\nwant %s", got, want)
	}
	got = r.invoke("absent", `{}`)
	if want := `{"errorMessage": "Handler 'absent' missing on module 'app'", "errorType": "Runtime.HandlerNotFound", "requestId": "", "stackTrace": []}`; got.body != want || got.fault != "Unhandled" {
		t.Errorf("%+v\nwant %s", got, want)
	}
}

// TestBadTable: what an operator's table has wrong ends the start with a line that says so.
func TestBadTable(t *testing.T) {
	dir := withTable(t, `[{"id": "python3.12", "family": "snake", "images": ["x"]}]`)
	out, err := exec.Command(need(t, "LAMBENT_E2E"), "serve", "--state-dir", filepath.Join(t.TempDir(), "state"), "--listen", "127.0.0.1:0", "--runtimes", dir).CombinedOutput()
	if want := dir + `/table.json: python3.12: family "snake" is none of node, python, provided`; err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s\nwant %s", err, out, want)
	}
}

// withTable gives a directory with the runtimes' images and a table.
func withTable(t *testing.T, table string) string {
	t.Helper()
	dir, images := t.TempDir(), need(t, "LAMBENT_RUNTIMES")
	for _, name := range []string{"index.json", "oci-layout", "blobs"} {
		if err := os.Symlink(filepath.Join(images, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "table.json"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// baseImage is the interpreter of our own image with AWS's client, entry point and settings.
func baseImage(t *testing.T) v1.Image {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	own, _, err := image.Layout{Dir: need(t, "LAMBENT_RUNTIMES")}.Find("python3.13")
	must(err)
	packages := t.TempDir()
	platform := map[string]string{"amd64": "manylinux2014_x86_64", "arm64": "manylinux2014_aarch64"}[runtime.GOARCH]
	out, err := exec.Command(filepath.Join(need(t, "LAMBENT_VENV"), "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--target", packages,
		"--python-version", "3.13", "--only-binary=:all:", "--platform", platform, "awslambdaric==4.2.2").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	packed := packed(t, os.DirFS(packages), "var/runtime/", map[string]string{"lambda-entrypoint.sh": entrypoint})
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil })
	must(err)
	img, err := mutate.AppendLayers(own, layer)
	must(err)
	file, err := img.ConfigFile()
	must(err)
	config := file.Config
	config.Entrypoint, config.Cmd, config.WorkingDir = []string{"/lambda-entrypoint.sh"}, nil, "/var/task"
	config.Env = []string{
		"LANG=en_US.UTF-8", "TZ=:/etc/localtime", "PATH=/image/bin", "LD_LIBRARY_PATH=/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
		"LAMBDA_TASK_ROOT=/var/task", "LAMBDA_RUNTIME_DIR=/var/runtime", "ONLY_IMAGE=yes",
	}
	img, err = mutate.Config(img, config)
	must(err)
	return img
}

// packed is a tar archive of a tree, put under a prefix, and of executable files beside it.
func packed(t *testing.T, tree fs.FS, prefix string, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, mode int64, data []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir():
			return w.WriteHeader(&tar.Header{Name: prefix + name, Mode: 0o755, Typeflag: tar.TypeDir})
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return add(prefix+name, 0o644, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := add(name, 0o755, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func push(t *testing.T, reference string, img v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
}
