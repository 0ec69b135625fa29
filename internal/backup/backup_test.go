package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/backup"
	"lambent.dev/lambent/internal/etcd"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

var files = map[string]string{
	"format": "1\n", "account": "123456789012\n", "keys/region": "secret\n", "credentials": "[lambent]\n",
	"blobs/ab/abcd": strings.Repeat("code", 1000), "logs/0000000000000001.seg": "log lines", "ledger/0000000000000001.seg": "bill",
}

var leftOut = map[string]string{
	"instance": "deadbeef\n", "images/x/rootfs": "derived", "blobs/tmp-1": "unfinished", "logs/.new-2": "unfinished", "lock": "",
}

// write makes files below dir.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// tree reads the files below dir but for the engine's.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if e.IsDir() {
			if rel == "etcd" {
				return fs.SkipDir
			}
			return nil
		}
		b, err := os.ReadFile(path)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func engine(t *testing.T, dir string) *clientv3.Client {
	t.Helper()
	s, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dir, "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Client()
}

func keys(t *testing.T, c *clientv3.Client) map[string]string {
	t.Helper()
	resp, err := c.Get(t.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range resp.Kvs {
		out[string(kv.Key)] = string(kv.Value)
	}
	return out
}

// archive backs a directory up.
func archive(t *testing.T, dir string, c *clientv3.Client) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := backup.Write(t.Context(), backup.Config{Client: c, Dir: dir, Header: backup.Header{Version: "v", Region: "eu-test-1", Account: "123456789012"}}, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t *testing.T, c *clientv3.Client, key, value string, opts ...clientv3.OpOption) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, value, opts...); err != nil {
		t.Fatal(err)
	}
}

// TestRoundTrip: what was there is there again, and nothing else.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	c := engine(t, dir)
	write(t, dir, files)
	write(t, dir, leftOut)
	want := map[string]string{}
	for i := range 1200 { // several pages and several files of the archive
		key, value := fmt.Sprintf("/c/t/1/%05d", i), strings.Repeat(fmt.Sprint(i), 1000)
		put(t, c, key, value)
		want[key] = value
	}
	lease, err := c.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, "/q/x/owner/1", "gone by then", clientv3.WithLease(lease.ID))
	b := archive(t, dir, c)
	into := filepath.Join(t.TempDir(), "a", "state")
	h, err := backup.Restore(t.Context(), backup.RestoreConfig{Dir: into}, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if h.Region != "eu-test-1" || h.Account != "123456789012" || h.Revision == 0 || h.Created.IsZero() {
		t.Errorf("header %+v", h)
	}
	if d := cmp.Diff(files, tree(t, into)); d != "" {
		t.Errorf("files: %s", d)
	}
	if d := cmp.Diff(want, keys(t, engine(t, into))); d != "" {
		t.Errorf("keys: %s", d)
	}
	if verified, err := backup.Verify(t.Context(), bytes.NewReader(b)); err != nil || verified != h {
		t.Errorf("Verify: %+v, %v", verified, err)
	}
	if _, err := backup.Restore(t.Context(), backup.RestoreConfig{Dir: into}, bytes.NewReader(b)); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("into a directory that is in use: %v", err)
	}
}

