package runtimes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is an archive and a distribution in it, from apt's configuration.
type source struct{ uri, release string }

var errNoMirror = errors.New("apt's sources name no Debian archive; give its URL")

// sources asks apt where the host gets Debian from and returns the lines for suite.
func (b *builder) sources(ctx context.Context, suite string) ([]string, error) {
	if b.options.Mirror != "" {
		return []string{"deb " + b.options.Mirror + " " + suite + " main"}, nil
	}
	out, err := run(ctx, "/", "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	if err != nil {
		return nil, err
	}
	var known []source
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "main" {
			known = append(known, source{f[0], f[1]})
		}
	}
	return lines(known, suite)
}

// lines turns the sources of the host's release into those of suite: its archive, its updates
// and its security fixes, as far as the host has them. Sid has neither.
func lines(known []source, suite string) (out []string, err error) {
	add := func(ending string) bool {
		i := slices.IndexFunc(known, func(s source) bool { return isDebian(s.release, ending) })
		if i < 0 {
			return false
		}
		out = append(out, "deb "+known[i].uri+" "+suite+ending+" main")
		return true
	}
	if !add("") {
		return nil, errNoMirror
	}
	if suite != "sid" {
		add("-updates")
		add("-security")
	}
	return out, nil
}

func isDebian(release, ending string) bool {
	name, ok := strings.CutSuffix(strings.Replace(release, "/updates", "-security", 1), ending)
	return ok && slices.Contains([]string{
		"bullseye", "bookworm", "trixie", "forky", "sid", "oldoldstable", "oldstable", "stable", "testing", "unstable",
	}, name)
}

// debootstrap unpacks the packages of a base into root and does by hand what their maintainer
// scripts would have done, which never run.
func (b *builder) debootstrap(ctx context.Context, r recipe, root string) error {
	if err := need("apt-get", "mmdebstrap", "ldconfig"); err != nil {
		return err
	}
	from, err := b.sources(ctx, r.Suite)
	if err != nil {
		return err
	}
	args := []string{"mmdebstrap", "--mode=root", "--variant=extract", "--architectures=" + debianArch(),
		"--include=" + strings.Join(r.Packages, ","), r.Suite, root}
	if _, err := run(ctx, "/", append(args, from...)...); err != nil {
		return err
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := finish(dir); err != nil {
		return err
	}
	// The cache of shared libraries; -X: the links are in the packages.
	if _, err = run(ctx, "/", "ldconfig", "-X", "-r", root); err != nil {
		return err
	}
	return dir.RemoveAll("var/cache/ldconfig") // inode numbers of this machine
}

// unwanted is what no function needs; a package's copyright file stays, its licence asks for it.
var unwanted = []string{
	"boot", "dev", "media", "srv", "etc/apt", "etc/debconf.conf", "etc/dpkg", "etc/fstab", "etc/hostname", "etc/kernel",
	"etc/ca-certificates", "etc/resolv.conf", "etc/update-motd.d", "etc/cron.d", "etc/cron.daily", "etc/logrotate.d",
	"usr/share/bash-completion", "usr/share/bug", "usr/share/debconf", "usr/share/info", "usr/share/lintian",
	"usr/share/locale", "usr/share/man", "usr/share/perl5", "usr/share/pixmaps", "usr/share/menu", "usr/share/applications",
	"usr/share/doc-base", "usr/lib/python3/dist-packages/debconf.py", "var/cache", "var/log", "var/backups",
	"var/lib/apt", "var/lib/dpkg/info", "var/lib/dpkg/triggers", "var/lib/dpkg/updates", "var/lib/dpkg/lock", "var/local",
}

// directories are AWS's layout and the mount points.
var directories = []string{
	"dev", "opt", "var/task", "var/lang/bin", "var/lang/lib", "var/runtime", "var/rapid", "var/cache", "var/log",
	"etc/ssl/certs", "etc/pki/tls/certs", "usr/local/bin", "usr/lib/ssl",
}

// links are made where their target exists and nothing has the name.
var links = []struct{ name, target string }{
	{"usr/bin/sh", "bash"}, {"usr/bin/awk", "mawk"}, {"usr/bin/which", "which.debianutils"},
	{"etc/localtime", "/usr/share/zoneinfo/UTC"},
	{"etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"},
	{"usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt"},
	{"usr/lib/ssl/certs", "/etc/ssl/certs"},
}

var files = map[string]string{
	"etc/passwd":        "root:x:0:0:root:/root:/bin/bash\n",
	"etc/group":         "root:x:0:\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}

func finish(root *os.Root) error {
	for _, name := range unwanted {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	if err := stripDocs(root); err != nil {
		return err
	}
	for _, name := range directories {
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := root.WriteFile(name, []byte(data), 0o644); err != nil {
			return err
		}
	}
	if err := bundle(root); err != nil {
		return err
	}
	for _, l := range links {
		target := l.target
		if !strings.HasPrefix(target, "/") {
			target = filepath.Join("/", filepath.Dir(l.name), target)
		}
		if _, err := root.Lstat(target[1:]); err != nil {
			continue
		}
		if _, err := root.Lstat(l.name); err == nil {
			continue
		}
		if err := root.Symlink(l.target, l.name); err != nil {
			return err
		}
	}
	return nil
}

// stripDocs keeps the copyright files of usr/share/doc.
func stripDocs(root *os.Root) error {
	var drop []string
	err := fs.WalkDir(root.FS(), "usr/share/doc", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "copyright" {
			drop = append(drop, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range drop {
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// bundle makes the file of trusted authorities that ca-certificates' script would make.
func bundle(root *os.Root) error {
	const dir = "usr/share/ca-certificates/mozilla"
	names, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return fmt.Errorf("make the CA bundle: %w", err)
	}
	var all []byte
	for _, n := range names {
		b, err := root.ReadFile(filepath.Join(dir, n.Name()))
		if err != nil {
			return err
		}
		all = append(all, b...)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			all = append(all, '\n')
		}
	}
	if err := root.RemoveAll("usr/share/ca-certificates"); err != nil {
		return err
	}
	return root.WriteFile("etc/ssl/certs/ca-certificates.crt", all, 0o644)
}
