package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/queue"
)

// clock is a wall clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bed is a queue on a real engine.
type bed struct {
	*queue.Queue
	store  *kv.Store
	client *clientv3.Client
	clock  *clock
	stop   func() // ends Run
}

func start(t testing.TB, change func(*queue.Config)) *bed {
	t.Helper()
	store, client, _ := kvtest.Start(t, t.TempDir())
	return startOn(t, store, client, change)
}

func startOn(t testing.TB, store *kv.Store, client *clientv3.Client, change func(*queue.Config)) *bed {
	t.Helper()
	b := &bed{store: store, client: client, clock: &clock{now: time.Unix(1_800_000_000, 0)}}
	cfg := queue.Config{
		Store: store, Client: client, Name: "async", Shards: 4, Node: "n1", Now: b.clock.Now,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&cfg)
	}
	q, err := queue.Open(t.Context(), cfg)
	must(t, err)
	b.Queue = q
	ctx, cancel := context.WithCancel(context.Background())
	wait := lifecycle.Go("queue", func() {
		if err := q.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	b.stop = sync.OnceFunc(func() { cancel(); wait() })
	t.Cleanup(b.stop)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bed) claim(t testing.TB) *queue.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, err := b.Claim(ctx)
	must(t, err)
	return d
}

// nothing asserts that no message is due. The queue has seen whatever was committed before,
// because a message of a group of its own comes through.
func (b *bed) nothing(t testing.TB) {
	t.Helper()
	must(t, b.Publish(t.Context(), queue.Message{ID: "probe", Account: "probe", Group: "probe", Due: time.Unix(0, 1)}))
	d := b.claim(t)
	if d.ID != "probe" {
		t.Fatalf("%s is delivered", d.ID)
	}
	must(t, d.Ack(t.Context()))
}

func TestPublishClaimAck(t *testing.T) {
	b := start(t, nil)
	must(t, b.Publish(t.Context(), queue.Message{Account: "1", Group: "a/b", Body: []byte("{\n}")}))
	d := b.claim(t)
	want := queue.Message{ID: d.ID, Account: "1", Group: "a/b", Body: []byte("{\n}"), Due: b.clock.Now(), Published: b.clock.Now()}
	if diff := cmp.Diff(want, d.Message); diff != "" || d.ID == "" {
		t.Errorf("delivered: %s", diff)
	}
	if s := b.Stats(); s.Depth != 1 || s.Claimed != 1 || s.Ready != 0 || !s.Oldest.Equal(b.clock.Now()) {
		t.Errorf("Stats: %+v", s)
	}
	b.nothing(t)
	must(t, d.Ack(t.Context()))
	d.Release()
	b.nothing(t)
	if err := d.Ack(t.Context()); !errors.Is(err, queue.ErrLost) {
		t.Errorf("second Ack: %v", err)
	}
	if err := d.Nak(t.Context(), b.clock.Now()); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Nak after Ack: %v", err)
	}
	left, err := b.client.Get(t.Context(), "/q/async/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	must(t, err)
	for _, kv := range left.Kvs {
		if strings.Contains(string(kv.Key), "/m/") {
			t.Errorf("record left: %s", kv.Key)
		}
	}
}

func TestDueAndNak(t *testing.T) {
	b := start(t, nil)
	at := b.clock.Now().Add(time.Minute)
	must(t, b.Publish(t.Context(), queue.Message{ID: "later", Account: "1", Group: "g", Body: []byte("x"), Due: at}))
	b.nothing(t)
	b.clock.add(59 * time.Second)
	b.Tick()
	b.nothing(t)
	b.clock.add(time.Second)
	b.Tick()
	for attempt := range 3 {
		d := b.claim(t)
		if d.Attempts != attempt || string(d.Body) != "x" || !d.Published.Equal(at.Add(-time.Minute)) {
			t.Errorf("attempt %d: %+v", attempt, d.Message)
		}
		must(t, d.Nak(t.Context(), b.clock.Now().Add(time.Hour)))
		b.nothing(t)
		b.clock.add(time.Hour)
		b.Tick()
	}
	d := b.claim(t)
	d.Release()
	if again := b.claim(t); again.ID != "later" || again.Attempts != 3 {
		t.Errorf("after Release: %+v", again.Message)
	}
}

