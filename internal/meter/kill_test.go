package meter

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"lambent.dev/lambent/internal/etcd"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
)

// childDir has the test binary write a ledger in that folder, until it is killed.
const childDir = "METER_TEST_CHILD"

// write runs invocations and folds at the same time. It says B of one that has begun, and E of one
// that has ended.
func write(dir string) error {
	ctx := context.Background()
	engine, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(dir, "etcd"), Tick: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	db, err := kv.Open(ctx, kv.Config{Client: engine.Client(), Key: sha256.Sum256([]byte("test"))})
	if err != nil {
		return err
	}
	l, err := Open(ctx, Config{KV: db, Dir: filepath.Join(dir, "ledger"), Stage: filepath.Join(dir, "ledger.stage"), Node: "n1", SegmentBytes: 16 << 10, FoldEvery: time.Millisecond})
	if err != nil {
		return err
	}
	lifecycle.Go("ledger", func() { fmt.Fprintln(os.Stderr, l.Run(ctx)) })
	for i := 0; ; i++ {
		r := record(i)
		r.RequestID = fmt.Sprintf("%d/%d", os.Getpid(), i)
		e, err := l.Begin(r)
		if err != nil {
			return err
		}
		fmt.Println("B", r.RequestID)
		if err := l.End(e, r); err != nil {
			return err
		}
		fmt.Println("E", r.RequestID)
	}
}

// TestKill kills a process in the middle of its writes and folds, three times: every invocation
// that was answered for has one record and is in the sums once; one that had only begun is aborted
// and free.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	begun, ended := map[string]bool{}, map[string]bool{}
	for range 3 {
		killed(t, dir, 3000, begun, ended)
		db, _, end := kvtest.Start(t, filepath.Join(dir, "etcd"))
		l := open(t, db, filepath.Join(dir, "ledger"))
		var done, aborted int64
		seen := map[string]bool{}
		for _, r := range listed(t, l) {
			if seen[r.RequestID] {
				t.Errorf("%s is there twice", r.RequestID)
			}
			seen[r.RequestID] = true
			if r.Outcome == Aborted {
				aborted++
				if ended[r.RequestID] || r.Billed != 0 {
					t.Errorf("aborted: %+v", r)
				}
				continue
			}
			done++
		}
		for id := range begun {
			if !seen[id] {
				t.Errorf("%s has no record", id)
			}
		}
		w := want(done)
		w.Aborted = aborted
		if got := total(t, l); got != w {
			t.Errorf("sums %+v, want %+v", got, w)
		}
		check(t, l.Fold(t.Context()))
		if got := total(t, l); got != w {
			t.Errorf("folded sums %+v, want %+v", got, w)
		}
		check(t, l.Close())
		end()
	}
}

// killed starts a writing child and kills it after n reports.
func killed(t *testing.T, dir string, n int, begun, ended map[string]bool) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = t.Output()
	out, err := child.StdoutPipe()
	check(t, err)
	check(t, child.Start())
	lines := bufio.NewScanner(out)
	reports := 0
	for lines.Scan() {
		var what, id string
		if _, err := fmt.Sscan(lines.Text(), &what, &id); err != nil {
			break // cut short by the kill
		}
		if what == "B" {
			begun[id] = true
		} else {
			ended[id] = true
		}
		if reports++; reports == n {
			check(t, child.Process.Kill())
		}
	}
	if err := child.Wait(); err == nil || reports < n {
		t.Fatalf("the child ended after %d reports: %v", reports, err)
	}
}
