package kv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// Op is a part of a transaction: conditions, and writes that happen if the conditions of every
// part hold. An Op may be used once.
type Op struct {
	cmps []clientv3.Cmp
	ops  []clientv3.Op
	err  error
}

// Raw is a part that is not a row of a table, such as a queue's record.
func Raw(cmps []clientv3.Cmp, ops ...clientv3.Op) Op { return Op{cmps: cmps, ops: ops} }

// Failed is a part that could not be made; Txn returns err.
func Failed(err error) Op { return Op{err: err} }

// Txn commits all parts or none. It returns the revision of the commit after the model has
// reached it, so the caller reads its own write; ErrConflict after the model has reached what
// contradicted the condition, so a caller that reads again sees why. No two parts may write the
// same row.
//
// When ctx ends before the answer, the transaction may have been committed or not. When the error
// is ErrStale it has been, but the model has not shown it in time.
func (s *Store) Txn(ctx context.Context, parts ...Op) (rev int64, err error) {
	var cmps []clientv3.Cmp
	var ops []clientv3.Op
	for _, p := range parts {
		if p.err != nil {
			return 0, p.err
		}
		cmps, ops = append(cmps, p.cmps...), append(ops, p.ops...)
	}
	if s.full != nil && s.full() {
		return 0, fmt.Errorf("commit: the disk has no room: %w", ErrFull)
	}
	resp, err := s.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if err != nil {
		return 0, fmt.Errorf("commit: %w", translate(err))
	}
	rev = resp.Header.Revision
	if !resp.Succeeded {
		if err := s.catchUp(ctx, rev); err != nil {
			return 0, fmt.Errorf("%w (%w)", ErrConflict, err)
		}
		return 0, ErrConflict
	}
	if !watched(ops) {
		return rev, nil
	}
	return rev, s.reached(ctx, rev)
}

// Sync returns when the model shows everything that was committed, by any node, before the call.
func (s *Store) Sync(ctx context.Context) error {
	resp, err := s.client.Get(ctx, keyCheck, clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("read revision: %w", translate(err))
	}
	return s.catchUp(ctx, resp.Header.Revision)
}

func translate(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}

// watched tells whether the watch will report these writes.
func watched(ops []clientv3.Op) bool {
	for _, op := range ops {
		if !op.IsGet() && strings.HasPrefix(string(op.KeyBytes()), prefix) {
			return true
		}
	}
	return false
}

// catchUp is reached for a revision that may be of a write outside the tables, which the watch
// reports only when it is asked for its progress.
func (s *Store) catchUp(ctx context.Context, rev int64) error {
	for {
		if err := s.client.RequestProgress(stream(ctx)); err != nil {
			return fmt.Errorf("request progress: %w", err)
		}
		again, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		err := s.reached(again, rev)
		cancel()
		// The engine answers only while the watch has nothing left to deliver: ask again.
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrStale) {
			return err
		}
		if err := s.Fresh(); err != nil {
			return err
		}
	}
}

// reached waits until the model shows rev and the hooks have run for it.
func (s *Store) reached(ctx context.Context, rev int64) error {
	w := &waiter{rev: rev, done: make(chan struct{})}
	s.waitMu.Lock()
	if s.announced >= rev {
		s.waitMu.Unlock()
		return nil
	}
	s.waiters[w] = struct{}{}
	s.waitMu.Unlock()
	defer func() {
		s.waitMu.Lock()
		delete(s.waiters, w)
		s.waitMu.Unlock()
	}()
	stale := time.NewTicker(staleAfter)
	defer stale.Stop()
	for {
		select {
		case <-w.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d: %w", rev, ctx.Err())
		case <-stale.C:
			if err := s.Fresh(); err != nil {
				return fmt.Errorf("wait for revision %d: %w", rev, err)
			}
		}
	}
}

// announce wakes those who wait for a revision up to rev.
func (s *Store) announce(rev int64) {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	s.announced = max(s.announced, rev)
	for w := range s.waiters {
		if w.rev <= s.announced {
			close(w.done)
			delete(s.waiters, w)
		}
	}
}

// stream gives the watch a stream of its own: the engine answers a request for progress only when
// all watches of the stream have caught up, and a queue's need not have. Streams are told apart by
// all outgoing metadata, so whatever ctx carries is replaced.
func stream(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.Pairs("lambent-watch", "kv"))
}
