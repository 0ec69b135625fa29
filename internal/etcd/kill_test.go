package etcd_test

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestKill kills a process in the middle of its writes, twice: every write it was told of is there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 {
		acknowledged := killed(t, dir, 300)
		s := start(t, dir)
		got, err := s.Client().Get(t.Context(), "k/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, kv := range got.Kvs {
			have[string(kv.Key)] = string(kv.Value) == string(kv.Key)
		}
		for _, key := range acknowledged {
			if !have[key] {
				t.Errorf("round %d: acknowledged write %s is lost", round, key)
			}
		}
		s.Close()
	}
}

// killed starts a writing child, kills it after n acknowledged writes and returns all it reported.
func killed(t *testing.T, dir string, n int) []string {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = t.Output()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "k/") {
			t.Fatalf("child: %s", lines.Text())
		}
		keys = append(keys, lines.Text())
		if len(keys) == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	if len(keys) < n {
		t.Fatalf("the child reported %d writes, want %d", len(keys), n)
	}
	// A line cut short by the kill was not read as a whole; the last one may be such.
	return keys[:len(keys)-1]
}
