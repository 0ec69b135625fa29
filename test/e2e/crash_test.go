package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/regiontest"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestKill kills the server with -9 while clients write. What was acknowledged is there after the
// restart and runs, and no sandbox outlives the server by 2 s.
func TestKill(t *testing.T) {
	r := start(t)
	role := r.Role("kill")
	code := map[string]string{"app.py": "import time\ndef handler(e, c):\n    print('said', e)\n    return e\n"}
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("kept"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.handler")}, code)
	r.invoke("kept", `"before"`)

	client := r.Lambda()
	roles := iam.NewFromConfig(r.Config())
	var mu sync.Mutex
	var functions, names []string
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("w%d-%d", w, i)
				if _, err := roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(regiontest.Trust)}); err == nil {
					mu.Lock()
					names = append(names, name)
					mu.Unlock()
				}
				_, err := client.CreateFunction(ctx, &lambda.CreateFunctionInput{FunctionName: &name, Role: &role, Runtime: types.RuntimePython313,
					Handler: aws.String("app.handler"), Code: &types.FunctionCode{ZipFile: regiontest.Zip(t, code)}})
				if err == nil {
					mu.Lock()
					functions = append(functions, name)
					mu.Unlock()
				}
			}
		})
	}
	waitFor(t, 20*time.Second, "8 functions created", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(functions) >= 8
	})
	r.Stop(syscall.SIGKILL)
	stop()
	wg.Wait()
	waitFor(t, 2*time.Second, "sandboxes gone", func() bool { return sandboxes(r.State) == 0 })

	r.Up()
	client, roles = r.Lambda(), iam.NewFromConfig(r.Config())
	t.Logf("acknowledged before the kill: %d functions, %d roles", len(functions), len(names))
	for _, name := range functions {
		if _, err := client.GetFunction(context.Background(), &lambda.GetFunctionInput{FunctionName: &name}); err != nil {
			t.Errorf("function %s was acknowledged: %v", name, err)
		}
	}
	for _, name := range names {
		if _, err := roles.GetRole(context.Background(), &iam.GetRoleInput{RoleName: &name}); err != nil {
			t.Errorf("role %s was acknowledged: %v", name, err)
		}
	}
	if got := r.invoke("kept", `"after"`); got.body != `"after"` {
		t.Errorf("after the restart: %+v", got)
	}
	last := functions[len(functions)-1]
	w := lambda.NewFunctionActiveV2Waiter(client, func(o *lambda.FunctionActiveV2WaiterOptions) { o.MinDelay = 100 * time.Millisecond })
	if err := w.Wait(context.Background(), &lambda.GetFunctionInput{FunctionName: &last}, time.Minute); err != nil {
		t.Errorf("%s: %v", last, err)
	} else if got := r.invoke(last, `1`); got.body != "1" {
		t.Errorf("%s: %+v", last, got)
	}
	logs := r.aws("logs", "filter-log-events", "--log-group-name", "/aws/lambda/kept", "--query", "events[].message", "--output", "text")
	if !strings.Contains(logs, "said before") || !strings.Contains(logs, "said after") {
		t.Errorf("the log lacks a line:\n%s", logs)
	}
}

// sandboxes counts the sandbox processes that a server's state directory names.
func sandboxes(state string) int {
	out, _ := exec.Command("pgrep", "-c", "-f", "runsc.*"+state).Output()
	var n int
	_, _ = fmt.Sscan(string(out), &n)
	return n
}

// waitFor polls for a condition that another process brings about.
func waitFor(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}
