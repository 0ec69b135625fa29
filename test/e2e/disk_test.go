package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent/test/regiontest"
)

// smallDisk mounts a new ext4 file system of its own.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a file system")
	}
	image, dir := filepath.Join(t.TempDir(), "disk.img"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(c, " "), err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// fillTo has somebody else take room until only so much is free.
func fillTo(t *testing.T, dir string, free int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "somebody-else"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, info.Size()+freeBytes(t, dir)-free); err != nil {
		t.Fatal(err)
	}
}

// diskRegion is a region on a small disk, with what its clients try again and again.
type diskRegion struct {
	*region
	dir    string
	lambda *lambda.Client
	logs   *cloudwatchlogs.Client
	role   string
}

// refusals are the calls that a full disk refuses: how each ended.
func (r *diskRegion) refusals(zip []byte) map[string]error {
	ctx := context.Background()
	out := map[string]error{}
	name := "new-" + time.Now().Format("150405.000000")[7:]
	_, out["CreateFunction ServiceException"] = r.lambda.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Role: &r.role, Runtime: types.RuntimePython313, Handler: aws.String("app.h"), Code: &types.FunctionCode{ZipFile: zip},
	})
	_, out["UpdateFunctionCode ServiceException"] = r.lambda.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("other"), ZipFile: zip})
	_, out["Invoke ServiceException"] = r.lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("f"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{}`)})
	_, out["CreateLogGroup ServiceUnavailableException"] = r.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &name})
	out["PutLogEvents ServiceUnavailableException"] = r.log()
	return out
}

// log writes a log event.
func (r *diskRegion) log() error {
	_, err := r.logs.PutLogEvents(context.Background(), &cloudwatchlogs.PutLogEventsInput{
		LogGroupName: aws.String("g"), LogStreamName: aws.String("s"),
		LogEvents: []logtypes.InputLogEvent{{Message: aws.String("m"), Timestamp: aws.Int64(time.Now().UnixMilli())}},
	})
	return err
}

// works checks what goes on whatever the disk has: invocations, cold ones too, reads, small writes.
func (r *diskRegion) works(t *testing.T, name string) {
	t.Helper()
	ctx := context.Background()
	if a := r.with(t).invoke(name, `{"a": 1}`); a.body != `{"a": 1}` || a.fault != "" {
		t.Errorf("invoke of %s: %q (%s)", name, a.body, a.fault)
	}
	fn, err := r.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &name})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.lambda.ListFunctions(ctx, &lambda.ListFunctionsInput{}); err != nil {
		t.Error(err)
	}
	if _, err := r.logs.FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("g")}); err != nil {
		t.Error(err)
	}
	if _, err := r.lambda.TagResource(ctx, &lambda.TagResourceInput{Resource: fn.Configuration.FunctionArn, Tags: map[string]string{"at": time.Now().String()[:19]}}); err != nil {
		t.Error(err)
	}
}

// wantRefused checks that everything big is refused in its API's own words.
func (r *diskRegion) wantRefused(t *testing.T, zip []byte) {
	t.Helper()
	for call, err := range r.refusals(zip) {
		operation, code, _ := strings.Cut(call, " ")
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), "disk is full") {
			t.Errorf("%s: %v, want %s that says why", operation, err, code)
		}
	}
}

// TestDiskFull: below the watermark new code, logs and events are refused in AWS's words, while
// invocations, reads and small writes go on, down to the reserve; freeing space heals all of it
// without a restart.
func TestDiskFull(t *testing.T) {
	const mib = 1 << 20
	dir := smallDisk(t, 1536*mib)
	r := &diskRegion{region: startIn(t, filepath.Join(dir, "state")), dir: dir}
	r.lambda = lambda.NewFromConfig(r.Config(), func(o *lambda.Options) { o.Retryer = aws.NopRetryer{} })
	r.logs = cloudwatchlogs.NewFromConfig(r.Config(), func(o *cloudwatchlogs.Options) { o.Retryer = aws.NopRetryer{} })
	r.role = r.Role("disk")
	code := map[string]string{"app.py": "def h(e, c):\n    print('line of', c.aws_request_id)\n    return e\n"}
	for _, name := range []string{"f", "other", "cold1", "cold2"} {
		r.Create(lambda.CreateFunctionInput{FunctionName: &name, Role: &r.role, Runtime: types.RuntimePython313, Handler: aws.String("app.h"), Timeout: aws.Int32(30)}, code)
	}
	ctx := context.Background()
	if _, err := r.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("g")}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	r.works(t, "f")
	zip := regiontest.Zip(t, map[string]string{"app.py": "def h(e, c): return 2\n"})
	ballast := filepath.Join(r.State, "ballast")
	pid := r.PID()
	full := func() bool { return r.log() != nil }

	fillTo(t, dir, 200*mib)
	waitFor(t, 20*time.Second, "full", full)
	r.wantRefused(t, zip)
	r.works(t, "f")
	r.works(t, "cold1")
	if _, err := os.Stat(ballast); err != nil {
		t.Errorf("the reserve was given away too early: %v", err)
	}

	fillTo(t, dir, 20*mib)
	waitFor(t, 20*time.Second, "reserve", func() bool { return freeBytes(t, dir) > 100*mib })
	r.wantRefused(t, zip)
	r.works(t, "f")
	r.works(t, "cold2")

	// Nothing at all: not even small writes are tried, of which the engine would die.
	other, err := r.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("other")})
	if err != nil {
		t.Fatal(err)
	}
	fillTo(t, dir, 0)
	waitFor(t, 20*time.Second, "nothing is left", func() bool {
		_, err := r.lambda.TagResource(ctx, &lambda.TagResourceInput{Resource: other.Configuration.FunctionArn, Tags: map[string]string{"x": "y"}})
		var api smithy.APIError
		return errors.As(err, &api) && api.ErrorCode() == "ServiceException" && strings.Contains(api.ErrorMessage(), "disk is full")
	})
	for range 20 {
		if a := r.invoke("f", `{"a": 1}`); a.body != `{"a": 1}` || a.fault != "" {
			t.Errorf("invoke: %q (%s)", a.body, a.fault)
		}
		if _, err := r.lambda.ListFunctions(ctx, &lambda.ListFunctionsInput{}); err != nil {
			t.Error(err)
		}
	}

	if err := os.Remove(filepath.Join(dir, "somebody-else")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 20*time.Second, "room", func() bool { return !full() })
	for call, err := range r.refusals(zip) {
		if err != nil {
			t.Errorf("with room again: %s: %v", call, err)
		}
	}
	r.works(t, "f")
	if info, err := os.Stat(ballast); err != nil || info.Size() != 128*mib {
		t.Errorf("the reserve is not there again: %v", err)
	}
	if r.PID() != pid {
		t.Error("it took a restart")
	}
}

// TestTmpFillsDisk: what idle environments keep in /tmp gives way when the disk is nearly full, so
// that one function after another can have most of it.
func TestTmpFillsDisk(t *testing.T) {
	const mib = 1 << 20
	dir := smallDisk(t, 1536*mib)
	r := startIn(t, filepath.Join(dir, "state"))
	role := r.Role("tmp")
	code := map[string]string{"app.py": `
def h(e, c):
    with open('/tmp/big', 'wb') as f:
        for _ in range(500):
            f.write(b'x' * (1 << 20))
    return 'written'
`}
	names := []string{"tmp1", "tmp2", "tmp3"}
	for _, name := range names {
		r.Create(lambda.CreateFunctionInput{
			FunctionName: &name, Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.h"), Timeout: aws.Int32(60),
			EphemeralStorage: &types.EphemeralStorage{Size: aws.Int32(600)},
		}, code)
	}
	fillTo(t, dir, 700*mib)
	for _, name := range names {
		if a := r.invoke(name, `{}`); a.body != `"written"` || a.fault != "" {
			t.Errorf("%s: %q (%s)", name, a.body, a.fault)
		}
		waitFor(t, 20*time.Second, "room after "+name, func() bool { return freeBytes(t, dir) > 600*mib })
	}
}
