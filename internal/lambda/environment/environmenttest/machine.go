// Package environmenttest runs execution environments without sandboxes: a Machine starts
// "workloads" that are goroutines of this process and speak the Runtime API over real loopback
// connections, each from an address of its own. It is for tests of environment and of what
// stands on it. Safe for concurrent use.
package environmenttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/environment/runtimeapi"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/workload"
)

// Program is what a workload runs. When it returns, the workload has exited with code.
type Program func(r *Runtime) (code int)

// Machine starts workloads and is everything else that an environment needs.
type Machine struct {
	API     *runtimeapi.Server
	Logs    *Logs
	Program Program
	Memory  atomic.Int64 // what Stats says
	CPUTime atomic.Int64 // nanoseconds, likewise

	url   string
	tasks sync.WaitGroup
	addr  atomic.Uint32
	Specs Log[workload.Spec] // of every start
	Boxes Log[*Workload]     // every workload
}

// Log is a list that several goroutines append to.
type Log[T any] struct {
	mu   sync.Mutex
	list []T
}

// Add appends v.
func (l *Log[T]) Add(v T) { l.mu.Lock(); l.list = append(l.list, v); l.mu.Unlock() }

// All is a copy of the list.
func (l *Log[T]) All() []T { l.mu.Lock(); defer l.mu.Unlock(); return append([]T(nil), l.list...) }

// New returns a machine whose workloads run program, with its Runtime API on loopback. It is
// closed with the test.
func New(tb testing.TB, program Program) *Machine {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	m := &Machine{API: runtimeapi.New(runtimeapi.Config{}), Logs: &Logs{}, Program: program, url: "http://" + l.Addr().String() + "/2018-06-01/runtime/"}
	m.Memory.Store(30 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	m.tasks.Go(func() {
		if err := m.API.Serve(ctx, l); err != nil {
			tb.Errorf("serve Runtime API: %v", err)
		}
	})
	tb.Cleanup(func() {
		cancel()
		for _, w := range m.Boxes.All() {
			_ = w.Stop(context.Background())
		}
		m.tasks.Wait()
	})
	return m
}

// Config is the machine as an environment's surroundings.
func (m *Machine) Config() environment.Config {
	return environment.Config{
		Start: m.Start, API: m.API, Logs: m.Logs,
		Prepare: func(context.Context, function.Function) (environment.Bundle, error) {
			return environment.Bundle{
				RootFS: "root", Args: []string{"/bootstrap"}, RuntimeVersion: "test:1.v1", RuntimeARN: "arn:test", Telemetry: true,
			}, nil
		},
		Credentials: func(context.Context, function.Function) (environment.Credentials, error) {
			return environment.Credentials{AccessKeyID: "AK"}, nil
		},
		Variables: func(fn function.Function, _ environment.Bundle, c environment.Credentials, stream string) []string {
			return []string{"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_LAMBDA_LOG_STREAM_NAME=" + stream}
		},
	}
}

// Start starts a workload.
func (m *Machine) Start(_ context.Context, spec workload.Spec) (environment.Workload, error) {
	n := m.addr.Add(1)
	addr := netip.AddrFrom4([4]byte{127, 1, byte(n >> 8), byte(n)})
	w := &Workload{machine: m, done: make(chan struct{}), killed: make(chan struct{})}
	r := &Runtime{Spec: spec, w: w, url: m.url}
	var err error
	if r.Stdout, err = dup(spec.Output); err != nil {
		return nil, err
	}
	if len(spec.Files) > 0 {
		if r.Telemetry, err = dup(spec.Files[0]); err != nil {
			return nil, err
		}
	}
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: addr.AsSlice()}}
	r.transport = &http.Transport{DialContext: d.DialContext, DisableCompression: true}
	r.client = &http.Client{Transport: r.transport}
	if spec.OnAddress != nil {
		spec.OnAddress(addr)
	}
	m.Specs.Add(spec)
	m.Boxes.Add(w)
	m.tasks.Go(func() {
		code := m.Program(r)
		r.close()
		w.exit(sandbox.Exit{Code: code})
	})
	return w, nil
}

func dup(f *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("dup: %w", err)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "output"), nil
}

// Runtime is the runtime inside a workload.
type Runtime struct {
	Spec              workload.Spec
	Stdout, Telemetry *os.File

	w         *Workload
	url       string
	client    *http.Client
	transport *http.Transport
}

func (r *Runtime) close() {
	r.transport.CloseIdleConnections()
	_ = r.Stdout.Close()
	if r.Telemetry != nil {
		_ = r.Telemetry.Close()
	}
}

// Killed is closed when the sandbox was killed: the program is to return.
func (r *Runtime) Killed() <-chan struct{} { return r.w.killed }

// Exit ends the workload as a signal or the OOM killer would; the program should return.
func (r *Runtime) Exit(e sandbox.Exit) { r.w.exit(e) }

