package environment_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/environment/environmenttest"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/runtimes/bootstrap"
)

var fn = function.Function{
	Account: "123456789012", Region: "eu-test-1", Name: "f", Version: "$LATEST",
	Settings: function.Settings{Timeout: 1, Memory: 128, EphemeralStorage: 512}, LogGroup: "/aws/lambda/f",
}

func invocation(id string) function.Invocation {
	return function.Invocation{RequestID: id, Payload: []byte(`{"id":"` + id + `"}`), InvokedARN: fn.ARN(), Tail: true}
}

func start(t *testing.T, cfg environment.Config) *environment.Environment {
	t.Helper()
	e, err := environment.Start(t.Context(), cfg, environment.Spec{Function: fn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// result is a function.Result with its body read.
type result struct {
	Body, Error, Outcome string
	Cold                 bool
}

func invoke(t *testing.T, e *environment.Environment, id string) (result, function.Result) {
	t.Helper()
	r, err := e.Invoke(t.Context(), invocation(id))
	if err != nil {
		t.Fatalf("Invoke %s: %v", id, err)
	}
	return result{readAll(t, r), r.Error, r.Report.Outcome, r.Report.Cold}, r
}

func readAll(t *testing.T, r function.Result) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

var (
	number = regexp.MustCompile(`\d+\.\d\d ms`)
	whole  = regexp.MustCompile(`Billed Duration: \d+ ms`)
	stamp  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
)

// normal replaces measured times.
func normal(s string) string {
	s = whole.ReplaceAllString(number.ReplaceAllString(s, "N ms"), "Billed Duration: N ms")
	return stamp.ReplaceAllString(s, "TIME")
}

func wantLog(t *testing.T, logs *environmenttest.Logs, want ...string) {
	t.Helper()
	got := logs.Messages()
	for i := range got {
		got[i] = normal(got[i])
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("log (-want +got):\n%s", d)
	}
}

const initStart = "INIT_START Runtime Version: test:1.v1\tRuntime Version ARN: arn:test\n"

func report(id, more string) string {
	return "REPORT RequestId: " + id + "\tDuration: N ms\tBilled Duration: N ms\tMemory Size: 128 MB\tMax Memory Used: 30 MB\t" + more + "\n"
}

func TestInvoke(t *testing.T) {
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
		fmt.Fprint(r.Stdout, "loading\nhalf")
		return r.Serve(func(id string, event []byte) []byte {
			fmt.Fprintf(r.Stdout, "hello %s\nbye", id)
			return event
		})
	})
	e := start(t, m.Config())
	got, r := invoke(t, e, "id-1")
	if d := cmp.Diff(result{`{"id":"id-1"}`, "", "success", true}, got); d != "" {
		t.Error(d)
	}
	if r.Version != "$LATEST" || r.Size != 13 || r.Report.Init <= 0 || r.Report.Memory != 128 || r.Report.MaxMemory != 30 || r.Report.RequestID != "id-1" {
		t.Errorf("result = %+v", r)
	}
	// The log is complete when Invoke has returned, and the tail is the invocation's part of it.
	wantLog(t, m.Logs, initStart, "loading\n", "START RequestId: id-1 Version: $LATEST\n", "halfhello id-1\n", "bye",
		"END RequestId: id-1\n", report("id-1", "Init Duration: N ms\t"))
	want := "START RequestId: id-1 Version: $LATEST\nhalfhello id-1\nbyeEND RequestId: id-1\n" + report("id-1", "Init Duration: N ms\t")
	if d := cmp.Diff(want, normal(string(r.LogTail))); d != "" {
		t.Errorf("tail: %s", d)
	}
	got, r = invoke(t, e, "id-2")
	if d := cmp.Diff(result{`{"id":"id-2"}`, "", "success", false}, got); d != "" {
		t.Error(d)
	}
	if r.Report.Init != 0 || strings.Contains(string(r.LogTail), "Init") {
		t.Errorf("a warm invocation reports initialisation: %+v %s", r.Report, r.LogTail)
	}
	if len(m.Boxes.All()) != 1 {
		t.Errorf("%d sandboxes", len(m.Boxes.All()))
	}
	spec := m.Specs.All()[0]
	if spec.Memory != 128<<20 || spec.Scratch != 512<<20 || spec.CPUs != 2 || spec.CPU != 2000 {
		t.Errorf("spec = %+v", spec)
	}
	if d := cmp.Diff([]int{72}, m.Boxes.All()[0].CPU()); d != "" {
		t.Errorf("quota after init: %s", d)
	}
	if want := []string{"AWS_ACCESS_KEY_ID=AK", "AWS_LAMBDA_LOG_STREAM_NAME=" + e.LogStream()}; !slices.Equal(spec.Env, want) || len(spec.Files) != 1 {
		t.Errorf("env = %q, want %q", spec.Env, want)
	}
	if !regexp.MustCompile(`^\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}$`).MatchString(e.LogStream()) {
		t.Errorf("stream = %q", e.LogStream())
	}
}

// TestFailures: whatever the runtime does instead of answering, the caller gets AWS's document.
func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(r *environmenttest.Runtime, id string) int
		want result
		log  []string // between START and END
		more string   // at the end of REPORT
		dead bool
	}{
		{
			"function error", func(r *environmenttest.Runtime, id string) int {
				r.Post("invocation/"+id+"/error", []byte(`{"errorMessage":"no","errorType":"ValueError"}`), "Lambda-Runtime-Function-Error-Type", "Unhandled")
				return r.Serve(nil)
			},
			result{`{"errorMessage":"no","errorType":"ValueError"}`, "Unhandled", "failure", true}, nil, "Init Duration: N ms\t", false,
		},
		{
			"exit 1", func(*environmenttest.Runtime, string) int { return 1 },
			result{`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: id-1 Error: Runtime exited with error: exit status 1"}`, "Unhandled", "error", true},
			[]string{"RequestId: id-1 Error: Runtime exited with error: exit status 1\nRuntime.ExitError\n"},
			"Init Duration: N ms\tStatus: error\tError Type: Runtime.ExitError", true,
		},
		{
			"exit 0", func(*environmenttest.Runtime, string) int { return 0 },
			result{`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: id-1 Error: Runtime exited without providing a reason"}`, "Unhandled", "error", true},
			[]string{"RequestId: id-1 Error: Runtime exited without providing a reason\nRuntime.ExitError\n"},
			"Init Duration: N ms\tStatus: error\tError Type: Runtime.ExitError", true,
		},
		{
			"segmentation fault", func(r *environmenttest.Runtime, _ string) int {
				r.Exit(sandbox.Exit{Code: 139, Signal: 11})
				return 0
			},
			result{`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: id-1 Error: Runtime exited with error: signal: segmentation fault"}`, "Unhandled", "error", true},
			[]string{"RequestId: id-1 Error: Runtime exited with error: signal: segmentation fault\nRuntime.ExitError\n"},
			"Init Duration: N ms\tStatus: error\tError Type: Runtime.ExitError", true,
		},
		{
			"out of memory", func(r *environmenttest.Runtime, _ string) int {
				r.Exit(sandbox.Exit{Code: 137, Signal: 9, OOM: true})
				return 0
			},
			result{`{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: id-1 Error: Runtime exited with error: signal: killed"}`, "Unhandled", "error", true},
			[]string{"RequestId: id-1 Error: Runtime exited with error: signal: killed\nRuntime.OutOfMemory\n"},
			"Init Duration: N ms\tStatus: error\tError Type: Runtime.OutOfMemory", true,
		},
		{
			"time-out", func(r *environmenttest.Runtime, _ string) int {
				fmt.Fprintln(r.Stdout, "working")
				<-r.Killed()
				return 137
			},
			result{`{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: id-1 Error: Task timed out after 1.00 seconds"}`, "Unhandled", "timeout", true},
			[]string{"working\n", "TIME id-1 Task timed out after 1.00 seconds\n\n"}, "Init Duration: N ms\tStatus: timeout", true,
		},
		{
			"oversize response", func(r *environmenttest.Runtime, id string) int {
				r.Respond(id, make([]byte, 7<<20))
				return r.Serve(nil)
			},
			result{`{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`, "Unhandled", "failure", true},
			nil, "Init Duration: N ms\t", false,
		},
		{
			"broken JSON is passed on", func(r *environmenttest.Runtime, id string) int {
				r.Respond(id, []byte(`{"a":`))
				return r.Serve(nil)
			},
			result{`{"a":`, "", "success", true}, nil, "Init Duration: N ms\t", false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
				id, _, _, ok := r.Next()
				if !ok {
					return 137
				}
				return tc.do(r, id)
			})
			e := start(t, m.Config())
			got, _ := invoke(t, e, "id-1")
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
			rep := report("id-1", "")
			if tc.name == "out of memory" {
				rep = strings.Replace(rep, "Used: 30", "Used: 128", 1)
			}
			log := append([]string{initStart, "START RequestId: id-1 Version: $LATEST\n"}, tc.log...)
			log = append(log, "END RequestId: id-1\n", strings.TrimSuffix(rep, "\n")+tc.more+"\n")
			wantLog(t, m.Logs, log...)
			if tc.dead {
				<-e.Done()
				if _, err := e.Invoke(t.Context(), invocation("id-2")); !errors.Is(err, environment.ErrGone) {
					t.Errorf("Invoke on a dead environment: %v", err)
				}
			}
		})
	}
}

