package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lambent.dev/lambent/internal/lifecycle"
)

// slowDisk is a file system whose fsync takes as long as a test says.
type slowDisk struct {
	fusefs.LoopbackNode
	delay *atomic.Int64 // nanoseconds
}

// Open implements fs.NodeOpener.
func (n *slowDisk) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	h, fl, errno := n.LoopbackNode.Open(ctx, flags)
	return n.slow(h), fl, errno
}

// Create implements fs.NodeCreater.
func (n *slowDisk) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	inode, h, fl, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, n.slow(h), fl, errno
}

func (n *slowDisk) slow(h fusefs.FileHandle) fusefs.FileHandle {
	if f, ok := h.(*fusefs.LoopbackFile); ok {
		return &slowFile{f, n.delay}
	}
	return h
}

type slowFile struct {
	*fusefs.LoopbackFile
	delay *atomic.Int64
}

// Fsync implements fs.FileFsyncer.
func (f *slowFile) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if d := time.Duration(f.delay.Load()); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		<-t.C
	}
	return f.LoopbackFile.Fsync(ctx, flags)
}

// mountSlow puts what acknowledgements wait for on a disk of its own: the state and blobs. Sandboxes'
// files stay where they are. So do logs and the ledger: FUSE, other than the file systems they are on,
// locks a file during its fsync; that appends do not wait for one is segment's TestAppendDuringSync.
func mountSlow(t *testing.T, state string) (delay *atomic.Int64) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a file system")
	}
	delay = new(atomic.Int64)
	for _, name := range []string{"etcd", "blobs"} {
		behind, dir := t.TempDir(), filepath.Join(state, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(behind, &st); err != nil {
			t.Fatal(err)
		}
		root := &fusefs.LoopbackRoot{Path: behind, Dev: uint64(st.Dev)}
		root.NewNode = func(r *fusefs.LoopbackRoot, _ *fusefs.Inode, _ string, _ *syscall.Stat_t) fusefs.InodeEmbedder {
			return &slowDisk{fusefs.LoopbackNode{RootData: r}, delay}
		}
		root.RootNode = root.NewNode(root, nil, "", &st)
		server, err := fusefs.Mount(dir, root.RootNode, &fusefs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "slow", Name: "test"}})
		if err != nil {
			t.Fatalf("mount (needs /dev/fuse): %v", err)
		}
		t.Cleanup(func() {
			if err := server.Unmount(); err != nil {
				t.Error(err)
			}
		})
	}
	return delay
}

// TestSlowDisk: a disk whose fsync takes 200 ms slows what waits for it, acknowledgements, and
// nothing else: reads, warm invocations and new environments keep their speed.
func TestSlowDisk(t *testing.T) {
	const slow = 200 * time.Millisecond
	state := filepath.Join(t.TempDir(), "state")
	delay := mountSlow(t, state)
	r := startIn(t, state)
	role := r.Role("slow")
	names := []string{"warm", "cold1", "cold2", "cold3", "cold4", "cold5", "cold6", "other"}
	for _, name := range names {
		r.Create(lambda.CreateFunctionInput{FunctionName: &name, Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.h"), Timeout: aws.Int32(30), MemorySize: aws.Int32(512)},
			map[string]string{"app.py": "def h(e, c):\n    print('x' * 100)\n    return e\n"})
	}
	c := r.Lambda()
	ctx := context.Background()
	arn, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("warm")})
	if err != nil {
		t.Fatal(err)
	}
	invoke := func(name string) func() error {
		return func() error {
			_, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: []byte(`1`)})
			return err
		}
	}
	calls := map[string]func() error{
		"invoke": invoke("warm"),
		"read": func() error {
			_, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("warm")})
			return err
		},
		"write": func() error {
			_, err := c.TagResource(ctx, &lambda.TagResourceInput{Resource: arn.Configuration.FunctionArn, Tags: map[string]string{"at": time.Now().Format(time.StampNano)}})
			return err
		},
	}
	// median is how long a call takes while others write and publish all the time.
	median := func(call func() error, n int) time.Duration {
		t.Helper()
		took := make([]time.Duration, n)
		for i := range took {
			began := time.Now()
			if err := call(); err != nil {
				t.Fatal(err)
			}
			took[i] = time.Since(began)
		}
		slices.Sort(took)
		return took[n/2]
	}
	measure := func(cold []string) map[string]time.Duration {
		t.Helper()
		busy, stop := context.WithCancel(ctx)
		pace := time.NewTicker(slow) // the same work on either disk
		defer pace.Stop()
		wait := lifecycle.Go("writer", func() {
			for busy.Err() == nil {
				_ = calls["write"]()
				_, _ = c.Invoke(busy, &lambda.InvokeInput{FunctionName: aws.String("other"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`2`)})
				<-pace.C
			}
		})
		defer wait()
		defer stop()
		out := map[string]time.Duration{"write": median(calls["write"], 5)}
		for _, name := range []string{"invoke", "read"} {
			if err := calls[name](); err != nil {
				t.Fatal(err)
			}
			out[name] = median(calls[name], 100)
		}
		// Starts are few and disturb each other: the best one tells whether they wait for the disk.
		out["cold"] = time.Hour
		for _, name := range cold {
			out["cold"] = min(out["cold"], median(invoke(name), 1))
		}
		return out
	}
	// The first start of a function makes its log group, which is a write: not part of this.
	logs := cloudwatchlogs.NewFromConfig(r.Config())
	for _, name := range names {
		if _, err := logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("/aws/lambda/" + name)}); err != nil {
			t.Fatal(err)
		}
	}
	fast := measure(names[1:4])
	delay.Store(int64(slow))
	slowed := measure(names[4:7])
	delay.Store(0)
	text, _ := json.Marshal(map[string]any{"fast": show(fast), "slow": show(slowed)})
	t.Logf("%s", text)
	if slowed["write"] < slow {
		t.Errorf("a write took %s: the disk is not slow", slowed["write"])
	}
	for _, name := range []string{"invoke", "read", "cold"} {
		if limit := 2*fast[name] + 10*time.Millisecond; slowed[name] > limit {
			t.Errorf("%s takes %s on a slow disk, %s on a fast one", name, slowed[name], fast[name])
		}
	}
}

func show(m map[string]time.Duration) map[string]string {
	out := map[string]string{}
	for k, d := range m {
		out[k] = d.Round(10 * time.Microsecond).String()
	}
	return out
}
