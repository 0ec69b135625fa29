package regiontest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/test/leak"
)

// leakTimeout bounds the wait for a server, or its host, to come back to what it was.
const leakTimeout = 30 * time.Second

// tmp is the server's TMPDIR: what it leaves there is a leak.
func (r *Region) tmp() string { return r.State + ".tmp" }

// watchHost compares the host before the region and after it. A region that was killed last is
// started once more: what that does not sweep is a leak.
func (r *Region) watchHost() {
	r.t.Helper()
	if err := leak.Adopt(); err != nil {
		r.t.Fatal(err)
	}
	before, err := leak.Host(r.State)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.MkdirAll(r.tmp(), 0o700); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if r.t.Failed() || r.t.Skipped() {
			return
		}
		if r.killed {
			r.Up(r.flags...)
			r.Stop(syscall.SIGTERM)
		}
		r.poll("the server is gone and left", func() []string {
			after, err := leak.Host(r.State)
			if err != nil {
				return []string{err.Error()}
			}
			return append(after.Since(before), left(r.tmp())...)
		})
		_ = os.Remove(r.tmp())
	})
}

// watchServer notes what the server has when it is ready, and sees to it that it has no more when
// the test has ended.
func (r *Region) watchServer() {
	r.t.Helper()
	base, err := leak.Server(r.PID(), r.State, r.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	r.base = base
	r.t.Cleanup(func() {
		if r.cmd != nil && !r.t.Failed() && !r.t.Skipped() {
			r.Drop()
			r.Settle()
		}
	})
}

// Settle waits until the server has no more descriptors and goroutines than when it was ready.
func (r *Region) Settle() {
	r.t.Helper()
	r.http.CloseIdleConnections()
	r.poll("the server idles and has more than when it was ready", func() []string {
		now, err := leak.Server(r.PID(), r.State, r.URL)
		if err != nil {
			return []string{err.Error()}
		}
		return now.Above(r.base)
	})
}

// Drop deletes all functions, and so ends their environments.
func (r *Region) Drop() {
	r.t.Helper()
	c := r.Lambda()
	pages := lambda.NewListFunctionsPaginator(c, &lambda.ListFunctionsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, f := range page.Functions {
			if _, err := c.DeleteFunction(context.Background(), &lambda.DeleteFunctionInput{FunctionName: f.FunctionName}); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// poll waits until check finds nothing.
func (r *Region) poll(what string, check func() []string) {
	r.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	found := check()
	for deadline := time.Now().Add(leakTimeout); len(found) > 0; found = check() {
		if time.Now().After(deadline) {
			r.t.Errorf("%s:\n%s", what, strings.Join(found, "\n"))
			return
		}
		<-tick.C
	}
}

// left lists a directory.
func left(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		names = append(names, fmt.Sprintf("file %s/%s", dir, e.Name()))
	}
	return names
}
