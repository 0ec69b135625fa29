package runtimes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lambent.dev/lambent/runtimes"
	"lambent.dev/lambent/runtimes/bootstrap"
)

// group is the state of a build of images that share a Debian base.
type group struct {
	root string // the base, unpacked; each image's own parts come and go
	base *layer
	sdk  map[string]*layer // by family: the node_modules in root are the same for each Node.js
}

func (b *builder) buildGroup(ctx context.Context, recipes []recipe) error {
	g := &group{root: filepath.Join(b.work, "root"), sdk: map[string]*layer{}}
	defer os.RemoveAll(g.root) //nolint:errcheck // the next build removes what is left
	err := b.step(recipes[0].Suite+" base", func() (string, error) {
		if err := b.debootstrap(ctx, recipes[0], g.root); err != nil {
			return "", err
		}
		if recipes[0].Family == "python" {
			if err := compile(ctx, g.root, recipes[0].Name, "/usr/lib/"+recipes[0].Name); err != nil {
				return "", err
			}
		}
		var err error
		g.base, err = b.pack(g.root, "")
		if err != nil {
			return "", err
		}
		return megabytes(g.base.bytes), nil
	})
	if err != nil {
		return err
	}
	for _, r := range recipes {
		if err := b.buildImage(ctx, g, r); err != nil {
			return fmt.Errorf("build %s: %w", r.Name, err)
		}
	}
	return nil
}

func (b *builder) buildImage(ctx context.Context, g *group, r recipe) error {
	started := b.options.Now()
	root, err := os.OpenRoot(g.root)
	if err != nil {
		return err
	}
	defer root.Close()
	layers := []*layer{g.base}
	for _, part := range []struct {
		name string
		make func(context.Context, *group, recipe, *os.Root) (*layer, error)
	}{{"interpreter", b.interpreter}, {"SDK", b.sdk}, {"client", b.client}} {
		err := b.step(r.Name+" "+part.name, func() (string, error) {
			l, err := part.make(ctx, g, r, root)
			if err != nil || l == nil {
				return "none, ", err
			}
			layers = append(layers, l)
			return megabytes(l.bytes), nil
		})
		if err != nil {
			return err
		}
	}
	if err := b.step(r.Name+" check", func() (string, error) { return check(ctx, g.root, r) }); err != nil {
		return err
	}
	size, packed := int64(0), int64(0)
	for _, l := range layers {
		size, packed = size+l.bytes, packed+l.size
	}
	if err := b.write(r, layers, size); err != nil {
		return err
	}
	b.say("%s: %.1f MB, %.1f MB packed, %.1f s", r.Name, float64(size)/1e6, float64(packed)/1e6, b.options.Now().Sub(started).Seconds())
	return nil
}

// write puts the image into the layout.
func (b *builder) write(r recipe, layers []*layer, size int64) error {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var add []v1.Layer
	for _, l := range layers {
		add = append(add, l)
	}
	img, err := mutate.AppendLayers(img, add...)
	if err != nil {
		return err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", debianArch()
	file.Config.WorkingDir = "/var/task"
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return err
	}
	return b.layout.Put(r.Name, img, map[string]string{
		recipeAnnotation:  r.digest,
		sizeAnnotation:    strconv.FormatInt(size, 10),
		createdAnnotation: b.options.Now().UTC().Format(time.RFC3339),
	})
}

// interpreter fills /var/lang.
func (b *builder) interpreter(ctx context.Context, g *group, r recipe, root *os.Root) (*layer, error) {
	if err := root.RemoveAll("var/lang"); err != nil {
		return nil, err
	}
	if err := errors.Join(root.MkdirAll("var/lang/bin", 0o755), root.MkdirAll("var/lang/lib", 0o755)); err != nil {
		return nil, err
	}
	switch r.Family {
	case "python":
		for _, name := range []string{r.Name, "python3", "python"} {
			if err := root.Symlink("/usr/bin/"+r.Name, "var/lang/bin/"+name); err != nil {
				return nil, err
			}
		}
	case "node":
		dir, err := b.npm(ctx, r.Name)
		if err != nil {
			return nil, err
		}
		from := filepath.Join(dir, "node_modules", "node-linux-"+nodeArch())
		data, err := os.ReadFile(filepath.Join(from, "bin", "node"))
		if err != nil {
			return nil, err
		}
		if err := root.WriteFile("var/lang/bin/node", data, 0o755); err != nil {
			return nil, err
		}
		if licence, err := os.ReadFile(filepath.Join(from, "LICENSE")); err == nil {
			if err := root.WriteFile("var/lang/LICENSE", licence, 0o644); err != nil {
				return nil, err
			}
		}
	default:
		return nil, nil
	}
	return b.pack(g.root, "var/lang")
}

