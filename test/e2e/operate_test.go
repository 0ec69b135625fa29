package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"golang.org/x/sync/errgroup"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
	"lambent.dev/lambent/test/regiontest"
)

// metrics reads /metrics with an Authorization header.
func (r *region) metrics(authorization string) (int, string) {
	r.t.Helper()
	q, err := http.NewRequest(http.MethodGet, r.URL+"/metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", authorization)
	q.Close = true
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// token is the one that /metrics wants.
func (r *region) token() string {
	r.t.Helper()
	name := filepath.Join(r.State, "metrics-token")
	b, err := os.ReadFile(name)
	if err != nil {
		r.t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		r.t.Errorf("the token's file: %v, %v", info.Mode(), err)
	}
	return strings.TrimSpace(string(b))
}

// lambent runs the command line beside the server.
func (r *region) lambent(env []string, args ...string) (string, error) {
	r.t.Helper()
	cmd := exec.Command(r.Binary, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestMetrics: who has the token sees what the functions did, and nobody else; code sees nothing.
func TestMetrics(t *testing.T) {
	r := start(t)
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("spy"), Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), Role: aws.String(r.Role("spy"))},
		map[string]string{"app.py": `import urllib.request, urllib.error
def handler(e, c):
    out = []
    for host in ("169.254.100.1:4566", "169.254.100.1:9001"):
        q = urllib.request.Request("http://" + host + "/metrics", headers={"Authorization": "Bearer " + e})
        try:
            out.append(urllib.request.urlopen(q, timeout=5).read().decode())
        except urllib.error.HTTPError as err:
            out.append(err.code)
    return out
`})
	token := r.token()
	if got := r.invoke("spy", fmt.Sprintf("%q", token)); !regexp.MustCompile(`^\[4\d\d, 4\d\d\]$`).MatchString(got.body) {
		t.Errorf("inside a sandbox /metrics answers %s", got.body)
	}
	if code, text := r.metrics("Bearer " + token + "x"); code != 401 || strings.Contains(text, "lambent_events") {
		t.Errorf("with a wrong token: %d", code)
	}
	code, text := r.metrics("Bearer " + token)
	for _, want := range []string{
		`lambent_invocations_total\{account="\d{12}",function="spy"\} 1`, `lambent_cold_starts_total\{.*"spy"\} 1`, `lambent_errors_total\{.*"spy"\} 0`,
		`lambent_invocation_duration_seconds_count 1`, `lambent_cold_start_seconds_count\{phase="prepare"\} 1`,
		`lambent_cold_start_seconds_count\{phase="network"\} 1`, `lambent_cold_start_seconds_count\{phase="sandbox"\} 1`, `lambent_cold_start_seconds_count\{phase="init"\} 1`,
		`lambent_environments_memory_bytes [1-9]`, `lambent_disk_free_bytes [1-9]`, `lambent_segment_fsync_seconds_count [1-9]`,
		`etcd_disk_wal_fsync_duration_seconds_count [1-9]`, `process_open_fds [1-9]`, `lambent_state_bytes\{part="logs"\} [1-9]`,
	} {
		if code != 200 || !regexp.MustCompile(`(?m)^`+want).MatchString(text) {
			t.Errorf("%d, no line %s in %s", code, want, regexp.MustCompile(`(?m)^lambent_state.*$`).FindAllString(text, -1))
		}
	}
	if _, err := r.Lambda().DeleteFunction(context.Background(), &lambda.DeleteFunctionInput{FunctionName: aws.String("spy")}); err != nil {
		t.Fatal(err)
	}
	if _, text := r.metrics("Bearer " + token); strings.Contains(text, `"spy"`) {
		t.Error("a deleted function still has labels")
	}
}

// loaded makes functions without an end, until ctx ends, and gives the hashes of their code.
func (r *region) loaded(ctx context.Context, role string, made func(name, hash string)) error {
	c := r.Lambda()
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("load-%04d", i)
		out, err := c.CreateFunction(context.Background(), &lambda.CreateFunctionInput{
			FunctionName: &name, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), Role: &role,
			Code: &types.FunctionCode{ZipFile: regiontest.Zip(r.t, map[string]string{"app.py": fmt.Sprintf("def handler(e, c): return %d\n", i)})},
		})
		if err != nil {
			return err
		}
		made(name, *out.CodeSha256)
	}
	return nil
}

