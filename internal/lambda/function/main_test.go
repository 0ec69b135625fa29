package function

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account = "111111111111"

// A bench is a store on a real engine whose functions become ready when the test says so.
type bench struct {
	t *testing.T
	*Store
	client *clientv3.Client
	close  func() // the engine
	stop   func() // Run

	changed chan struct{}

	mu      sync.Mutex
	image   string
	fail    error
	held    map[string]chan struct{} // by function: closed when it may become ready
	started map[string]int           // times that making it ready began
}

func newBench(t *testing.T, dir string) *bench {
	t.Helper()
	b := &bench{
		t: t, image: "sha256:1", held: map[string]chan struct{}{}, started: map[string]int{},
		changed: make(chan struct{}, 1), stop: func() {},
	}
	db, client, closeEngine := kvtest.Start(t, dir)
	b.client, b.close = client, closeEngine
	b.Store = New(Config{KV: db, Region: "us-east-1", Prepare: b.prepare, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	b.OnChange(func(string, string) { b.signal() })
	return b
}

func (b *bench) signal() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// run begins to make functions ready, until stop is called or the test ends.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	wait := lifecycle.Go("functions", func() {
		if err := b.Run(ctx); err != nil {
			b.t.Error(err)
		}
	})
	b.stop = sync.OnceFunc(func() { cancel(); wait() })
	b.t.Cleanup(b.stop)
}

func (b *bench) prepare(ctx context.Context, f Function) (Image, error) {
	b.mu.Lock()
	b.started[f.Name]++
	held, fail, image := b.held[f.Name], b.fail, b.image
	b.mu.Unlock()
	b.signal()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return Image{}, ctx.Err()
		}
	}
	return Image{Reference: "oci:" + f.Runtime, Digest: image}, fail
}

// hold keeps a function from becoming ready until release is called.
func (b *bench) hold(name string) (release func()) {
	held := make(chan struct{})
	b.mu.Lock()
	b.held[name] = held
	b.mu.Unlock()
	return sync.OnceFunc(func() {
		b.mu.Lock()
		delete(b.held, name)
		b.mu.Unlock()
		close(held)
	})
}

func (b *bench) set(fail error, image string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail, b.image = fail, image
}

// await waits until a condition holds, looking whenever something happened.
func (b *bench) await(what string, ok func() bool) {
	b.t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for !ok() {
		select {
		case <-b.changed:
		case <-late.C:
			b.t.Fatalf("never: %s", what)
		}
	}
}

// begun waits until making a function ready began for the nth time.
func (b *bench) begun(name string, n int) {
	b.t.Helper()
	b.await("preparation of "+name, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.started[name] >= n
	})
}

// settled waits until nothing of a function is being made ready.
func (b *bench) settled(name string) Function {
	b.t.Helper()
	var f Function
	b.await(name+" settles", func() bool {
		f = b.get(name)
		return f.State != Pending && !f.Updating()
	})
	return f
}

func (b *bench) get(name string) Function {
	b.t.Helper()
	f, err := b.Get(account, name)
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

func (b *bench) serving(name string) Function {
	b.t.Helper()
	f, err := b.Serving(account, name)
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

func spec(name string) Function {
	return Function{
		Account: account, Name: name, PackageType: "Zip", Code: codeOf(name),
		Settings: Settings{
			Runtime: "python3.13", Handler: "index.handler", Role: "arn:aws:iam::111111111111:role/r",
			Timeout: 3, Memory: 128, EphemeralStorage: 512, Architecture: "x86_64", Tracing: "PassThrough",
			Environment: map[string]string{"TOKEN": "hunter2-hunter2"},
		},
	}
}

func codeOf(content string) Code {
	return Code{Digest: blob.Sum([]byte(content)), SHA256: content, Size: int64(len(content))}
}

func (b *bench) create(name string) Function {
	b.t.Helper()
	f, err := b.Create(b.t.Context(), spec(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

func (b *bench) configure(name string, edit func(*Settings)) Function {
	b.t.Helper()
	f, err := b.UpdateSettings(b.t.Context(), account, name, "", func(s *Settings) error { edit(s); return nil })
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
