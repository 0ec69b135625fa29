package queue_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/etcd"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/queue"
)

// childDir tells this test binary, run as a child, where to work until it is killed.
const childDir = "LAMBENT_TEST_QUEUE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Println("error", workUntilKilled(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// workUntilKilled publishes, and acks every third message it claims; the others it keeps. It
// reports what was acknowledged to it.
func workUntilKilled(dir string) error {
	ctx := context.Background()
	server, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(dir, "etcd"), Tick: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	store, err := kv.Open(ctx, kv.Config{Client: server.Client(), Key: sha256.Sum256([]byte("test"))})
	if err != nil {
		return err
	}
	blobs, err := blob.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		return err
	}
	q, err := queue.Open(ctx, queue.Config{Store: store, Client: server.Client(), Name: "kill", Node: "n1", Blobs: blobs})
	if err != nil {
		return err
	}
	lifecycle.Go("queue", func() { q.Run(ctx) })
	lifecycle.Go("worker", func() {
		for i := 0; ; i++ {
			d, err := q.Claim(ctx)
			if err == nil && i%3 == 0 && d.Ack(ctx) == nil {
				fmt.Println("acked", d.ID)
			}
		}
	})
	body := strings.Repeat("x", 20<<10) // a blob
	for i := 0; ; i++ {
		id := fmt.Sprintf("%06d", i)
		if err := q.Publish(ctx, queue.Message{ID: id, Account: "1", Body: []byte(body[:i%2*len(body)])}); err != nil {
			return err
		}
		fmt.Println("published", id)
	}
}

// TestKill: every acknowledged publish is delivered after kill -9, unless its ack was acknowledged;
// then it is not. The shards are taken over at once, although their lease still runs.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	published, acked := killed(t, dir, 200)
	store, client, _ := kvtest.Start(t, filepath.Join(dir, "etcd"))
	blobs, err := blob.Open(filepath.Join(dir, "blobs"))
	must(t, err)
	began := time.Now()
	b := startOn(t, store, client, func(c *queue.Config) { c.Name, c.Shards, c.Blobs, c.Now = "kill", 16, blobs, time.Now })
	got := map[string]bool{}
	for records(t, client) > 0 {
		d := b.claim(t)
		if acked[d.ID] || got[d.ID] {
			t.Errorf("%s is delivered again, acked before the kill: %v", d.ID, acked[d.ID])
		}
		got[d.ID] = true
		must(t, d.Ack(t.Context()))
	}
	var lost []string
	for id := range published {
		if !got[id] && !acked[id] {
			lost = append(lost, id)
		}
	}
	// The child has one worker: one ack may have been committed that it could not report.
	if len(lost) > 1 {
		t.Errorf("lost: %v", lost)
	}
	t.Logf("%d messages delivered again, %d had been acked, all within %v", len(got), len(acked), time.Since(began))
	b.stop()
}

// records counts the messages in the engine.
func records(t *testing.T, client *clientv3.Client) (n int) {
	t.Helper()
	resp, err := client.Get(t.Context(), "/q/kill/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	must(t, err)
	for _, kv := range resp.Kvs {
		if strings.Contains(string(kv.Key), "/m/") {
			n++
		}
	}
	return n
}

func killed(t *testing.T, dir string, n int) (published, acked map[string]bool) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = t.Output()
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	published, acked = map[string]bool{}, map[string]bool{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		what, id, _ := strings.Cut(lines.Text(), " ")
		switch {
		case what == "published" && len(id) == 6:
			published[id] = true
		case what == "acked" && len(id) == 6:
			acked[id] = true
		case what == "error":
			t.Fatal(lines.Text())
		}
		if len(published) == n {
			must(t, child.Process.Kill())
		}
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	if len(acked) == 0 {
		t.Fatal("the child acked nothing")
	}
	return published, acked
}
