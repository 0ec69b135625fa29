package logstore

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/etcd"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
)

// childDir has the test binary write events in that folder, until it is killed.
const childDir = "LOGSTORE_TEST_CHILD"

// write appends events to streams that come and go and reports each one after it was answered.
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
	s, err := Open(ctx, Config{KV: db, Dir: filepath.Join(dir, "logs"), Stage: filepath.Join(dir, "stage"), SegmentBytes: 16 << 10})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		m := fmt.Sprintf("%d/%d", os.Getpid(), i)
		if err := s.Append(ctx, account, fmt.Sprint("g", i%3), fmt.Sprint("s", i/20), []Event{{Time: time.Now(), Message: m}}); err != nil {
			return err
		}
		if i%50 == 49 {
			if err := s.DeleteStream(ctx, account, fmt.Sprint("g", i%3), fmt.Sprint("s", i/20)); err != nil {
				return err
			}
			if err := s.Sweep(ctx); err != nil {
				return err
			}
			fmt.Printf("deleted g%d s%d\n", i%3, i/20)
			continue
		}
		fmt.Printf("%s g%d s%d\n", m, i%3, i/20)
	}
}

// TestKill kills a process in the middle of its writes, twice: every event that was answered for
// is there once, and nothing of streams that were deleted.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	all := map[string]string{} // stream by event
	for range 2 {
		last := killed(t, dir, 500, all)
		db, _, end := kvtest.Start(t, filepath.Join(dir, "etcd"))
		s, err := Open(t.Context(), Config{KV: db, Dir: filepath.Join(dir, "logs"), Stage: filepath.Join(dir, "stage")})
		check(t, err)
		found := map[string]string{}
		for g := range 3 {
			page, err := s.Read(t.Context(), Query{Account: account, Group: fmt.Sprint("g", g)})
			check(t, err)
			for _, f := range page.Events {
				if found[f.Message] != "" {
					t.Errorf("%s is there twice", f.Message)
				}
				found[f.Message] = fmt.Sprint("g", g, " ", f.Stream)
			}
		}
		for m, stream := range all {
			if found[m] != stream && !strings.HasSuffix(stream, last) {
				t.Errorf("%s in %s: found in %q", m, stream, found[m])
			}
		}
		all = found
		check(t, s.Close())
		end()
	}
}

// killed starts a writing child and kills it after n reports, which it adds to all. A stream with
// the last one's name may be deleted already, in any group.
func killed(t *testing.T, dir string, n int, all map[string]string) (last string) {
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
		var m, g, s string
		if _, err := fmt.Sscan(lines.Text(), &m, &g, &s); err != nil {
			break // cut short by the kill
		}
		last = " " + s
		if m != "deleted" {
			all[m] = g + last
		} else {
			maps.DeleteFunc(all, func(_, stream string) bool { return stream == g+last })
		}
		if reports++; reports == n {
			check(t, child.Process.Kill())
		}
	}
	if err := child.Wait(); err == nil || reports < n {
		t.Fatalf("the child ended after %d reports: %v", reports, err)
	}
	return last
}