// sdk fills /var/runtime with the AWS SDK, once for all images of the group.
func (b *builder) sdk(ctx context.Context, g *group, r recipe, root *os.Root) (*layer, error) {
	if l := g.sdk[r.Family]; l != nil {
		return l, nil
	}
	var names []string
	switch r.Family {
	case "python":
		if err := b.pip(ctx, g.root, r); err != nil {
			return nil, err
		}
		if err := root.RemoveAll("var/runtime/bin"); err != nil {
			return nil, err
		}
		if err := compile(ctx, g.root, r.Name, "/var/runtime"); err != nil {
			return nil, err
		}
		names = []string{"var/runtime"}
	case "node":
		dir, err := b.npm(ctx, "node")
		if err != nil {
			return nil, err
		}
		if err := prune(filepath.Join(dir, "node_modules")); err != nil {
			return nil, err
		}
		if err := os.Rename(filepath.Join(dir, "node_modules"), filepath.Join(g.root, "var/runtime/node_modules")); err != nil {
			return nil, err
		}
		// NODE_PATH is not for import statements: they look in the folders above /var/task.
		if err := root.Symlink("runtime/node_modules", "var/node_modules"); err != nil {
			return nil, err
		}
		names = []string{"var/runtime/node_modules", "var/node_modules"}
	default:
		return nil, nil
	}
	l, err := b.pack(g.root, names...)
	g.sdk[r.Family] = l
	return l, err
}

// unneeded says what of the SDKs no running function reads: types, source maps, command links, notes.
func unneeded(name string) bool {
	base := filepath.Base(name)
	return base == "dist-types" || base == ".bin" || base == ".package-lock.json" ||
		strings.HasSuffix(base, ".d.ts") || strings.HasSuffix(base, ".d.mts") || strings.HasSuffix(base, ".d.cts") ||
		strings.HasSuffix(base, ".map") || strings.EqualFold(base, "README.md") || strings.EqualFold(base, "CHANGELOG.md")
}

