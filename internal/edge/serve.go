package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"lambent.dev/lambent/internal/lifecycle"
)

const (
	idleTimeout    = 3 * time.Minute
	maxHeaderBytes = 64 << 10 // Lambda's client context alone may be 3.5 KB, a session token 2 KB
)

// Serve answers requests on l until ctx ends, then gives those in flight DrainTimeout to finish.
// It may be called for several listeners; it closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.serve(ctx, l, s) }

// ServeHost is Serve for a listener of the host's, where Config.HostHandlers are served too.
func (s *Server) ServeHost(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := s.cfg.HostHandlers[r.URL.Path]
		if h == nil {
			s.ServeHTTP(w, r)
			return
		}
		p := &pacer{ResponseWriter: w, each: s.cfg.WriteTimeout}
		p.hasten()
		hurry(p, r)
		h.ServeHTTP(p, r)
	}))
}

func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	// Requests outlive ctx while they drain, and no longer.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	hs := &http.Server{
		Handler: h, ReadHeaderTimeout: s.cfg.HeadTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	wait := lifecycle.Go("edge drain", func() {
		select {
		case <-ctx.Done():
			s.drain(base, hs, cancel)
		case <-ended:
		}
	})
	err := hs.Serve(&limited{Listener: l, most: int64(s.cfg.MaxConns)})
	close(ended)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	wait()
	if err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// drain waits for the requests in flight, then cuts off those that are left.
func (s *Server) drain(base context.Context, hs *http.Server, cancel func()) {
	ctx, stop := context.WithTimeout(base, s.cfg.DrainTimeout)
	defer stop()
	if err := hs.Shutdown(ctx); err != nil {
		s.log.Warn("requests cut off at the end", "in flight", s.inFlight.Load())
		cancel()
		_ = hs.Close() // what it closes is given up anyway
	}
}
