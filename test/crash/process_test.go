package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/regiontest"
)

// napper says that it runs, sleeps and answers.
const napper = `
import time
def handler(e, c):
    time.sleep(e.get("seconds", 0))
    return e["say"]
`

// TestProcessesKilled kills what a server has around it: sandboxes at work, idle and starting, every
// process of a sandbox's, the reaper. The region goes on, nobody waits for an answer that does not
// come, and sandboxes still die with their server.
func TestProcessesKilled(t *testing.T) {
	r := fresh(t)
	r.Up()
	in := python("nap", r.Role("nap"))
	in.MemorySize = aws.Int32(512)
	r.Create(in, source(napper))
	c := r.Lambda()
	if got := invoke(t, c, "nap", `{"say":1}`); got.body != "1" {
		t.Fatalf("the first one: %+v", got)
	}
	t.Run("at work", func(t *testing.T) { killedAtWork(t, r, c) })
	t.Run("idle", func(t *testing.T) {
		for _, pid := range sandboxes(t, r) {
			kill(t, pid)
		}
		if got := invoke(t, c, "nap", `{"say":2}`); got != (answer{body: "2"}) {
			t.Errorf("after the end of an idle sandbox: %+v", got)
		}
	})
	t.Run("under load", func(t *testing.T) { killedUnderLoad(t, r, c) })
	t.Run("reaper", func(t *testing.T) { reaperKilled(t, r, c) })
	t.Run("all", func(t *testing.T) {
		for _, pid := range append(reapers(t, r), r.PID()) {
			kill(t, pid)
		}
		r.Stop(syscall.SIGKILL)
		left := len(sandboxes(t, r))
		r.Up()
		if n := len(sandboxes(t, r)); n != 0 {
			t.Errorf("%d of %d sandboxes are left when the next server is ready", n, left)
		}
		if got := invoke(t, r.Lambda(), "nap", `{"say":3}`); got.body != "3" {
			t.Errorf("the next server: %+v", got)
		}
	})
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Fatal(err)
	}
}

// reapers are the region's reapers.
func reapers(t *testing.T, r *regiontest.Region) []int { return processes(t, r, " reap ") }

// killedAtWork kills each process of a sandbox in turn while its function runs.
func killedAtWork(t *testing.T, r *regiontest.Region, c *lambda.Client) {
	kinds := len(sandboxes(t, r))
	t.Logf("a sandbox is %d processes", kinds)
	for i := range kinds {
		done := inBackground(c, "nap", `{"say":"late","seconds":20}`)
		var pids []int
		waitFor(t, 10*time.Second, "the function runs", func() bool {
			pids = sandboxes(t, r)
			return len(pids) > i && busy(pids)
		})
		began := time.Now()
		kill(t, pids[i])
		got := <-done
		if got.fault != "Unhandled" || !strings.Contains(got.body, `"errorType":"Runtime.ExitError"`) {
			t.Errorf("process %d of the sandbox was killed: %+v", i, got)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("process %d of the sandbox was killed: the answer took %s", i, d)
		}
		if got := invoke(t, c, "nap", `{"say":"again"}`); got.body != `"again"` {
			t.Errorf("after that: %+v", got)
		}
	}
}

// busy tells whether any of the processes is not frozen: their function has begun, or will.
func busy(pids []int) bool {
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
		if string(b) != "do_freezer_trap" && string(b) != "__refrigerator" {
			return true
		}
	}
	return false
}

// killedUnderLoad kills sandboxes at random moments of their lives: boot, initialisation, work,
// idleness. Each invocation is answered: by its function, by the end of its sandbox, or, if the
// sandbox was killed before it had started, by an error that SDKs repeat.
func killedUnderLoad(t *testing.T, r *regiontest.Region, c *lambda.Client) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var good, bad, unborn atomic.Int64
	once := func(o *lambda.Options) { o.Retryer = aws.NopRetryer{} }
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				say := fmt.Sprintf(`"%d-%d"`, w, i)
				ctx, cancel := attempt()
				began := time.Now()
				out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("nap"), Payload: []byte(`{"seconds":0.05,"say":` + say + `}`)}, once)
				cancel()
				var internal *types.ServiceException
				switch {
				case errors.As(err, &internal):
					unborn.Add(1)
				case err != nil:
					t.Errorf("%s: %v", say, err)
				case out.FunctionError != nil && strings.Contains(string(out.Payload), "Runtime.ExitError"):
					bad.Add(1)
				case out.FunctionError != nil || string(out.Payload) != say:
					t.Errorf("%s: %s %s", say, aws.ToString(out.FunctionError), out.Payload)
				default:
					good.Add(1)
				}
				if d := time.Since(began); d > 15*time.Second {
					t.Errorf("%s took %s", say, d)
				}
			}
		})
	}
	kills := 0
	for range times(20, 200) {
		answers := func() int64 { return good.Load() + bad.Load() + unborn.Load() }
		before := answers()
		waitFor(t, 30*time.Second, "an answer", func() bool { return answers() > before })
		if pids := sandboxes(t, r); len(pids) > 0 {
			kill(t, pids[kills%len(pids)])
			kills++
		}
	}
	before := good.Load()
	waitFor(t, 30*time.Second, "answers after the last kill", func() bool { return good.Load() > before+8 })
	stop()
	wg.Wait()
	t.Logf("%d kills: %d invocations answered, %d ended with their sandbox, %d had none", kills, good.Load(), bad.Load(), unborn.Load())
	if n := bad.Load() + unborn.Load(); n > int64(kills) {
		t.Errorf("%d invocations failed by %d kills", n, kills)
	}
}

// reaperKilled kills the reaper: the server starts another one, which does the work.
func reaperKilled(t *testing.T, r *regiontest.Region, c *lambda.Client) {
	old := reapers(t, r)
	if len(old) != 1 {
		t.Fatalf("reapers: %v", old)
	}
	kill(t, old[0])
	waitFor(t, 10*time.Second, "another reaper", func() bool {
		now := reapers(t, r)
		return len(now) == 1 && !slices.Equal(now, old)
	})
	if got := invoke(t, c, "nap", `{"say":4}`); got.body != "4" {
		t.Errorf("without the first reaper: %+v", got)
	}
	if len(sandboxes(t, r)) == 0 {
		t.Error("no sandbox to kill")
	}
	r.Stop(syscall.SIGKILL)
	waitFor(t, 2*time.Second, "sandboxes gone with their server", func() bool { return len(sandboxes(t, r)) == 0 })
	r.Up()
}