// TestOneRevision writes pairs of keys in transactions, and files before the keys that refer to
// them, while backups are made: no backup has half of a pair or lacks a file.
func TestOneRevision(t *testing.T) {
	dir := t.TempDir()
	c := engine(t, dir)
	write(t, dir, map[string]string{"blobs/00": ""})
	ctx, cancel := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	first := make(chan struct{})
	g.Go(func() error {
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("%06d", i)
			if err := os.WriteFile(filepath.Join(dir, "blobs", name), []byte(name), 0o600); err != nil {
				return err
			}
			_, err := c.Txn(ctx).Then(clientv3.OpPut("/c/a/"+name, "x"), clientv3.OpPut("/c/z/"+name, "x")).Commit()
			if err != nil && ctx.Err() == nil {
				return err
			}
			if i == 0 {
				close(first)
			}
		}
		return nil
	})
	select {
	case <-first:
	case <-ctx.Done():
		t.Fatal(g.Wait())
	}
	var archives [][]byte
	for range 5 {
		archives = append(archives, archive(t, dir, c))
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, b := range archives[3:] {
		into := filepath.Join(t.TempDir(), "state")
		if _, err := backup.Restore(t.Context(), backup.RestoreConfig{Dir: into}, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		have, names := keys(t, engine(t, into)), tree(t, into)
		if len(have) == 0 {
			t.Error("nothing was written meanwhile")
		}
		for key := range have {
			name := key[len("/c/a/"):]
			if have["/c/a/"+name] != have["/c/z/"+name] || names["blobs/"+name] != name {
				t.Fatalf("of %s there is only a part", name)
			}
		}
	}
}

// TestDamaged: an archive that was cut or changed anywhere is refused and leaves nothing.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	c := engine(t, dir)
	write(t, dir, files)
	put(t, c, "/c/t/1/a", "value")
	good := archive(t, dir, c)
	parent := t.TempDir()
	original, err := backup.Verify(t.Context(), bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, b []byte, want error) {
		t.Helper()
		_, err := backup.Verify(t.Context(), bytes.NewReader(b))
		if !errors.Is(err, want) {
			t.Errorf("%s: Verify: %v", what, err)
		}
	}
	for n := 0; n < len(good); n += 7 {
		refused(fmt.Sprintf("cut at %d", n), good[:n], backup.ErrDamaged)
	}
	caught := 0
	for n := range good {
		b := bytes.Clone(good)
		b[n] ^= 0x10
		// Compressed data has a few bits without a meaning; then everything is as it was.
		h, err := backup.Verify(t.Context(), bytes.NewReader(b))
		switch {
		case err == nil && h != original:
			t.Errorf("byte %d changed: accepted", n)
		case err != nil:
			caught++
		}
	}
	if caught < len(good)*95/100 {
		t.Errorf("%d of %d changes were refused", caught, len(good))
	}
	refused("something behind it", append(bytes.Clone(good), archive(t, dir, c)...), backup.ErrDamaged)
	for what, edit := range map[string]func(name string, body []byte) (string, []byte){
		"a file changed": func(name string, body []byte) (string, []byte) {
			if name == "blobs/ab/abcd" {
				body[17] = 'X'
			}
			return name, body
		},
		"a key changed": func(name string, body []byte) (string, []byte) {
			return name, bytes.Replace(body, []byte("value"), []byte("Value"), 1)
		},
		"a file missing": func(name string, body []byte) (string, []byte) {
			if name == "keys/region" {
				name = ""
			}
			return name, body
		},
		"the manifest missing": func(name string, body []byte) (string, []byte) {
			if name == "manifest.json" {
				name = ""
			}
			return name, body
		},
		"a way out": func(name string, body []byte) (string, []byte) {
			return strings.Replace(name, "logs/0", "logs/../../0", 1), body
		},
		"a strange file": func(name string, body []byte) (string, []byte) {
			return strings.Replace(name, "logs/", "run/", 1), body
		},
	} {
		b := rewrite(t, good, edit)
		refused(what, b, backup.ErrDamaged)
		if _, err := backup.Restore(t.Context(), backup.RestoreConfig{Dir: filepath.Join(parent, "state")}, bytes.NewReader(b)); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: Restore: %v", what, err)
		}
	}
	newer := rewrite(t, good, func(name string, body []byte) (string, []byte) {
		return name, bytes.Replace(body, []byte(`"Format":1`), []byte(`"Format":2`), 1)
	})
	refused("a newer one", newer, backup.ErrNewer)
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// rewrite edits an archive's files; one that gets no name is left out.
func rewrite(t *testing.T, b []byte, edit func(name string, body []byte) (string, []byte)) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var out bytes.Buffer
	zw, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name, body = edit(h.Name, body); h.Name == "" {
			continue
		}
		h.Size = int64(len(body))
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