// TestFail: attempts that failed are counted apart from the others, across another start.
func TestFail(t *testing.T) {
	b := start(t, nil)
	must(t, b.Publish(t.Context(), queue.Message{ID: "x", Account: "1", Group: "g", Body: []byte("x")}))
	must(t, b.claim(t).Nak(t.Context(), b.clock.Now()))
	must(t, b.claim(t).Fail(t.Context(), b.clock.Now()))
	must(t, b.claim(t).Nak(t.Context(), b.clock.Now()))
	b.stop()
	b = startOn(t, b.store, b.client, nil)
	if d := b.claim(t); d.Attempts != 3 || d.Failures != 1 || string(d.Body) != "x" {
		t.Errorf("after two refusals and a failure: %+v", d.Message)
	}
}

// TestPurgeOp: a purge happens with the write that causes it, or not at all.
func TestPurgeOp(t *testing.T) {
	b := start(t, nil)
	rows := kv.NewTable[string](b.store, "row")
	must(t, b.Publish(t.Context(), queue.Message{ID: "x", Account: "1", Group: "g"}, queue.Message{ID: "y", Account: "1", Group: "g/2"}))
	taken := b.claim(t)
	_, err := b.store.Txn(t.Context(), rows.Absent("1", "k"), b.PurgeOp("1", "g/2"))
	must(t, err)
	if err := taken.Ack(t.Context()); taken.ID == "y" != errors.Is(err, queue.ErrLost) {
		t.Errorf("Ack of %s: %v", taken.ID, err)
	}
	_, err = b.store.Txn(t.Context(), rows.Create("1", "k", "v"), b.PublishOp(queue.Message{ID: "z", Account: "1", Group: "g"}))
	must(t, err)
	if _, err = b.store.Txn(t.Context(), rows.Absent("1", "k"), b.PurgeOp("1", "g")); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("Txn: %v", err)
	}
	for d := b.claim(t); ; d = b.claim(t) {
		if d.ID == "z" {
			break
		}
	}
}

// TestClockStep: nobody calls Tick, the queue finds out by itself that the clock was set.
func TestClockStep(t *testing.T) {
	b := start(t, nil)
	must(t, b.Publish(t.Context(), queue.Message{Account: "1", Due: b.clock.Now().Add(24 * time.Hour)}))
	b.nothing(t)
	b.clock.add(24 * time.Hour)
	b.claim(t)
}

func TestPublishOp(t *testing.T) {
	b := start(t, nil)
	rows := kv.NewTable[string](b.store, "row")
	_, err := b.store.Txn(t.Context(), rows.Create("1", "k", "v"), b.PublishOp(queue.Message{ID: "out", Account: "1"}))
	must(t, err)
	d := b.claim(t)
	if d.ID != "out" {
		t.Errorf("delivered %s", d.ID)
	}
	must(t, d.Ack(t.Context()))
	_, err = b.store.Txn(t.Context(), rows.Create("1", "k", "v"), b.PublishOp(queue.Message{ID: "never", Account: "1"}))
	if !errors.Is(err, kv.ErrConflict) {
		t.Errorf("Txn: %v", err)
	}
	b.nothing(t)
}

