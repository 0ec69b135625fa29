package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// mortal ends its environment in the way that it is told to, or answers.
const mortal = `
import os, sys, time, threading
def handler(e, c):
    how = e["how"]
    open("/tmp/" + c.aws_request_id, "w").write("x" * 100000)
    if how == "exit": os._exit(3)
    if how == "raise": sys.exit(1)
    if how == "memory": return len(bytearray(os.urandom(1) * (400 << 20)))
    if how == "time": time.sleep(60)
    if how == "threads": [threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(20)]
    return how
`

// TestChurn makes environments that end in every way there is, and sees that nothing of them
// stays: not on the host, nor in the server.
func TestChurn(t *testing.T) {
	r := fresh(t)
	r.Up("--idle-timeout", "2s")
	role := r.Role("churn")
	in := python("churn", role)
	in.Timeout = aws.Int32(2)
	r.Create(in, source(mortal))
	c := r.Lambda()
	ways := []string{"exit", "raise", "threads", "exit", "memory", "exit", "raise", "threads", "time", "raise"}

	// What is made at the first use stays for all others; RSS is compared from here on.
	round := func(n int) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					how := ways[int(i)%len(ways)]
					out, err := c.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("churn"), Payload: fmt.Appendf(nil, `{"how":%q}`, how)})
					var busy *types.TooManyRequestsException
					switch {
					case errors.As(err, &busy):
						next.Add(-1)
					case err != nil:
						t.Errorf("%s: %v", how, err)
					case (aws.ToString(out.FunctionError) == "") != (how == "threads"):
						t.Errorf("%s: %s %s", how, aws.ToString(out.FunctionError), out.Payload)
					}
				}
			})
		}
		wg.Wait()
	}
	want := times(60, 1000)
	round(want / 4)
	before := resident(t, r.PID())
	for environments(t, r.Config()) < want && !t.Failed() {
		round(want / 4)
	}
	after := resident(t, r.PID())
	t.Logf("%d environments; the server's memory: %d MB, then %d MB", environments(t, r.Config()), before>>20, after>>20)
	if grown := after - before; grown > 64<<20 {
		t.Errorf("the server grew by %d MB", grown>>20)
	}
	r.Drop()
	r.Settle()
}

// environments counts the log streams of the function: each environment has its own.
func environments(t *testing.T, cfg aws.Config) (n int) {
	t.Helper()
	pages := cloudwatchlogs.NewDescribeLogStreamsPaginator(cloudwatchlogs.NewFromConfig(cfg), &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String("/aws/lambda/churn")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.LogStreams)
	}
	return n
}

// resident is a process's memory.
func resident(t *testing.T, pid int) (bytes int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(v, &bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	return bytes << 10
}
