package e2e

import (
	"context"
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

	"lambent.dev/lambent/internal/lifecycle"
)

// descendants are the processes below one, with their command lines.
func descendants(t *testing.T, root int) map[int]string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	parent := map[int]int{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
		fields := strings.Fields(rest)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		parent[pid], _ = strconv.Atoi(fields[1])
	}
	out := map[int]string{}
	for pid := range parent {
		for p := pid; p > 1; p = parent[p] {
			if parent[p] == root {
				b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
				out[pid] = strings.ReplaceAll(string(b), "\x00", " ")
				break
			}
		}
	}
	return out
}

// TestOOMScores: the kernel's OOM killer takes sandboxes first, with all their processes, and the
// server last.
func TestOOMScores(t *testing.T) {
	r := start(t)
	role := r.Role("oom")
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("f"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.h"), Timeout: aws.Int32(30)},
		map[string]string{"app.py": "import subprocess\ndef h(e, c): return subprocess.run(['/bin/sh', '-c', 'echo x | cat'], capture_output=True, text=True).stdout\n"})
	if a := r.invoke("f", `{}`); a.body != `"x\n"` {
		t.Fatalf("got %s (%s)", a.body, a.fault)
	}
	score := func(pid int) string {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/oom_score_adj")
		return strings.TrimSpace(string(b))
	}
	server := "-900"
	if own := score(os.Getpid()); os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0) != nil {
		server = own // a root without CAP_SYS_RESOURCE: the server says so in its log
	} else if err := os.WriteFile("/proc/self/oom_score_adj", []byte(own), 0); err != nil {
		t.Error(err)
	}
	if got := score(r.PID()); got != server {
		t.Errorf("the server's score is %s, want %s", got, server)
	}
	sandboxed := 0
	for pid, cmd := range descendants(t, r.PID()) {
		switch got := score(pid); {
		case strings.Contains(cmd, " reap "):
			if got != server {
				t.Errorf("the reaper's score is %s, want %s", got, server)
			}
		case got == "":
			// ended meanwhile
		case got != "500":
			t.Errorf("the score of %d is %s: %s", pid, got, cmd)
		default:
			sandboxed++
		}
	}
	if sandboxed < 2 {
		t.Errorf("%d processes of sandboxes, want the sentry and its stubs", sandboxed)
	}
}

// TestSecondSignal: a server that drains ends at once when it is told again, and takes its
// sandboxes with it.
func TestSecondSignal(t *testing.T) {
	r := start(t, "--drain", "2m")
	role := r.Role("slow")
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("slow"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.h"), Timeout: aws.Int32(120)},
		map[string]string{"app.py": "import time\ndef h(e, c): time.sleep(100)\n"})
	c := r.Lambda()
	wait := lifecycle.Go("invoke", func() {
		_, _ = c.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("slow")}) // it is broken off
	})
	defer wait()
	waitFor(t, 20*time.Second, "the function to run", func() bool { return sandboxes(r.State) > 0 })
	pid := r.PID()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// It drains: new requests are refused, the old one is still there.
	waitFor(t, 10*time.Second, "the end of the listener", func() bool {
		_, err := c.ListFunctions(context.Background(), &lambda.ListFunctionsInput{}, func(o *lambda.Options) { o.Retryer = aws.NopRetryer{} })
		return err != nil
	})
	if sandboxes(r.State) == 0 {
		t.Error("the invocation in flight was not given its time")
	}
	began := time.Now()
	r.Stop(syscall.SIGINT)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the second signal took %s", took)
	}
	waitFor(t, 5*time.Second, "the end of the sandboxes", func() bool { return sandboxes(r.State) == 0 })
	r.Up() // which sweeps what the end left
}