func prune(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !unneeded(name) {
			return err
		}
		if err := os.RemoveAll(name); err != nil {
			return err
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

// client adds our own runtime client.
func (b *builder) client(ctx context.Context, g *group, r recipe, root *os.Root) (*layer, error) {
	var names []string
	if r.Family != "provided" {
		src, err := fs.Sub(b.options.Clients, r.Family)
		if err != nil {
			return nil, err
		}
		if names, err = copyFS(root, "var/runtime", src); err != nil {
			return nil, err
		}
	}
	wrapper, err := fs.ReadFile(b.options.Clients, "wrapper")
	if err != nil {
		return nil, err
	}
	if err := root.WriteFile("var/runtime/wrapper", wrapper, 0o755); err != nil {
		return nil, err
	}
	names = append(names, "var/runtime/wrapper")
	switch r.Family {
	case "python":
		for _, name := range names {
			if strings.HasSuffix(name, ".py") {
				if err := compile(ctx, g.root, r.Name, "/"+name); err != nil {
					return nil, err
				}
			}
		}
		names = append(names, "var/runtime/__pycache__")
	case "node":
		// NODE_EXTRA_CA_CERTS names it; a region's own authority is added when the image is flattened.
		if err := root.WriteFile("var/runtime/ca-cert.pem", nil, 0o644); err != nil {
			return nil, err
		}
		names = append(names, "var/runtime/ca-cert.pem")
	case "provided":
		program, err := bootstrap.Program(runtime.GOARCH)
		if err != nil {
			return nil, err
		}
		if err := root.WriteFile("var/runtime/bootstrap", program, 0o755); err != nil {
			return nil, err
		}
		names = append(names, "var/runtime/bootstrap")
	}
	return b.pack(g.root, names...)
}

// npm installs the locked packages of sdk/NAME into a directory of its own.
func (b *builder) npm(ctx context.Context, name string) (dir string, err error) {
	if err := need("npm"); err != nil {
		return "", err
	}
	dir = filepath.Join(b.work, "npm-"+name)
	if err := b.unpackSDK(name, dir); err != nil {
		return "", err
	}
	_, err = run(ctx, dir, "npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
	return dir, err
}

// pip installs the locked wheels of sdk/python into /var/runtime.
func (b *builder) pip(ctx context.Context, root string, r recipe) error {
	if err := need("python3"); err != nil {
		return err
	}
	if _, err := run(ctx, "/", "python3", "-m", "pip", "--version"); err != nil {
		return fmt.Errorf("%w: pip (apt-get install -y python3-pip): %w", ErrTool, err)
	}
	dir := filepath.Join(b.work, "pip")
	if err := b.unpackSDK("python", dir); err != nil {
		return err
	}
	_, err := run(ctx, dir, "python3", "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--require-hashes",
		"--only-binary=:all:", "--implementation=py", "--abi=none", "--platform=any",
		"--python-version="+strings.TrimPrefix(r.Name, "python"), "--root-user-action=ignore", "--upgrade",
		"--target="+filepath.Join(root, "var/runtime"), "--requirement=requirements.txt")
	return err
}

func (b *builder) unpackSDK(name, dir string) error {
	src, err := fs.Sub(runtimes.Recipes, "sdk/"+name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.CopyFS(dir, src)
}

// compile makes the bytecode of a file or directory with the image's own Python: the root of a
// sandbox is read-only, so no later start could. The code is bound to its source by nothing:
// neither changes, and checking costs a read at each import. Bytecode that a package brought or made
// is bound to its source's time, which the image does not keep: it is made again.
func compile(ctx context.Context, root, python, target string) error {
	_, err := inside(ctx, root, 0, nil, "/usr/bin/"+python, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", target)
	return err
}

// checks run inside the finished root as nobody.
var checks = map[string][]string{
	"python": {"/var/lang/bin/python3", "-c", "import boto3, ssl, sqlite3, ctypes, zoneinfo; " +
		"assert ssl.create_default_context().cert_store_stats()['x509_ca'] > 50; zoneinfo.ZoneInfo('Europe/Berlin'); " +
		"boto3.client('s3', region_name='eu-central-1'); import glob, os, sys; " +
		"assert all(open(f, 'rb').read(5)[4] for f in glob.glob(os.path.dirname(os.__file__) + '/**/*.pyc', recursive=True)), 'stale bytecode'; " +
		"print('Python', sys.version.split()[0] + ', boto3', boto3.__version__, end='')"},
	"node": {"/var/lang/bin/node", "-e", "const s3 = require('@aws-sdk/client-s3'); new s3.S3Client({region: 'eu-central-1'}); " +
		"for (const m of require('fs').readdirSync('/var/runtime/node_modules/@aws-sdk')) if (/^(client|lib)-/.test(m)) require('@aws-sdk/' + m); " +
		"process.stdout.write('Node.js ' + process.version + ', SDK ' + require('@aws-sdk/client-s3/package.json').version)"},
	"provided": {"/bin/sh", "-c", "awk 'BEGIN { printf \"%s\", \"sh, awk, \" }' && curl --version | head -n 1 | cut -d ' ' -f 1-2 | tr -d '\\n'"},
}

func check(ctx context.Context, root string, r recipe) (string, error) {
	const nobody = 65534
	out, err := inside(ctx, root, nobody, []string{"PYTHONPATH=/var/runtime", "NODE_PATH=/var/runtime/node_modules", "HOME=/tmp"}, checks[r.Family]...)
	return string(out) + ", ", err
}
