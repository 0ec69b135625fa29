package edge

import (
	"context"
	"sync"
)

// shares divides an amount among holders so that none can take all of it, and no number of them:
// each may hold as much as is left free after it took. Alone it gets half, two get a third each.
type shares struct {
	total int64

	mu    sync.Mutex // guards what follows
	free  int64
	held  map[string]int64
	freed chan struct{} // closed when something is given back; nil while nobody waits
}

func newShares(total int64) *shares {
	return &shares{total: total, free: total, held: map[string]int64{}}
}

// try takes n for who, if its share allows it.
func (s *shares) try(who string, n int64) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(who, n)
}

// take is called with mu held. More than a holder can ever have counts as that.
func (s *shares) take(who string, n int64) (release func(), ok bool) {
	n = min(n, s.total/2)
	if s.held[who]+n > s.free-n || s.total <= 0 {
		return nil, false
	}
	s.free -= n
	s.held[who] += n
	return func() { s.give(who, n) }, true
}

func (s *shares) give(who string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	if s.held[who] -= n; s.held[who] == 0 {
		delete(s.held, who)
	}
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

// wait takes n for who as soon as its share allows it, or returns ctx's error.
func (s *shares) wait(ctx context.Context, who string, n int64) (release func(), err error) {
	for {
		s.mu.Lock()
		release, ok := s.take(who, n)
		if !ok && s.freed == nil {
			s.freed = make(chan struct{})
		}
		freed := s.freed
		s.mu.Unlock()
		if ok {
			return release, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
