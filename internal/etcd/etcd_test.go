package etcd_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/etcd"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		writeUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, dir string) *etcd.Server {
	t.Helper()
	s, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestStartAndReopen(t *testing.T) {
	// Far longer than the name of a unix socket may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	began := time.Now()
	s := start(t, dir)
	t.Logf("ready after %v", time.Since(began))
	if _, err := s.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder is %v, %v; want 0700", info.Mode(), err)
	}
	for _, name := range []string{"peer", "client"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Type() != os.ModeSocket {
			t.Errorf("%s is no socket: %v", name, err)
		}
	}
	if u := s.Usage(); u.Bytes <= 0 || u.InUse <= 0 || u.Quota != 8<<30 {
		t.Errorf("Usage: %+v", u)
	}
	s.Close()
	s.Close()

	began = time.Now()
	s = start(t, dir)
	t.Logf("ready again after %v", time.Since(began))
	got, err := s.Client().Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Errorf("Get after reopening: %v, %v", got, err)
	}
}

func TestNoNetworkPort(t *testing.T) {
	start(t, t.TempDir())
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, "socket:[") {
			ours[strings.Trim(target, "socket:[]")] = true
		}
	}
	if len(ours) < 2 {
		t.Fatalf("found %d sockets of this process, want the engine's two at least", len(ours))
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile("/proc/self/net/" + table)
		if err != nil {
			continue // a kernel without IPv6
		}
		for _, line := range strings.Split(string(data), "\n")[1:] {
			if f := strings.Fields(line); len(f) > 9 && ours[f[9]] {
				t.Errorf("%s socket of this process: %s", table, line)
			}
		}
	}
}

func TestRun(t *testing.T) {
	s := start(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run after its context ended: %v", err)
	}
	if _, err := s.Client().Get(t.Context(), "k"); err == nil {
		t.Error("the member still serves after Run has returned")
	}
}

func TestStartWithoutFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Start(t.Context(), etcd.Config{Dir: file}); err == nil {
		t.Error("Start in a file succeeds")
	}
}

func TestFsync(t *testing.T) {
	dir := t.TempDir()
	if took, err := etcd.Fsync(dir); err != nil || took <= 0 {
		t.Errorf("Fsync: %v, %v", took, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := etcd.Fsync(filepath.Join(dir, "none")); err == nil {
		t.Error("Fsync in no folder succeeds")
	}
}

// childDir tells this test binary, run as a child, where to write until it is killed.
const childDir = "LAMBENT_TEST_ETCD_CHILD"

func writeUntilKilled(dir string) {
	s, err := etcd.Start(context.Background(), etcd.Config{Dir: dir})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("k/%08d", i)
		if _, err := s.Client().Put(context.Background(), key, key); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(key)
	}
}
