package image

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"lambent.dev/lambent/internal/erofs"
)

const (
	resolvConf = "nameserver 169.254.100.1\noptions timeout:2 attempts:2\n"
	hosts      = "127.0.0.1 localhost localhost.localdomain sandbox.localdomain sandbox\n"

	// AWS: the user of an execution environment; the number in its name varies there.
	sandboxUser  = "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin"
	sandboxGroup = "sbx_user1051:x:990:"
	nobodyUser   = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"
	nobodyGroup  = "nogroup:x:65534:"
	rootUser     = "root:x:0:0:root:/root:/bin/sh"
	rootGroup    = "root:x:0:"

	maxConfigFile = 4 << 20 // of the files that furnish reads and extends
)

// mountPoints must exist: the root is read-only, so nothing can make them later.
var mountPoints = []struct {
	path string
	mode fs.FileMode
}{
	{"/dev", 0o755}, {"/proc", 0o555}, {"/sys", 0o555}, {"/etc", 0o755}, {"/run", 0o755},
	{"/tmp", fs.ModeSticky | 0o777}, {"/opt", 0o755}, {"/var/task", 0o755},
}

// trustStores are where the common distributions and AWS's Node runtimes keep their bundles.
var trustStores = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem", "/var/runtime/ca-cert.pem",
}

// furnish adds to an image what every sandbox needs. A file cannot be mounted over a read-only
// EROFS root, so it is the same for all sandboxes and part of the image.
func furnish(b *erofs.Builder, ca []byte) error {
	for _, m := range mountPoints {
		if e, ok := b.Lookup(m.path); ok && e.Mode.IsDir() {
			continue
		}
		if err := b.Add(erofs.Entry{Path: m.path, Mode: fs.ModeDir | m.mode, MTime: time.Unix(0, 0)}, nil); err != nil {
			return err
		}
	}
	if err := replace(b, "/etc/resolv.conf", resolvConf); err != nil {
		return err
	}
	if err := replace(b, "/etc/hosts", hosts); err != nil {
		return err
	}
	if err := account(b, "/etc/passwd", rootUser, sandboxUser, nobodyUser); err != nil {
		return err
	}
	if err := account(b, "/etc/group", rootGroup, sandboxGroup, nobodyGroup); err != nil {
		return err
	}
	return trust(b, ca)
}

// replace puts a file in the place of whatever has its name, a link not followed.
func replace(b *erofs.Builder, name, data string) error {
	if err := b.Remove(name); err != nil {
		return err
	}
	return b.Add(erofs.Entry{Path: name, Mode: 0o644, MTime: time.Unix(0, 0)}, strings.NewReader(data))
}

// account completes passwd or group. The sandbox user's line replaces what has its name or
// number; root and nobody keep the image's own lines.
func account(b *erofs.Builder, name, root, sandbox, nobody string) error {
	old, err := read(b, name)
	if err != nil {
		return err
	}
	var lines []string
	taken := map[string]bool{}
	mine := strings.Split(sandbox, ":")
	for line := range strings.Lines(string(old)) {
		line = strings.TrimSuffix(line, "\n")
		f := strings.Split(line, ":")
		if line == "" || len(f) > 2 && (f[0] == mine[0] || f[2] == mine[2]) {
			continue
		}
		if len(f) > 2 {
			taken[f[2]] = true
		}
		lines = append(lines, line)
	}
	if !taken["0"] {
		lines = append([]string{root}, lines...)
	}
	lines = append(lines, sandbox)
	if !taken["65534"] {
		lines = append(lines, nobody)
	}
	return replace(b, name, strings.Join(lines, "\n")+"\n")
}

// checkCA refuses what would make every bundle it is appended to unreadable.
func checkCA(ca []byte) error {
	for rest := bytes.TrimSpace(ca); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return errors.New("the region's certificate is not PEM")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("the region's certificate: %w", err)
		}
	}
	return nil
}

// trust appends the region's own certificate to the bundles that the image has. A bundle that
// is missing is not made while another exists: programs take the first they find and would
// trust nothing else.
func trust(b *erofs.Builder, ca []byte) error {
	if len(bytes.TrimSpace(ca)) == 0 {
		return nil
	}
	found := false
	for _, name := range trustStores {
		e, ok := b.Lookup(name)
		if !ok || !e.Mode.IsRegular() {
			continue
		}
		old, err := read(b, name)
		if err != nil {
			return err
		}
		found = found || len(old) > 0
		if bytes.Contains(old, bytes.TrimSpace(ca)) {
			continue // another name of the same file
		}
		if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
			old = append(old, '\n')
		}
		// Not replace: the name may be a link, and other links to its target must see it too.
		if err := b.Overwrite(name, io.MultiReader(bytes.NewReader(old), bytes.NewReader(ca))); err != nil {
			return err
		}
	}
	if found {
		return nil
	}
	return replace(b, trustStores[0], string(ca))
}

// read returns a small file of the image, following links; nil if there is none.
func read(b *erofs.Builder, name string) ([]byte, error) {
	e, ok := b.Lookup(name)
	if !ok || !e.Mode.IsRegular() {
		return nil, nil
	}
	if e.Size > maxConfigFile {
		return nil, fmt.Errorf("%s has %d bytes: %w", name, e.Size, ErrTooLarge)
	}
	r, err := b.Open(name)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