// TestInitFailures: a failed initialisation is repeated by the first invocation.
func TestInitFailures(t *testing.T) {
	initError := func(r *environmenttest.Runtime) int {
		r.Post("init/error", []byte(`{"errorType":"Runtime.ImportModuleError","requestId":""}`), "Lambda-Runtime-Function-Error-Type", "Runtime.ImportModuleError")
		fmt.Fprintln(r.Stdout, "no module")
		return 1
	}
	echo := func(r *environmenttest.Runtime) int {
		return r.Serve(func(_ string, event []byte) []byte { return event })
	}
	hang := func(r *environmenttest.Runtime) int { <-r.Killed(); return 137 }
	for _, tc := range []struct {
		name  string
		boots []func(r *environmenttest.Runtime) int
		want  result
		log   []string
	}{
		{
			"reported twice",
			[]func(r *environmenttest.Runtime) int{initError, initError},
			result{`{"errorType":"Runtime.ImportModuleError","requestId":""}`, "Unhandled", "error", true},
			[]string{
				initStart, "no module\n", "INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError\n",
				"no module\n", "INIT_REPORT Init Duration: N ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ImportModuleError\n",
				"START RequestId: id-1 Version: $LATEST\n", "END RequestId: id-1\n", report("id-1", "Status: error\tError Type: Runtime.ImportModuleError"),
			},
		},
		{
			"exits, then works",
			[]func(r *environmenttest.Runtime) int{func(*environmenttest.Runtime) int { return 3 }, echo},
			result{`{"id":"id-1"}`, "", "success", true},
			[]string{
				initStart, "INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\n",
				"START RequestId: id-1 Version: $LATEST\n", "END RequestId: id-1\n", report("id-1", ""),
			},
		},
		{
			"exits twice",
			[]func(r *environmenttest.Runtime) int{func(*environmenttest.Runtime) int { return 3 }, func(*environmenttest.Runtime) int { return 126 }},
			result{`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: id-1 Error: Runtime exited with error: exit status 126"}`, "Unhandled", "error", true},
			[]string{
				initStart, "INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\n",
				"INIT_REPORT Init Duration: N ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ExitError\n",
				"START RequestId: id-1 Version: $LATEST\n", "RequestId: id-1 Error: Runtime exited with error: exit status 126\nRuntime.ExitError\n",
				"END RequestId: id-1\n", report("id-1", "Status: error\tError Type: Runtime.ExitError"),
			},
		},
		{
			"times out twice",
			[]func(r *environmenttest.Runtime) int{hang, hang},
			result{`{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: id-1 Error: Task timed out after 1.00 seconds"}`, "Unhandled", "timeout", true},
			[]string{
				initStart, "INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: timeout\n",
				"INIT_REPORT Init Duration: N ms\tPhase: invoke\tStatus: timeout\n",
				"START RequestId: id-1 Version: $LATEST\n", "TIME id-1 Task timed out after 1.00 seconds\n\n",
				"END RequestId: id-1\n", report("id-1", "Status: timeout"),
			},
		},
		{
			"no bootstrap",
			[]func(r *environmenttest.Runtime) int{
				func(*environmenttest.Runtime) int { return bootstrap.ExitNone },
				func(*environmenttest.Runtime) int { return bootstrap.ExitNone },
			},
			result{`{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: id-1 Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"}`, "Unhandled", "error", true},
			[]string{
				initStart, "INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: error\tError Type: Runtime.InvalidEntrypoint\n",
				"INIT_REPORT Init Duration: N ms\tPhase: invoke\tStatus: error\tError Type: Runtime.InvalidEntrypoint\n",
				"START RequestId: id-1 Version: $LATEST\n",
				"RequestId: id-1 Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]\nRuntime.InvalidEntrypoint\n",
				"END RequestId: id-1\n", report("id-1", "Status: error\tError Type: Runtime.InvalidEntrypoint"),
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			boot := -1
			m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
				mu.Lock()
				boot++
				program := tc.boots[boot]
				mu.Unlock()
				return program(r)
			})
			cfg := m.Config()
			cfg.InitTimeout = 300 * time.Millisecond
			e := start(t, cfg)
			if !e.InitFailed() {
				t.Error("InitFailed is false")
			}
			got, r := invoke(t, e, "id-1")
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
			wantMemory := "Max Memory Used: 30 MB"
			log := m.Logs.Messages()
			for i := range tc.log {
				if i < len(log) && strings.HasPrefix(log[i], "REPORT") && !strings.Contains(log[i], wantMemory) {
					tc.log[i] = strings.Replace(tc.log[i], wantMemory, "Max Memory Used: 1 MB", 1) // it was gone before it could be measured
				}
			}
			wantLog(t, m.Logs, tc.log...)
			first := slices.IndexFunc(tc.log, func(line string) bool { return strings.Contains(line, "Phase: init\t") }) + 1
			if d := cmp.Diff(strings.Join(tc.log[first:], ""), normal(string(r.LogTail))); d != "" {
				t.Errorf("the tail, which begins with the repeated initialisation: %s", d)
			}
		})
	}
}

