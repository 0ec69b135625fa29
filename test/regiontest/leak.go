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

const (
	// leakTimeout bounds the wait for a server, or its host, to come back to what it was.
	leakTimeout = 30 * time.Second
	leakEvery   = 50 * time.Millisecond
	// leakSame is how many looks in a row must find nothing more in a server that idles.
	leakSame = 6
)

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

// watchServer notes what the server has when it idles, and sees to it that it has no more when the
// test has ended.
func (r *Region) watchServer() {
	r.t.Helper()
	r.base = r.idle()
	own := r.cmd
	r.t.Cleanup(func() {
		if r.cmd == own && !r.t.Failed() && !r.t.Skipped() {
			r.Drop()
			r.Settle()
		}
	})
}

// Recount takes what the server has now for what it may have when it idles: for a server that is
// ready before all of its own is running, on a slow disk.
func (r *Region) Recount() {
	r.t.Helper()
	r.http.CloseIdleConnections()
	base, err := leak.Server(r.PID(), r.State, r.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	r.base = base
}

// idle is what the server has once it has more no longer: what it begins when it is ready goes on
// in the background for a moment.
func (r *Region) idle() leak.Counts {
	r.t.Helper()
	tick := time.NewTicker(leakEvery)
	defer tick.Stop()
	most, same := leak.Counts{}, 0
	for deadline := time.Now().Add(leakTimeout); same < leakSame && time.Now().Before(deadline); <-tick.C {
		now, err := leak.Server(r.PID(), r.State, r.URL)
		if err != nil {
			r.t.Fatal(err)
		}
		if same++; len(now.Above(most)) > 0 {
			same = 0
			for kind, n := range now {
				most[kind] = max(most[kind], n)
			}
		}
	}
	return most
}

// Settle waits until the server has no more descriptors and goroutines than when it idled at first.
func (r *Region) Settle() {
	r.t.Helper()
	r.http.CloseIdleConnections()
	r.poll("the server idles and has more than it had at first", func() []string {
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
	tick := time.NewTicker(leakEvery)
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