// TestBackup saves a region under writes, restores it elsewhere, and finds everything there.
func TestBackup(t *testing.T) {
	r := start(t)
	role := r.Role("worker")
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("kept"), Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), Role: &role},
		map[string]string{"app.py": "def handler(e, c):\n    print('said', e)\n    if e == 'fail': raise Exception('again')\n    return e\n"})
	if got := r.invoke("kept", `"word"`); got.body != `"word"` {
		t.Fatalf("%s", got.body)
	}
	// It fails and waits for a minute to be tried again: not delivered when the backup is made.
	if _, err := r.Lambda().Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("kept"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`"fail"`)}); err != nil {
		t.Fatal(err)
	}
	r.waitsFor(func() bool { return r.requests("kept") == 2 }, "the first attempt")
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	acknowledged := make(chan [2]string, 10000)
	g.Go(func() error {
		return r.loaded(ctx, role, func(name, hash string) { acknowledged <- [2]string{name, hash} })
	})
	before := map[string]string{}
	for range 5 {
		f := <-acknowledged
		before[f[0]] = f[1]
	}
	file := filepath.Join(t.TempDir(), "backup")
	if out, err := r.lambent(os.Environ(), "backup", file, "--state-dir", r.State); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	r.refusesBackup()
	r.Drop()
	r.Stop(syscall.SIGTERM)
	r.refusesRestore(file)
	copied := filepath.Join(t.TempDir(), "copy")
	if out, err := r.lambent(os.Environ(), "restore", file, "--state-dir", copied); err != nil || !strings.Contains(out, "--region us-east-1") {
		t.Fatalf("%v: %s", err, out)
	}
	sameFile(t, r.State, copied, "ledger-id") // or the copy would charge everything once more
	startIn(t, copied).isCopy(before)
}

