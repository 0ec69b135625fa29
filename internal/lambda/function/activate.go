package function

import (
	"context"
	"errors"
	"sync"
	"time"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/lifecycle"
)

const (
	// preparing is how many functions are made ready at once. It is more than a machine has
	// cores: what takes long is a pull from a registry, and it must not hold up the others.
	preparing = 16
	// prepareTimeout bounds making one function ready: a pull from a registry is in it.
	prepareTimeout = 10 * time.Minute
	// retryPause is the pause after the state could not be read or written.
	retryPause = time.Second
)

// Run makes functions ready: those that are Pending become Active, updates in progress take
// effect. What a stopped server left undone is done first. It returns after all it has begun
// has ended.
func (s *Store) Run(ctx context.Context) error {
	p := preparations{store: s, room: make(chan struct{}, preparing), begun: map[rowRev]bool{}}
	defer p.tasks.Wait()
	s.poke()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		if err := p.begin(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("look for functions to make ready", "error", err)
			p.again(ctx)
		}
	}
}

// poke has Run look for work.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// preparations are the functions that are being made ready.
type preparations struct {
	store *Store
	tasks lifecycle.Tasks
	room  chan struct{} // one place for each at work

	mu    sync.Mutex
	begun map[rowRev]bool // those that wait for room too
}

// rowRev is a row as it was written once. A change of the row is other work: a function made
// again must not wait for what was begun for the one before.
type rowRev struct {
	account, name string
	rev           int64
}

// begin begins what is to be done and not begun yet.
func (p *preparations) begin(ctx context.Context) error {
	var open []kv.Row[record] // every change looks at all rows: only these are copied
	err := p.store.table.Each(func(row *kv.Row[record]) {
		if f := &row.Value.Function; f.State == Pending || f.Updating() {
			open = append(open, *row)
		}
	})
	if err != nil {
		return err
	}
	for _, row := range open {
		if key := (rowRev{row.Account, row.Key, row.Rev}); p.claim(key) {
			p.tasks.Go("prepare function", func() { p.one(ctx, key, row) })
		}
	}
	return nil
}

func (p *preparations) claim(key rowRev) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun[key] {
		return false
	}
	p.begun[key] = true
	return true
}

// one makes one function ready.
func (p *preparations) one(ctx context.Context, key rowRev, row kv.Row[record]) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.begun, key)
	}()
	select {
	case p.room <- struct{}{}:
		defer func() { <-p.room }()
	case <-ctx.Done():
		return
	}
	if err := p.store.prepare(ctx, row); err != nil && ctx.Err() == nil {
		p.store.cfg.Logger.Warn("record that a function was made ready", "function", row.Key, "account", row.Account, "error", err)
		p.again(ctx)
	}
}

// again looks for work once more, after a pause.
func (p *preparations) again(ctx context.Context) {
	p.tasks.Go("look again", func() {
		t := time.NewTimer(retryPause)
		defer t.Stop()
		select {
		case <-t.C:
			p.store.poke()
		case <-ctx.Done():
		}
	})
}

// prepare makes one function ready and records how that went.
func (s *Store) prepare(ctx context.Context, row kv.Row[record]) error {
	f := row.Value.Function
	limited, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	image, err := s.cfg.Prepare(limited, f)
	if ctx.Err() != nil {
		return ctx.Err() // stopping is no verdict; the next start tries again
	}
	if err != nil {
		s.cfg.Logger.Error("make function ready", "function", f.Name, "account", f.Account, "error", err)
	}
	_, err = s.cfg.KV.Txn(ctx, s.table.Update(row, settle(row.Value, image, err)))
	if errors.Is(err, kv.ErrConflict) {
		return nil // changed or deleted meanwhile; its change woke Run
	}
	return err
}

// settle is a record after its function was made ready, or could not be.
func settle(r record, image Image, err error) record {
	f := &r.Function
	const reason, code = "The function could not be made ready: see the server's log.", "InternalError"
	switch {
	case err == nil:
		f.Image = image
		f.Generation = f.generation()
		f.State, f.StateReason, f.StateReasonCode = Active, "", ""
		f.LastUpdateStatus, f.LastUpdateStatusReason, f.LastUpdateStatusReasonCode = Successful, "", ""
		r.Serving = nil
	case f.State == Pending:
		f.State, f.StateReason, f.StateReasonCode = Failed, reason, code
	default:
		f.LastUpdateStatus, f.LastUpdateStatusReason, f.LastUpdateStatusReasonCode = Failed, reason, code
	}
	// AWS: the revision changes again when the function becomes ready.
	f.RevisionID = newRevision()
	return r
}
