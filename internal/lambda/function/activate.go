package function

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/kv"
)

const (
	// preparing is how many functions are made ready at once.
	preparing = 2
	// prepareTimeout bounds making one function ready: a pull from a registry is in it.
	prepareTimeout = 10 * time.Minute
)

// Run makes functions ready: those that are Pending become Active, updates in progress take
// effect. What a stopped server left undone is found at the start.
func (s *Store) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		if err := s.prepareAll(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Error("making functions ready", "error", err)
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

func (s *Store) prepareAll(ctx context.Context) error {
	rows, err := s.table.All()
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(preparing)
	for _, row := range rows {
		if f := row.Value.Function; f.State == Pending || f.Updating() {
			g.Go(func() error { return s.prepare(ctx, row) })
		}
	}
	return g.Wait()
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
