// Package regiontest runs a real server for tests of other packages: it starts and stops the
// binary on a state directory and makes functions through the API. Real sandboxes need root.
//
// Every region is checked for leaks: when its test ends, the functions are deleted and the server
// must come back to the descriptors and goroutines that it had when it idled at first; when it has
// stopped, the host must be as it was before (package leak).
//
// A Region belongs to one test. Its methods end that test on failure and may be called by the
// test's own goroutine only; Config and Lambda's clients may be used by any.
package regiontest

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/test/leak"
)

const (
	upTimeout   = 30 * time.Second
	downTimeout = 40 * time.Second
	logTail     = 12000 // bytes of the server's log that a failed test shows
)

// Trust is the policy of a role that Lambda may assume.
const Trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// Region is a server with its state directory.
type Region struct {
	Binary   string // bin/lambent
	Runtimes string // the OCI layout with the runtimes' images
	State    string // the state directory; outlives the server

	URL string // of the running server

	t    testing.TB
	http *http.Client // the clients' connections
	*server
}

// server is what a region and its parts share.
type server struct {
	cmd    *exec.Cmd // nil when it is down
	exit   chan error
	log    *bytes.Buffer
	flags  []string    // of the last start
	killed bool        // it went down without its own clearing up
	base   leak.Counts // what it had when it idled at first
}

// New returns a region that is not up yet. Once up, it goes down with the test.
func New(t testing.TB, binary, runtimes, state string) *Region {
	t.Helper()
	r := &Region{Binary: binary, Runtimes: runtimes, State: state, t: t, http: &http.Client{Transport: awshttp.NewBuildableClient().GetTransport()}, server: &server{}}
	r.watchHost()
	return r
}

// FromEnv returns a region by the Makefile's environment, on a fresh state directory. Without that
// environment, or without root for sandboxes, the test is skipped; in CI it fails.
func FromEnv(t testing.TB, env func(name string) string) *Region {
	t.Helper()
	binary, runtimes := env("LAMBENT_E2E"), env("LAMBENT_RUNTIMES")
	if os.Geteuid() != 0 || binary == "" || runtimes == "" {
		const why = "needs root, LAMBENT_E2E and LAMBENT_RUNTIMES: run this by `make e2e`"
		if env("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return New(t, binary, runtimes, filepath.Join(t.TempDir(), "state"))
}

// With is the same region for a part of its test.
func (r *Region) With(t testing.TB) *Region {
	part := *r
	part.t = t
	return &part
}

// Up starts the server, waits for its ready line and until it idles. It returns how long the first
// took.
func (r *Region) Up(flags ...string) time.Duration {
	r.t.Helper()
	took := r.Again(flags...)
	r.watchServer()
	return took
}

// Again is Up for a server that is to be killed soon: it is not waited for until it idles, nor
// checked for leaks at the end of the test.
func (r *Region) Again(flags ...string) time.Duration {
	r.t.Helper()
	began := time.Now()
	ready, log := r.launch(flags)
	select {
	case url, ok := <-ready:
		if !ok {
			r.t.Fatalf("the server ended before it was ready: %v\n%s", <-r.exit, log.String())
		}
		r.URL = url
	case <-time.After(upTimeout):
		r.t.Fatalf("not ready after %s", upTimeout)
	}
	return time.Since(began)
}

// Launch starts the server and does not wait until it is ready; only Stop may follow.
func (r *Region) Launch(flags ...string) {
	r.t.Helper()
	r.launch(flags)
}

// launch starts the server. ready gets its URL, or is closed when the server ends before.
func (r *Region) launch(flags []string) (ready <-chan string, log *bytes.Buffer) {
	r.t.Helper()
	args := append([]string{"serve", "--state-dir", r.State, "--listen", "127.0.0.1:0", "--runtimes", r.Runtimes}, flags...)
	cmd := exec.Command(r.Binary, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+r.tmp())
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	log = &bytes.Buffer{} // read when the server has ended, and by who failed anyway
	cmd.Stderr = log
	r.t.Cleanup(func() {
		if r.t.Failed() {
			s, tail := log.String(), logTail
			if r.log != log {
				tail /= 10 // a later start says more
			}
			r.t.Logf("the server's log:\n%s", s[max(0, len(s)-tail):])
		}
	})
	r.t.Cleanup(func() { r.Stop(syscall.SIGTERM) })
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.cmd, r.exit, r.log, r.flags, r.killed = cmd, make(chan error, 1), log, flags, false
	urls := make(chan string, 1)
	exit := r.exit
	lifecycle.Go("server under test", func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			if url, ok := strings.CutPrefix(s.Text(), "ready "); ok {
				urls <- url
			}
		}
		close(urls)
		exit <- cmd.Wait() // not before all output is read
	})
	return urls, log
}

// Stop ends the server by a signal and waits for its end; it may be down already.
func (r *Region) Stop(sig syscall.Signal) {
	r.t.Helper()
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Signal(sig)
	select {
	case err := <-r.exit:
		if sig == syscall.SIGTERM && err != nil {
			r.t.Errorf("the server's end: %v", err)
		}
	case <-time.After(downTimeout):
		r.t.Errorf("the server did not stop within %s", downTimeout)
		_ = r.cmd.Process.Kill()
	}
	r.cmd, r.killed = nil, sig == syscall.SIGKILL
}

// PID is the server's process.
func (r *Region) PID() int { return r.cmd.Process.Pid }

// Env is the environment a newcomer would have after the two export lines.
func (r *Region) Env() []string {
	env := []string{"AWS_PROFILE=lambent", "AWS_CONFIG_FILE=" + r.State + "/config", "AWS_SHARED_CREDENTIALS_FILE=" + r.State + "/credentials", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") {
			env = append(env, kv)
		}
	}
	return env
}

// Config is the SDK's configuration for the region, as its root user.
func (r *Region) Config() aws.Config {
	r.t.Helper()
	c, err := awsconfig.LoadDefaultConfig(context.Background(),
		awsconfig.WithSharedConfigProfile("lambent"),
		awsconfig.WithSharedConfigFiles([]string{r.State + "/config"}),
		awsconfig.WithSharedCredentialsFiles([]string{r.State + "/credentials"}),
		awsconfig.WithBaseEndpoint(r.URL))
	if err != nil {
		r.t.Fatal(err)
	}
	c.HTTPClient = r.http
	return c
}

// Lambda is a client of the region's Lambda.
func (r *Region) Lambda() *lambda.Client { return lambda.NewFromConfig(r.Config()) }

// Role makes a role that Lambda may assume and gives its ARN.
func (r *Region) Role(name string) string {
	r.t.Helper()
	out, err := iam.NewFromConfig(r.Config()).CreateRole(context.Background(),
		&iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(Trust)})
	if err != nil {
		r.t.Fatal(err)
	}
	return *out.Role.Arn
}

// Create makes a function of some files and waits until it is active.
func (r *Region) Create(in lambda.CreateFunctionInput, files map[string]string) {
	r.t.Helper()
	c := r.Lambda()
	in.Code = &types.FunctionCode{ZipFile: Zip(r.t, files)}
	if _, err := c.CreateFunction(context.Background(), &in); err != nil {
		r.t.Fatal(err)
	}
	w := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) { o.MinDelay = 100 * time.Millisecond })
	if err := w.Wait(context.Background(), &lambda.GetFunctionInput{FunctionName: in.FunctionName}, time.Minute); err != nil {
		r.t.Fatal(err)
	}
}

// Zip makes a deployment package; every file may be executed.
func Zip(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