// Next asks for the next event; false when the sandbox is dead.
func (r *Runtime) Next() (id string, event []byte, header http.Header, ok bool) {
	req, err := http.NewRequest("GET", r.url+"invocation/next", nil)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	r.w.machine.tasks.Go(func() {
		select {
		case <-r.w.killed:
			cancel()
		case <-stop:
		}
	})
	res, err := r.client.Do(req.WithContext(ctx))
	if err != nil {
		return "", nil, nil, false
	}
	defer res.Body.Close()
	event, err = io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		return "", nil, nil, false
	}
	return res.Header.Get("Lambda-Runtime-Aws-Request-Id"), event, res.Header, true
}

// Post posts body to a path below runtime/ and returns the status, -1 without an answer.
func (r *Runtime) Post(path string, body []byte, header ...string) int {
	req, err := http.NewRequest("POST", r.url+path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		return -1
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// Respond answers an event.
func (r *Runtime) Respond(id string, body []byte) int {
	return r.Post("invocation/"+id+"/response", body)
}

// Serve handles events until the sandbox is killed or has ended: the dead answer nothing.
func (r *Runtime) Serve(handle func(id string, event []byte) []byte) int {
	for {
		id, event, _, ok := r.Next()
		if !ok {
			return 137
		}
		answer := handle(id, event)
		select {
		case <-r.w.killed:
			return 137
		default:
			r.Respond(id, answer)
		}
	}
}

// Workload is a running program.
type Workload struct {
	machine      *Machine
	done, killed chan struct{}
	once         sync.Once
	kill         sync.Once
	end          sandbox.Exit

	mu     sync.Mutex
	frozen bool
	cpu    []int
	// Freezes and Thaws count.
	Freezes, Thaws int
}

var _ environment.Workload = (*Workload)(nil)

func (w *Workload) exit(e sandbox.Exit) {
	w.once.Do(func() {
		w.end = e
		close(w.done)
		w.kill.Do(func() { close(w.killed) })
	})
}

// Done is closed when the program has ended.
func (w *Workload) Done() <-chan struct{} { return w.done }

// Exit says how.
func (w *Workload) Exit() sandbox.Exit { <-w.done; return w.end }

var errEnded = errors.New("workload has ended")

func (w *Workload) alive() error {
	select {
	case <-w.done:
		return errEnded
	default:
		return nil
	}
}

// Freeze records that the workload is frozen; a goroutine cannot be.
func (w *Workload) Freeze(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = true
	w.Freezes++
	return w.alive()
}

// Thaw undoes Freeze.
func (w *Workload) Thaw(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = false
	w.Thaws++
	return w.alive()
}

// Frozen reports whether the workload is frozen.
func (w *Workload) Frozen() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.frozen }

// SetCPU records the quota.
func (w *Workload) SetCPU(_ context.Context, milli int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cpu = append(w.cpu, milli)
	return w.alive()
}

// SetWeight does nothing.
func (w *Workload) SetWeight(context.Context, int) error { return w.alive() }

// SetSpare does nothing.
func (w *Workload) SetSpare(context.Context, int) error { return w.alive() }

// CPU is every quota that was set.
func (w *Workload) CPU() []int { w.mu.Lock(); defer w.mu.Unlock(); return w.cpu }

// Stats is what the machine says.
func (w *Workload) Stats(context.Context) (sandbox.Stats, error) {
	return sandbox.Stats{MemoryBytes: w.machine.Memory.Load(), CPUTime: time.Duration(w.machine.CPUTime.Load())}, w.alive()
}

// Kill ends the program: it is told, and counts as ended at once.
func (w *Workload) Kill(context.Context) error {
	w.exit(sandbox.Exit{Code: 137, Signal: 9})
	return nil
}

// Stop is Kill: there is nothing else to remove.
func (w *Workload) Stop(ctx context.Context) error { return w.Kill(ctx) }

// Logs keeps log events in memory.
type Logs struct {
	mu      sync.Mutex
	streams map[string][]environment.LogEvent
	order   []string
	bytes   int
}

// Append keeps the events.
func (l *Logs) Append(_ context.Context, account, group, stream string, events []environment.LogEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == nil {
		l.streams = map[string][]environment.LogEvent{}
	}
	key := account + " " + group + " " + stream
	if _, ok := l.streams[key]; !ok {
		l.order = append(l.order, key)
	}
	for _, e := range events {
		l.bytes += len(e.Message)
	}
	if l.bytes < 8<<20 { // a flood is counted, not kept
		l.streams[key] = append(l.streams[key], events...)
	}
	return nil
}

// Bytes is how much was appended.
func (l *Logs) Bytes() int { l.mu.Lock(); defer l.mu.Unlock(); return l.bytes }

// Messages are those of all streams, in order of the streams' creation.
func (l *Logs) Messages() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.order {
		for _, e := range l.streams[k] {
			out = append(out, e.Message)
		}
	}
	return out
}

// Streams are the streams, as "account group stream".
func (l *Logs) Streams() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.order...)
}
