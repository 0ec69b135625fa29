package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"lambent.dev/lambent/internal/erofs"
	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/internal/lambda/environment/runtimeapi"
	"lambent.dev/lambent/internal/lambda/runtime"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/oci"
	"lambent.dev/lambent/internal/sandbox/oci/embedded"
)

// The user and group of code, as in an execution environment.
const codeUID, codeGID = 993, 990

// bare runs a runtime's own client as a plain process of the host, chrooted into its unpacked
// image, and has the same HTTP exchange with it as an execution environment has.
type bare struct {
	subject *subject
	root    string
	warm    *process
}

func newBare(t *testing.T, layout string, s *subject) *bare {
	t.Helper()
	img, _, err := image.Layout{Dir: layout}.Find(s.runtime)
	if err != nil {
		t.Fatal(err)
	}
	b := &bare{subject: s, root: t.TempDir()}
	tree := mutate.Extract(img)
	defer tree.Close()
	tar := exec.Command("tar", "-x", "-C", b.root)
	tar.Stdin = tree
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", s.runtime, err, out)
	}
	for d := b.root; d != "/"; d = filepath.Dir(d) { // the code's user comes in
		if err := os.Chmod(d, 0o755); err != nil || strings.HasPrefix(filepath.Base(d), "Test") {
			break
		}
	}
	task := filepath.Join(b.root, "var/task")
	if err := os.MkdirAll(task, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range s.files {
		if err := os.WriteFile(filepath.Join(task, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.warm = b.start(t)
	t.Cleanup(func() { b.warm.stop(t) })
	return b
}

// process is a runtime with a Runtime API of its own.
type process struct {
	cmd     *exec.Cmd
	session *runtimeapi.Session
	stop    func(*testing.T)
}

// start starts the runtime; it has asked for its first event when start returns.
func (b *bare) start(t *testing.T) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api, session := runtimeapi.New(runtimeapi.Config{}), runtimeapi.NewSession()
	api.Attach(netip.MustParseAddr("127.0.0.1"), session)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = api.Serve(ctx, l) })

	table, err := runtime.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := table.Lookup(b.subject.runtime)
	if err != nil {
		t.Fatal(err)
	}
	args := r.Command(runtime.Start{Reference: r.Images[0], Handler: b.subject.handler, MemoryMB: warmMemory})
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd := &exec.Cmd{
		Path: args[0], Args: args, Dir: "/var/task", Stdout: null, Stderr: null, ExtraFiles: []*os.File{null},
		Env: environment(r, b.subject, l.Addr().String()),
		SysProcAttr: &syscall.SysProcAttr{
			Chroot: b.root, Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: codeUID, Gid: codeGID},
		},
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s without a sandbox: %v", b.subject.runtime, err)
	}
	p := &process{cmd: cmd, session: session}
	p.stop = func(t *testing.T) {
		t.Helper()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		session.Close()
		cancel()
		wg.Wait()
	}
	select {
	case <-session.Initialised():
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not start without a sandbox", b.subject.runtime)
	}
	if f := session.InitFailure(); f != nil {
		t.Fatalf("%s without a sandbox: %s %s", b.subject.runtime, f.ErrorType, f.Body)
	}
	return p
}

// environment is that of an execution environment, with another address of the Runtime API.
func environment(r runtime.Runtime, s *subject, api string) []string {
	env := r.Environment(runtime.Function{Name: "bench", Version: "$LATEST", Handler: s.handler, Region: "us-east-1", MemoryMB: warmMemory})
	for i, kv := range env {
		if strings.HasPrefix(kv, "AWS_LAMBDA_RUNTIME_API=") {
			env[i] = "AWS_LAMBDA_RUNTIME_API=" + api
		}
	}
	return env
}

// cold is the time from nothing to the first answer.
func (b *bare) cold(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	p := b.start(t)
	p.exchange(t)
	took := time.Since(began)
	p.stop(t)
	return took
}

// exchange is the time from an event to its answer, in the process that waits.
func (b *bare) exchange(t *testing.T) time.Duration {
	t.Helper()
	return b.warm.exchange(t)
}

func (p *process) exchange(t *testing.T) time.Duration {
	t.Helper()
	if err := p.session.WaitIdle(context.Background()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	x, err := p.session.Offer(runtimeapi.Event{RequestID: "00000000-0000-4000-8000-000000000000", Payload: []byte(payload), Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	<-x.Answered()
	took := time.Since(began)
	if a := x.Answer(); a.ErrorType != "" {
		t.Fatalf("%s: %s", a.ErrorType, a.Body)
	}
	return took
}

// alone runs a runtime's image in the sandbox with nothing around it: no network, no API.
type alone struct {
	runtime *oci.Runtime
	spec    sandbox.Spec
	runs    int
}

func newAlone(t *testing.T, layout string, s *subject) *alone {
	t.Helper()
	dir := t.TempDir()
	binary, err := embedded.Find(embedded.Options{Dir: dir, FromSource: true})
	if err != nil {
		t.Fatal(err)
	}
	rt, err := oci.Open(oci.Config{Dir: filepath.Join(dir, "run"), Instance: "bench-" + s.alias(), Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	images, err := image.Open(image.Config{Dir: filepath.Join(dir, "images"), Layouts: []string{layout}})
	if err != nil {
		t.Fatal(err)
	}
	img, err := images.Resolve(context.Background(), "oci:"+s.runtime)
	if err != nil {
		t.Fatal(err)
	}
	return &alone{runtime: rt, spec: sandbox.Spec{
		Memory: coldMemory << 20, CPUs: 2,
		Containers: []sandbox.Container{{
			RootFS: img.RootFS, Mounts: []sandbox.Mount{{Destination: "/var/task", Image: packed(t, dir, s.files)}},
			Args: s.line, Cwd: "/", Env: []string{"PATH=/var/lang/bin:/usr/bin:/bin", "LD_LIBRARY_PATH=/var/lang/lib"}, UID: codeUID, GID: codeGID,
		}},
	}}
}

// packed is an image of a function's files.
func packed(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	b, err := erofs.New(dir, erofs.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for name, text := range files {
		if err := b.Add(erofs.Entry{Path: name, Mode: 0o755}, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "task.erofs")
	if err := b.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// run is the time from nothing to the first line.
func (a *alone) run(t *testing.T) time.Duration {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a.runs++
	spec := a.spec
	spec.ID = fmt.Sprintf("line-%d", a.runs)
	c := spec.Containers[0]
	c.Stdout, c.Stderr = w, w
	spec.Containers = []sandbox.Container{c}
	began := time.Now()
	sb, err := a.runtime.Run(context.Background(), spec)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	took := time.Since(began)
	if err != nil && err != io.EOF || line == "" {
		t.Fatalf("%v prints no line: %v", a.spec.Containers[0].Args, err)
	}
	if err := sb.Delete(context.Background()); err != nil {
		t.Fatal(err)
	}
	return took
}