func TestPurge(t *testing.T) {
	b := start(t, nil)
	ctx := t.Context()
	for i := range 8 {
		must(t, b.Publish(ctx, queue.Message{ID: fmt.Sprint(i), Account: "1", Group: "g"}))
	}
	claimed := b.claim(t)
	must(t, b.Publish(ctx,
		queue.Message{ID: "future", Account: "1", Group: "g", Due: b.clock.Now().Add(time.Hour)},
		queue.Message{ID: "other group", Account: "1", Group: "g2"},
		queue.Message{ID: "other account", Account: "11", Group: "g"}))
	must(t, b.Purge(ctx, "1", "g"))
	if err := claimed.Nak(ctx, b.clock.Now()); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Nak of a purged message: %v", err)
	}
	b.clock.add(2 * time.Hour)
	b.Tick()
	got := []string{b.claim(t).ID, b.claim(t).ID}
	slices.Sort(got)
	if !slices.Equal(got, []string{"other account", "other group"}) {
		t.Errorf("left: %v", got)
	}
	b.nothing(t)
	if s := b.Stats(); s.Depth != 2 {
		t.Errorf("Stats: %+v", s)
	}
}

func TestReplace(t *testing.T) {
	b := start(t, nil)
	must(t, b.Publish(t.Context(), queue.Message{ID: "x", Account: "1", Body: []byte("old")}))
	old := b.claim(t)
	must(t, b.Publish(t.Context(), queue.Message{ID: "x", Account: "1", Body: []byte("new")}))
	if err := old.Ack(t.Context()); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Ack of a message that was replaced: %v", err)
	}
	if d := b.claim(t); string(d.Body) != "new" {
		t.Errorf("delivered %q", d.Body)
	}
}

func TestBodies(t *testing.T) {
	blobs, err := blob.Open(t.TempDir())
	must(t, err)
	b := start(t, func(c *queue.Config) { c.Blobs = blobs })
	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	must(t, b.Publish(t.Context(), queue.Message{ID: "big", Account: "1", Body: big}))
	d := b.claim(t)
	if !bytes.Equal(d.Body, big) {
		t.Errorf("body of %d bytes comes back as %d", len(big), len(d.Body))
	}
	must(t, d.Nak(t.Context(), b.clock.Now()))
	refs, err := b.Blobs(t.Context())
	must(t, err)
	if !refs[blob.Sum(big)] || len(refs) != 1 {
		t.Errorf("Blobs: %v", refs)
	}
	d = b.claim(t)
	if !bytes.Equal(d.Body, big) {
		t.Errorf("body after Nak has %d bytes", len(d.Body))
	}
	must(t, d.Ack(t.Context()))
	if refs, err := b.Blobs(t.Context()); err != nil || len(refs) != 0 {
		t.Errorf("Blobs after Ack: %v, %v", refs, err)
	}
	if err := b.Publish(t.Context(), queue.Message{Body: make([]byte, 1536<<10+1)}); !errors.Is(err, queue.ErrTooLarge) {
		t.Errorf("Publish of too much: %v", err)
	}
	// A message whose blob is lost stops nobody else.
	must(t, b.Publish(t.Context(), queue.Message{ID: "lost", Account: "1", Body: big, Due: b.clock.Now().Add(time.Hour)}))
	_, err = blobs.Sweep(t.Context(), func(blob.Digest) bool { return false }, -time.Hour)
	must(t, err)
	b.clock.add(time.Hour)
	b.Tick()
	b.nothing(t)
}

// TestClockSetBack: what was published a moment ago, or is to be tried again in a minute, does not
// wait for the hour by which the clock was set back; what is due at a time of the day does.
func TestClockSetBack(t *testing.T) {
	b := start(t, nil)
	must(t, b.Publish(t.Context(), queue.Message{ID: "retry", Account: "1", Group: "retry"}))
	must(t, b.claim(t).Nak(t.Context(), b.clock.Now().Add(time.Minute)))
	must(t, b.Publish(t.Context(), queue.Message{ID: "later", Account: "1", Group: "later", Due: b.clock.Now().Add(2 * time.Hour)}))
	b.clock.add(-time.Hour)
	b.Tick()
	b.nothing(t)
	b.clock.add(time.Minute)
	b.Tick()
	must(t, b.claim(t).Nak(t.Context(), b.clock.Now().Add(time.Minute)))

	// The same across a start: the records know.
	must(t, b.Publish(t.Context(), queue.Message{ID: "now", Account: "1", Group: "now"}))
	b.stop()
	b.clock.add(-time.Hour)
	clock := b.clock
	b = startOn(t, b.store, b.client, func(c *queue.Config) { c.Now = clock.Now })
	b.clock = clock
	d := b.claim(t)
	if d.ID != "now" {
		t.Errorf("delivered %s", d.ID)
	}
	must(t, d.Ack(t.Context()))
	b.nothing(t)
	b.clock.add(time.Minute)
	b.Tick()
	if d := b.claim(t); d.ID != "retry" {
		t.Errorf("delivered %s", d.ID)
	}
	b.nothing(t)
	b.clock.add(4 * time.Hour)
	b.Tick()
	if d := b.claim(t); d.ID != "later" {
		t.Errorf("delivered %s", d.ID)
	}
}

