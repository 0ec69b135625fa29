// Package e2e runs real clients against a real server with the real sandbox. `make e2e` sets
// LAMBENT_E2E (the binary), LAMBENT_RUNTIMES (the images) and LAMBENT_VENV (the AWS CLI and
// boto3); without them the tests are skipped, in CI they fail.
package e2e

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// region is a running server with its state directory.
type region struct {
	t     *testing.T
	state string
	url   string
	cmd   *exec.Cmd
	exit  chan error
}

// need gives an environment variable of the Makefile's, or skips: in CI it fails.
func need(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	switch {
	case v != "":
		return v
	case os.Getenv("CI") != "":
		t.Fatalf("%s is not set: run this by `make e2e`", name)
	}
	t.Skipf("%s is not set: run this by `make e2e`", name)
	return ""
}

// start starts a server on a fresh state directory.
func start(t *testing.T, flags ...string) *region {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("not root")
		}
		t.Skip("needs root for sandboxes")
	}
	r := &region{t: t, state: filepath.Join(t.TempDir(), "state")}
	r.up(flags...)
	t.Cleanup(func() { r.stop(syscall.SIGTERM) })
	return r
}

// up starts the server on the state directory and waits for its ready line.
func (r *region) up(flags ...string) {
	r.t.Helper()
	args := append([]string{"serve", "--state-dir", r.state, "--listen", "127.0.0.1:0", "--runtimes", need(r.t, "LAMBENT_RUNTIMES")}, flags...)
	r.cmd = exec.Command(need(r.t, "LAMBENT_E2E"), args...)
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	var log bytes.Buffer
	r.cmd.Stderr = &log
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("the server's log:\n%s", tail(log.String(), 12000))
		}
	})
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ready := make(chan string, 1)
	r.exit = make(chan error, 1)
	go func() {
		defer close(ready)
		for s := bufio.NewScanner(out); s.Scan(); {
			if url, ok := strings.CutPrefix(s.Text(), "ready "); ok {
				ready <- url
			}
		}
	}()
	go func(c *exec.Cmd) { r.exit <- c.Wait() }(r.cmd)
	select {
	case url, ok := <-ready:
		if !ok {
			r.t.Fatalf("the server ended before it was ready: %v\n%s", <-r.exit, log.String())
		}
		r.url = url
	case <-time.After(30 * time.Second):
		r.t.Fatalf("not ready after 30 s\n%s", log.String())
	}
}

// stop ends the server by a signal and waits for its end.
func (r *region) stop(sig syscall.Signal) {
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
	case <-time.After(40 * time.Second):
		r.t.Error("the server did not stop within 40 s")
		_ = r.cmd.Process.Kill()
	}
	r.cmd = nil
}

// env is the environment a newcomer would have after the two export lines.
func (r *region) env() []string {
	env := []string{"AWS_PROFILE=lambent", "AWS_CONFIG_FILE=" + r.state + "/config", "AWS_SHARED_CREDENTIALS_FILE=" + r.state + "/credentials", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") {
			env = append(env, kv)
		}
	}
	return env
}

// aws runs the real AWS CLI and gives its standard output.
func (r *region) aws(args ...string) string {
	r.t.Helper()
	out, stderr, err := r.tryAWS(args...)
	if err != nil {
		r.t.Fatalf("aws %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return out
}

func (r *region) tryAWS(args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	c := exec.Command(filepath.Join(need(r.t, "LAMBENT_VENV"), "bin/aws"), args...)
	c.Env, c.Stdout, c.Stderr = r.env(), &out, &errs
	err = c.Run()
	return strings.TrimSpace(out.String()), errs.String(), err
}

// config is the SDK's configuration for the region.
func (r *region) config() aws.Config {
	r.t.Helper()
	c, err := awsconfig.LoadDefaultConfig(context.Background(),
		awsconfig.WithSharedConfigProfile("lambent"),
		awsconfig.WithSharedConfigFiles([]string{r.state + "/config"}),
		awsconfig.WithSharedCredentialsFiles([]string{r.state + "/credentials"}),
		awsconfig.WithBaseEndpoint(r.url))
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *region) lambda() *lambda.Client { return lambda.NewFromConfig(r.config()) }

// role makes a role that Lambda may assume and gives its ARN.
func (r *region) role(name string) string {
	r.t.Helper()
	c := iam.NewFromConfig(r.config())
	out, err := c.CreateRole(context.Background(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
	if err != nil {
		r.t.Fatal(err)
	}
	return *out.Role.Arn
}

// create makes a function of one file and waits until it is active.
func (r *region) create(in lambda.CreateFunctionInput, files map[string]string) {
	r.t.Helper()
	c := r.lambda()
	in.Code = &types.FunctionCode{ZipFile: zipped(r.t, files)}
	if _, err := c.CreateFunction(context.Background(), &in); err != nil {
		r.t.Fatal(err)
	}
	w := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) { o.MinDelay = 100 * time.Millisecond })
	if err := w.Wait(context.Background(), &lambda.GetFunctionInput{FunctionName: in.FunctionName}, time.Minute); err != nil {
		r.t.Fatal(err)
	}
}

// answer is what an invoke gave.
type answer struct {
	body  string
	fault string // X-Amz-Function-Error
	log   string // LogType Tail
}

// invoke invokes a function with a JSON payload and the log's tail.
func (r *region) invoke(name, payload string) answer {
	r.t.Helper()
	out, err := r.lambda().Invoke(context.Background(), &lambda.InvokeInput{
		FunctionName: &name, Payload: []byte(payload), LogType: types.LogTypeTail,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{string(out.Payload), aws.ToString(out.FunctionError), unbase64(r.t, aws.ToString(out.LogResult))}
}

func unbase64(t *testing.T, s string) string {
	t.Helper()
	var b []byte
	if err := json.Unmarshal([]byte(`"`+s+`"`), &b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func zipped(t *testing.T, files map[string]string) []byte {
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

func tail(s string, n int) string {
	if len(s) > n {
		return s[len(s)-n:]
	}
	return s
}
