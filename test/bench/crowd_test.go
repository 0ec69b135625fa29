package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/test/regiontest"
)

// crowded is a server with many functions.
type crowded struct {
	created   time.Duration // until all were created
	ready     []time.Duration
	rss, anon int64 // bytes, of the idle server and its reaper
}

// crowd creates many functions, restarts the server and looks at it while it idles.
func crowd(t *testing.T, r *regiontest.Region, role string) (c crowded) {
	code := regiontest.Zip(t, map[string]string{"app.py": "def handler(e, c):\n    return e\n"})
	api := r.Lambda()
	began := time.Now()
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(16)
	for i := range functions {
		g.Go(func() error {
			_, err := api.CreateFunction(ctx, &lambda.CreateFunctionInput{
				FunctionName: aws.String(fmt.Sprintf("crowd-%04d", i)), Role: &role, Runtime: types.RuntimePython313,
				Handler: aws.String("app.handler"), Code: &types.FunctionCode{ZipFile: code},
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	c.created = time.Since(began)
	for range 3 {
		r.Stop(syscall.SIGTERM)
		c.ready = append(c.ready, r.Up())
	}
	<-time.After(idleSettling)
	c.rss, c.anon = memory(t, r.PID())
	return c
}

// memory is what a process and its children have resident.
func memory(t *testing.T, pid int) (rss, anon int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			rss += kb << 10
		}
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kb); err == nil {
			anon += kb << 10
		}
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list) // a thread that is gone has none
		for _, child := range strings.Fields(string(children)) {
			id, err := strconv.Atoi(child)
			if err != nil {
				t.Fatal(err)
			}
			r, a := memory(t, id)
			rss, anon = rss+r, anon+a
		}
	}
	return rss, anon
}