// TestStartErrors: what the platform cannot do is an error, and leaves nothing.
func TestStartErrors(t *testing.T) {
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int { <-r.Killed(); return 0 })
	boom := errors.New("boom")
	released := 0
	cfg := m.Config()
	prepare := cfg.Prepare
	cfg.Prepare = func(ctx context.Context, fn function.Function) (environment.Bundle, error) {
		b, err := prepare(ctx, fn)
		b.Release = func() { released++ }
		return b, err
	}
	failing := cfg
	failing.Credentials = func(context.Context, function.Function) (environment.Credentials, error) {
		return environment.Credentials{}, boom
	}
	if _, err := environment.Start(t.Context(), failing, environment.Spec{Function: fn}); !errors.Is(err, boom) || released != 1 {
		t.Errorf("err = %v, released %d", err, released)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := environment.Start(ctx, cfg, environment.Spec{Function: fn}); !errors.Is(err, context.DeadlineExceeded) || released != 2 {
		t.Errorf("err = %v, released %d", err, released)
	}
	for _, w := range m.Boxes.All() {
		<-w.Done()
	}
}

// TestLinger: a runtime that has answered and does not ask again gets no event.
func TestLinger(t *testing.T) {
	release := make(chan struct{})
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
		id, _, _, _ := r.Next()
		r.Respond(id, nil)
		<-release
		return r.Serve(func(_ string, event []byte) []byte { return event })
	})
	e := start(t, m.Config())
	invoke(t, e, "id-1")
	if _, err := e.Invoke(t.Context(), invocation("id-2")); !errors.Is(err, environment.ErrBusy) {
		t.Errorf("err = %v", err)
	}
	if ok, err := e.Freeze(t.Context()); ok || err != nil {
		t.Errorf("froze a runtime that works: %v", err)
	}
	if now := time.Now(); e.Overdue(now) || !e.Overdue(now.Add(time.Second)) {
		t.Error("Overdue is after the time limit, not before")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Invoke(ctx, invocation("id-3")); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	close(release)
	if got, _ := invoke(t, e, "id-4"); got.Body != `{"id":"id-4"}` {
		t.Errorf("got %+v", got)
	}
}