// refusesBackup: a user may not make one, not even an administrator.
func (r *region) refusesBackup() {
	r.t.Helper()
	c, name := iam.NewFromConfig(r.Config()), aws.String("admin")
	if _, err := c.CreateUser(context.Background(), &iam.CreateUserInput{UserName: name}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := c.AttachUserPolicy(context.Background(), &iam.AttachUserPolicyInput{UserName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")}); err != nil {
		r.t.Fatal(err)
	}
	key, err := c.CreateAccessKey(context.Background(), &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		r.t.Fatal(err)
	}
	file := filepath.Join(r.t.TempDir(), "refused")
	out, err := r.lambent([]string{"AWS_ENDPOINT_URL=" + r.URL, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + *key.AccessKey.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + *key.AccessKey.SecretAccessKey}, "backup", file)
	if err == nil || !strings.Contains(out, "only the root user") {
		r.t.Errorf("a user's backup: %v: %s", err, out)
	}
	if _, err := os.Stat(file); err == nil {
		r.t.Error("a refused backup left its file")
	}
}

// refusesRestore: what was cut or changed is refused and leaves nothing.
func (r *region) refusesRestore(file string) {
	r.t.Helper()
	good, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	changed := bytes.Clone(good)
	changed[len(changed)/2] ^= 0xff
	for what, b := range map[string][]byte{"cut": good[:len(good)-100], "changed": changed, "none": []byte("no backup")} {
		dir := r.t.TempDir()
		bad := filepath.Join(dir, "bad")
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			r.t.Fatal(err)
		}
		if out, err := r.lambent(os.Environ(), "restore", bad, "--state-dir", filepath.Join(dir, "state")); err == nil || !strings.Contains(out, "damaged") {
			r.t.Errorf("%s: %v: %s", what, err, out)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			r.t.Errorf("%s left %v, %v", what, left, err)
		}
	}
	if out, err := r.lambent(os.Environ(), "restore", file, "--state-dir", r.State); err == nil || !strings.Contains(out, "not empty") {
		r.t.Errorf("over a region: %v: %s", err, out)
	}
}

// isCopy: the region has what the backed up one had.
func (r *region) isCopy(hashes map[string]string) {
	r.t.Helper()
	r.waitsFor(func() bool {
		_, text := r.metrics("Bearer " + r.token())
		return strings.Contains(text, "\nlambent_events 1\n")
	}, "the event that was not delivered")
	r.Recount() // not all of the queue's shards were owned when it was ready
	c := r.Lambda()
	for name, hash := range hashes {
		f, err := c.GetFunction(context.Background(), &lambda.GetFunctionInput{FunctionName: &name})
		if err != nil || *f.Configuration.CodeSha256 != hash {
			r.t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := iam.NewFromConfig(r.Config()).GetRole(context.Background(), &iam.GetRoleInput{RoleName: aws.String("worker")}); err != nil {
		r.t.Error(err)
	}
	events, err := cloudwatchlogs.NewFromConfig(r.Config()).FilterLogEvents(context.Background(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/aws/lambda/kept"), FilterPattern: aws.String("said")})
	if err != nil || len(events.Events) == 0 || !strings.Contains(*events.Events[0].Message, "said word") {
		r.t.Errorf("log events: %+v, %v", events, err)
	}
	if n := r.requests("kept"); n != 2 {
		r.t.Errorf("%d requests are charged, not 2", n)
	}
	if got := r.invoke("kept", `"again"`); got.body != `"again"` {
		r.t.Errorf("invoked: %s", got.body)
	}
}

// requests is how many of a function are charged.
func (r *region) requests(function string) (n int64) {
	r.t.Helper()
	var out lambentapi.GetUsageOutput
	r.usage(&out)
	for _, l := range out.Lines {
		if l.Function == function {
			n += l.Requests
		}
	}
	return n
}

func sameFile(t *testing.T, a, b, name string) {
	t.Helper()
	x, err := os.ReadFile(filepath.Join(a, name))
	if err != nil {
		t.Fatal(err)
	}
	if y, err := os.ReadFile(filepath.Join(b, name)); err != nil || string(x) != string(y) {
		t.Errorf("%s is not the same (%v)", name, err)
	}
}

func (r *region) waitsFor(there func() bool, what string) {
	r.t.Helper()
	tick, end := time.NewTicker(100*time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for !there() {
		select {
		case <-tick.C:
		case <-end:
			r.t.Fatalf("not there: %s", what)
		}
	}
}

// TestTop: one look of `lambent top`, for scripts.
func TestTop(t *testing.T) {
	r := start(t)
	r.Create(lambda.CreateFunctionInput{FunctionName: aws.String("seen"), Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), Role: aws.String(r.Role("top"))},
		map[string]string{"app.py": "def handler(e, c): return e\n"})
	r.invoke("seen", `1`)
	out, err := r.lambent(r.Env(), "top", "--once", "--json")
	var a struct {
		Region    string
		Functions []struct {
			Name                      string
			Invocations, Idle, Frozen int
			DurationMs                float64
			Memory                    int64
		}
	}
	if jsonErr := json.Unmarshal([]byte(out), &a); err != nil || jsonErr != nil || a.Region != "us-east-1" || len(a.Functions) != 1 {
		t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	if f := a.Functions[0]; f.Name != "seen" || f.Invocations != 1 || f.Idle+f.Frozen != 1 || f.DurationMs <= 0 || f.Memory <= 0 {
		t.Errorf("%+v", f)
	}
	out, err = r.lambent(os.Environ(), "top", "--once", "--state-dir", r.State, "--every", "200ms", "--sort", "memory")
	if err != nil || !regexp.MustCompile(`(?m)^seen +0\.0 +1 +0 +0 +1 `).MatchString(out) || strings.Contains(out, "\x1b") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := r.lambent([]string{"AWS_ENDPOINT_URL=" + r.URL, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=x"}, "top", "--once"); err == nil || !strings.Contains(out, "UnrecognizedClientException") {
		t.Errorf("a stranger: %v: %s", err, out)
	}
}
