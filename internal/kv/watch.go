package kv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// page is how many rows one read of a listing takes.
const page = 10_000

// retryAfter is the pause before a broken watch is begun again.
const retryAfter = 100 * time.Millisecond

// change is one row that is different; value nil means that it is gone.
type change struct {
	name
	rev   int64
	value []byte
}

// watch keeps the model up to date until ctx ends.
func (s *Store) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.watchOnce(ctx)
		if errors.Is(err, rpctypes.ErrCompacted) {
			s.log.Warn("state watch fell behind, listing again", "revision", s.Revision())
			err = s.relist(ctx)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.log.Warn("state watch broke", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// watchOnce applies what one watch delivers, from the model's revision on, until it breaks.
func (s *Store) watchOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(stream(ctx))
	defer cancel() // the engine drops the watch
	events := s.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(s.Revision()+1),
		clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	for resp := range events {
		if err := resp.Err(); err != nil {
			return err
		}
		s.deliver(resp)
	}
	return errors.New("watch ended")
}

// deliver applies one response, which holds whole revisions, and wakes who waits for them.
func (s *Store) deliver(resp clientv3.WatchResponse) {
	var changes []change
	var rev int64
	for _, e := range resp.Events {
		rev = max(rev, e.Kv.ModRevision)
		if n, ok := parse(string(e.Kv.Key)); ok {
			c := change{name: n, rev: e.Kv.ModRevision}
			if e.Type == mvccpb.PUT {
				c.value = nonNil(e.Kv.Value)
			}
			changes = append(changes, c)
		}
	}
	if resp.IsProgressNotify() {
		// Only then does the header speak for the watch: with events it is the engine's
		// revision, and more of them may follow.
		rev = resp.Header.Revision
	}
	s.apply(changes, rev)
}

// apply brings changes into the model, in order, as one step for readers; then it runs the hooks
// and wakes the waiters. Only the opening and the watch call it, one after the other.
func (s *Store) apply(changes []change, rev int64) {
	s.mu.Lock()
	hooks := make([][]func(account, key string), len(changes))
	for i, c := range changes {
		t, ok := s.tables[c.table]
		if !ok {
			s.keepRaw(c)
			continue
		}
		if c.value == nil {
			t.remove(c.name)
		} else {
			t.put(c.name, c.rev, c.value)
		}
		hooks[i] = t.hooks()
	}
	s.rev = max(s.rev, rev)
	rev = s.rev
	s.mu.Unlock()
	s.progress.Store(int64(s.now().Sub(s.begun))) // before anyone is told to read
	for i, c := range changes {
		for _, hook := range hooks[i] {
			hook(c.account, c.key)
		}
	}
	s.announce(rev)
}

// keepRaw remembers a row of a table that nobody has opened yet.
func (s *Store) keepRaw(c change) {
	rows := s.unclaimed[c.table]
	if c.value == nil {
		delete(rows, c.String())
		return
	}
	if rows == nil {
		rows = map[string]rawRow{}
		s.unclaimed[c.table] = rows
	}
	rows[c.String()] = rawRow{rev: c.rev, value: c.value}
}

// relist reads all rows as they are at one revision and applies what differs from the model.
func (s *Store) relist(ctx context.Context) error {
	rows, rev, err := s.list(ctx)
	for errors.Is(err, rpctypes.ErrCompacted) {
		rows, rev, err = s.list(ctx)
	}
	if err != nil {
		return fmt.Errorf("list state: %w", err)
	}
	s.apply(s.difference(rows), rev)
	return nil
}

// list reads all rows at the engine's present revision.
func (s *Store) list(ctx context.Context) (rows []*mvccpb.KeyValue, rev int64, err error) {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(rev))
		if err != nil {
			return nil, 0, err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		rows = append(rows, resp.Kvs...)
		if !resp.More || len(resp.Kvs) == 0 {
			return rows, rev, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// difference is what turns the model into rows, in the order of revisions; removals, whose
// revisions are not known, come first.
func (s *Store) difference(rows []*mvccpb.KeyValue) []change {
	have := map[name]int64{}
	s.mu.RLock()
	for _, t := range s.tables {
		t.revisions(func(n name, rev int64) { have[n] = rev })
	}
	for _, raw := range s.unclaimed {
		for full, r := range raw {
			if n, ok := parse(full); ok {
				have[n] = r.rev
			}
		}
	}
	s.mu.RUnlock()
	var changes []change
	for _, kv := range rows {
		n, ok := parse(string(kv.Key))
		if !ok {
			continue
		}
		if have[n] != kv.ModRevision {
			changes = append(changes, change{n, kv.ModRevision, nonNil(kv.Value)})
		}
		delete(have, n)
	}
	for n := range have {
		changes = append(changes, change{name: n})
	}
	slices.SortStableFunc(changes, func(a, b change) int { return int(a.rev - b.rev) })
	return changes
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