func TestFreeze(t *testing.T) {
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
		return r.Serve(func(_ string, event []byte) []byte { return event })
	})
	e := start(t, m.Config())
	box := m.Boxes.All()[0]
	for range 3 {
		if ok, err := e.Freeze(t.Context()); err != nil || !ok && e.Idle() {
			t.Fatalf("Freeze = %v, %v", ok, err)
		}
		invoke(t, e, "id")
		if box.Frozen() {
			t.Error("frozen after an invocation")
		}
	}
	for !e.Idle() {
	}
	if ok, err := e.Freeze(t.Context()); !ok || err != nil {
		t.Fatalf("Freeze = %v, %v", ok, err)
	}
	// A frozen environment that dies is noticed, and takes no event with it.
	_ = box.Kill(t.Context())
	<-e.Done()
	if _, err := e.Invoke(t.Context(), invocation("id")); !errors.Is(err, environment.ErrGone) {
		t.Errorf("err = %v", err)
	}
}

// TestHangUp: an invocation whose caller has gone away runs to its end.
func TestHangUp(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
		return r.Serve(func(_ string, event []byte) []byte { close(entered); <-release; return event })
	})
	e := start(t, m.Config())
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if r, err := e.Invoke(ctx, invocation("id")); err != nil || r.Size != 11 {
			t.Errorf("Invoke = %+v, %v", r, err)
		}
	})
	<-entered
	cancel()
	close(release)
	wg.Wait()
}