func TestInline(t *testing.T) {
	full := false
	b := start(t, func(c *queue.Config) { c.Full = func() bool { return full } })
	body := bytes.Repeat([]byte{0, '\n', 0xff, '"'}, 256<<10)
	must(t, b.Publish(t.Context(), queue.Message{ID: "big", Account: "1", Body: body}))
	if d := b.claim(t); !bytes.Equal(d.Body, body) {
		t.Errorf("body of %d bytes comes back as %d", len(body), len(d.Body))
	}
	if err := b.Publish(t.Context(), queue.Message{Body: append(body, 0)}); !errors.Is(err, queue.ErrTooLarge) {
		t.Errorf("Publish of too much: %v", err)
	}
	full = true
	if err := b.Publish(t.Context(), queue.Message{Account: "1"}); !errors.Is(err, queue.ErrFull) {
		t.Errorf("Publish to a full queue: %v", err)
	}
	if _, err := b.store.Txn(t.Context(), b.PublishOp(queue.Message{Account: "1"})); !errors.Is(err, queue.ErrFull) {
		t.Errorf("PublishOp to a full queue: %v", err)
	}
}

func TestClaimEnds(t *testing.T) {
	b := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Claim(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Claim: %v", err)
	}
}

// TestTakeover: another life of the same node takes the shards at once, another node when they
// are given up. What the earlier owner still does with its claims is refused.
func TestTakeover(t *testing.T) {
	first := start(t, nil)
	must(t, first.Publish(t.Context(), queue.Message{ID: "x", Account: "1"}))
	old := first.claim(t)

	second := startOn(t, first.store, first.client, nil)
	d := second.claim(t)
	if d.ID != "x" {
		t.Errorf("delivered %s", d.ID)
	}
	if err := old.Ack(t.Context()); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Ack by the earlier owner: %v", err)
	}
	if err := old.Nak(t.Context(), time.Now()); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Nak by the earlier owner: %v", err)
	}
	first.stop()

	third := startOn(t, first.store, first.client, func(c *queue.Config) { c.Node = "n3"; c.Shards = 7 })
	second.stop()
	if err := d.Ack(t.Context()); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Ack after Run has ended: %v", err)
	}
	d = third.claim(t)
	must(t, d.Ack(t.Context()))
	third.nothing(t)
}

// TestManyMessages loads more than a page of each shard, and has many workers share them.
func TestManyMessages(t *testing.T) {
	b := start(t, nil)
	const n = 1500 // more than a page of each shard
	msgs := make([]queue.Message, n)
	for i := range msgs {
		msgs[i] = queue.Message{Account: "1", Group: fmt.Sprint(i % 3)}
	}
	must(t, b.Publish(t.Context(), msgs...))
	b.stop()
	b = startOn(t, b.store, b.client, nil)
	var tasks lifecycle.Tasks
	var mu sync.Mutex
	seen := map[string]int{}
	for range 8 {
		tasks.Go("worker", func() {
			for range n / 8 {
				d := b.claim(t)
				mu.Lock()
				seen[d.ID]++
				mu.Unlock()
				if err := d.Ack(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	tasks.Wait()
	if len(seen) != n/8*8 {
		t.Errorf("%d different messages, want %d", len(seen), n/8*8)
	}
}
