package kv

import (
	"context"
	"time"
)

// SetNow replaces the clock of a store whose watch does not run.
func (s *Store) SetNow(now func() time.Time) { s.now = now }

// Watch is the watch, for a store that was closed.
func (s *Store) Watch(ctx context.Context) { s.watch(ctx) }