// TestFlood: a function that prints without end is slowed; the server does not grow with it.
func TestFlood(t *testing.T) {
	line := bytes.Repeat([]byte("x"), 1<<16-1)
	line = append(line, '\n')
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
		return r.Serve(func(string, []byte) []byte {
			for {
				select {
				case <-r.Killed():
					return nil
				default:
				}
				if _, err := r.Stdout.Write(line); err != nil {
					return nil
				}
			}
		})
	})
	for name, limit := range map[string]func(*environment.Config){
		"of the environment": func(c *environment.Config) { c.LogRate = 1 << 20 },
		"of the node":        func(c *environment.Config) { c.NodeLogs = environment.NewRate(1 << 20) },
	} {
		cfg := m.Config()
		limit(&cfg)
		var said bytes.Buffer
		cfg.Logger = slog.New(slog.NewTextHandler(&said, nil))
		e := start(t, cfg)
		before := m.Logs.Bytes()
		got, r := invoke(t, e, "id")
		if got.Outcome != "timeout" || len(r.LogTail) != 4096 || !strings.HasSuffix(string(r.LogTail), "Status: timeout\n") {
			t.Errorf("%s: got %+v, tail of %d bytes", name, got, len(r.LogTail))
		}
		if n := m.Logs.Bytes() - before; n > 6<<20 {
			t.Errorf("%s: %d bytes logged in 1 s at 1 MiB/s", name, n)
		}
		if n := strings.Count(said.String(), "prints faster"); n != 1 {
			t.Errorf("%s: said %d times that it has to wait: %s", name, n, said.String())
		}
	}
}

func TestTelemetryFrames(t *testing.T) {
	frame := func(kind uint32, at time.Time, text string) []byte {
		b := binary.BigEndian.AppendUint32(nil, kind)
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		return append(binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro())), text...)
	}
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
		return r.Serve(func(string, []byte) []byte {
			all := slices.Concat(frame(0xa55a0003, time.Now(), "a\nb\n"), frame(0xa55a000f, time.Unix(0, 0), "info\n"), []byte("junk\n"),
				frame(0xa55a0017, time.Now().Add(time.Hour), "REPORT RequestId: forged\n"))
			for _, b := range all { // torn at every byte
				if _, err := r.Telemetry.Write([]byte{b}); err != nil {
					return nil
				}
			}
			return nil
		})
	})
	e := start(t, m.Config())
	invoke(t, e, "id")
	wantLog(t, m.Logs, initStart, "START RequestId: id Version: $LATEST\n", "a\nb\n", "info\n", "junk\n", "REPORT RequestId: forged\n",
		"END RequestId: id\n", report("id", "Init Duration: N ms\t"))
}

func BenchmarkInvoke(b *testing.B) {
	m := environmenttest.New(b, func(r *environmenttest.Runtime) int {
		return r.Serve(func(_ string, event []byte) []byte { return event })
	})
	e, err := environment.Start(b.Context(), m.Config(), environment.Spec{Function: fn})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Stop(context.Background()) }()
	inv := invocation("id")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Invoke(b.Context(), inv); err != nil {
			b.Fatal(err)
		}
	}
}
