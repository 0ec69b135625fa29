// Package bench measures a real server with the real sandbox and writes docs/performance.md.
// `make bench` runs it; without LAMBENT_BENCH it is skipped.
//
// Everything is measured beside what it is compared with, turn by turn in the same run: on a
// noisy machine a ratio says more than a time.
package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/regiontest"
)

const (
	coldRounds   = 15
	warmRounds   = 300
	hotBlock     = 30                     // invocations back to back before the other side's turn
	thawPause    = 120 * time.Millisecond // nothing runs for so long before a warm-thawed invocation
	coldMemory   = 128
	warmMemory   = 1769
	functions    = 1000
	idleSettling = 10 * time.Second
)

// subject is a runtime with a function that prints a line and returns.
type subject struct {
	runtime string
	handler string
	files   map[string]string
	line    []string // a command that prints one line in the runtime's image
	bare    *bare
	alone   *alone
}

// sample is what was measured of one row: the same number of times on each side.
type sample struct {
	name, runtime        string
	lambent, bare, runsc []time.Duration
}

func TestPerformance(t *testing.T) {
	if os.Getenv("LAMBENT_BENCH") == "" {
		t.Skip("LAMBENT_BENCH is not set: run this by `make bench`")
	}
	if os.Geteuid() != 0 {
		t.Fatal("sandboxes need root")
	}
	began := time.Now()
	r := regiontest.New(t, need(t, "LAMBENT_E2E"), need(t, "LAMBENT_RUNTIMES"), filepath.Join(t.TempDir(), "state"))
	r.Up()
	role := r.Role("bench")
	subjects := subjects(t)
	for _, s := range subjects {
		s.bare = newBare(t, r.Runtimes, s)
		s.alone = newAlone(t, r.Runtimes, s)
		for _, memory := range []int{coldMemory, warmMemory} {
			r.Create(lambda.CreateFunctionInput{
				FunctionName: aws.String(name(s, memory)), Role: &role, Runtime: types.Runtime(s.runtime), Handler: &s.handler,
				MemorySize: aws.Int32(int32(memory)), Timeout: aws.Int32(30),
			}, s.files)
		}
	}
	c := newClient(t, r.Config(), r.URL)
	var res results
	res.samples = append(res.samples, cold(t, r, c, subjects)...)
	t.Logf("cold: %s", time.Since(began))
	res.samples = append(res.samples, hot(t, c, subjects)...)
	t.Logf("warm-hot: %s", time.Since(began))
	res.samples = append(res.samples, thawed(t, c, subjects)...)
	t.Logf("warm-thawed: %s", time.Since(began))
	res.front = frontEnd(t, c, name(subjects[len(subjects)-1], warmMemory))
	res.events = events(t)
	res.crowd = crowd(t, r, role)
	res.many = multiply(t, r, role)
	res.ledger = ledger(t)
	res.took = time.Since(began)
	if err := os.WriteFile("../../docs/performance.md", []byte(res.document(t)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func need(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run this by `make bench`", name)
	}
	return v
}

// name is the function of a subject with so much memory.
func name(s *subject, memory int) string { return fmt.Sprintf("bench-%s-%d", s.alias(), memory) }

// alias is the runtime's identifier as a function's name may have it.
func (s *subject) alias() string { return strings.ReplaceAll(s.runtime, ".", "-") }

// subjects are the runtimes measured; the last one is the leanest.
func subjects(t *testing.T) []*subject {
	t.Helper()
	bootstrap := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bootstrap, "../../packaging/functions/go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the Go function: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	js := map[string]string{"index.mjs": "export const handler = async (event) => {\n  console.log('hello from Node.js');\n  return { hello: event.name };\n};\n"}
	py := map[string]string{"app.py": "def handler(event, context):\n    print('hello from Python')\n    return {'hello': event['name']}\n"}
	node := []string{"/var/lang/bin/node", "-e", "console.log('one line')"}
	return []*subject{
		{runtime: "nodejs22.x", handler: "index.handler", files: js, line: node},
		{runtime: "nodejs24.x", handler: "index.handler", files: js, line: node},
		{
			runtime: "python3.13", handler: "app.handler", files: py,
			line: []string{"/var/lang/bin/python3.13", "-c", "print('one line')"},
		},
		{
			// Outside of an execution environment the same binary prints that there is none.
			runtime: "provided.al2023", handler: "bootstrap", files: map[string]string{"bootstrap": string(binary)},
			line: []string{"/var/task/bootstrap"},
		},
	}
}

// cold measures first invocations: each in a new environment on the plain path.
func cold(t *testing.T, r *regiontest.Region, c *client, subjects []*subject) []*sample {
	rows := samples("cold", subjects)
	for round := -1; round < coldRounds; round++ { // the first fills the host's caches
		for i, s := range subjects {
			fresh(t, r, name(s, coldMemory), round)
			row := sample{lambent: []time.Duration{c.invoke(t, name(s, coldMemory))}}
			row.bare = append(row.bare, s.bare.cold(t))
			row.runsc = append(row.runsc, s.alone.run(t))
			if round >= 0 {
				rows[i].lambent = append(rows[i].lambent, row.lambent...)
				rows[i].bare = append(rows[i].bare, row.bare...)
				rows[i].runsc = append(rows[i].runsc, row.runsc...)
			}
		}
	}
	return rows
}

// fresh changes a function, so that its next invocation finds no environment, and waits until
// the ones of before are surely gone.
func fresh(t *testing.T, r *regiontest.Region, name string, round int) {
	t.Helper()
	c := r.Lambda()
	if _, err := c.UpdateFunctionConfiguration(context.Background(), &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &name, Environment: &types.Environment{Variables: map[string]string{"ROUND": strconv.Itoa(round)}},
	}); err != nil {
		t.Fatal(err)
	}
	w := lambda.NewFunctionUpdatedV2Waiter(c, func(o *lambda.FunctionUpdatedV2WaiterOptions) { o.MinDelay = 50 * time.Millisecond })
	if err := w.Wait(context.Background(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	<-time.After(200 * time.Millisecond)
}

// hot measures invocations back to back, in blocks, against the same exchange with a process.
func hot(t *testing.T, c *client, subjects []*subject) []*sample {
	rows := samples("warm-hot", subjects)
	for range warmRounds / hotBlock {
		for i, s := range subjects {
			c.invoke(t, name(s, warmMemory)) // cold, or thaws
			for range hotBlock {
				rows[i].lambent = append(rows[i].lambent, c.invoke(t, name(s, warmMemory)))
			}
			s.bare.exchange(t)
			for range hotBlock {
				rows[i].bare = append(rows[i].bare, s.bare.exchange(t))
			}
		}
	}
	return rows
}

// thawed measures invocations of environments that were frozen; the process has slept as long.
func thawed(t *testing.T, c *client, subjects []*subject) []*sample {
	rows := samples("warm-thawed", subjects)
	pause := thawPause / time.Duration(len(subjects)-1) // the others' turns are part of one's pause
	for range warmRounds {
		for i, s := range subjects {
			<-time.After(pause)
			rows[i].lambent = append(rows[i].lambent, c.invoke(t, name(s, warmMemory)))
			rows[i].bare = append(rows[i].bare, s.bare.exchange(t))
		}
	}
	return rows
}

func samples(name string, subjects []*subject) []*sample {
	var rows []*sample
	for _, s := range subjects {
		rows = append(rows, &sample{name: name, runtime: s.runtime})
	}
	return rows
}
