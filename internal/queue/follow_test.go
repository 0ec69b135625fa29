package queue

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
)

// TestFallBehind: an owner whose place in the history is gone is told so, and loading again finds
// what happened meanwhile without disturbing a claim.
func TestFallBehind(t *testing.T) {
	store, client, _ := kvtest.Start(t, t.TempDir())
	q, err := Open(t.Context(), Config{Store: store, Client: client, Name: "q", Node: "n1", Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	lease, err := client.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	fence, err := q.acquire(ctx, lease.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(ids ...string) {
		for _, id := range ids {
			if err := q.Publish(ctx, Message{ID: id, Account: "1"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	serve := func() (stop func()) {
		own, cancel := context.WithCancel(ctx)
		wait := lifecycle.Go("serve", func() { q.serve(own, 0, fence) })
		return func() { cancel(); wait() }
	}
	publish("claimed", "gone")
	stop := serve()
	var claims []*Delivery
	for range 2 {
		d, err := q.Claim(ctx)
		if err != nil {
			t.Fatal(err)
		}
		claims = append(claims, d)
	}
	stop()
	// Meanwhile, unseen: one message is purged, another one comes.
	gone, err := client.Delete(ctx, q.key("1", "", "gone"))
	if err != nil {
		t.Fatal(err)
	}
	publish("new")
	if _, err := client.Compact(ctx, gone.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if err := q.follow(ctx, 0, fence, fence); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("follow from a revision that is compacted: %v", err)
	}
	stop = serve()
	defer stop()
	defer cancel()
	d, err := q.Claim(ctx)
	if err != nil || d.ID != "new" {
		t.Fatalf("claim after loading again: %v, %v", d, err)
	}
	for _, c := range claims {
		err := c.Ack(ctx)
		if c.ID == "gone" != errors.Is(err, ErrLost) {
			t.Errorf("ack of %s: %v", c.ID, err)
		}
	}
	if s := q.Stats(); s.Depth != 1 || s.Claimed != 1 {
		t.Errorf("Stats: %+v", s)
	}
}

// TestKeys: names with any characters stay apart, and a group's prefix holds that group only.
func TestKeys(t *testing.T) {
	q := &Queue{cfg: Config{Shards: 1}, prefix: "/q/x/"}
	var keys []string
	for _, n := range [][3]string{{"1", "g", "i"}, {"1", "g/i", "j"}, {"1", "g%2Fi", "j"}, {"1/g", "i", "j"}, {"", "", "i"}, {"1", "", "g"}} {
		keys = append(keys, q.key(n[0], n[1], n[2]))
	}
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 6 {
		t.Errorf("keys collide: %q", keys)
	}
}
