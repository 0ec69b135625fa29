// Package edge is the region's front door: one HTTP handler for all services it serves, on
// however many listeners.
//
// A request gets an id; the service is chosen by the scope of its signature; its head is
// verified before its body is read, and its body while it is read. Then the operation is
// decoded, authorised (for the action and the resources its row in the operation table names),
// handled and answered. No handler runs for a caller who was not authenticated and authorised;
// no setting turns that off. Only the paths of [Config.Handlers] and of health are outside of it.
//
// Bounded are: the connections, the time a client may take for its head, its body and to take
// its answer, the size of head and body, the memory that bodies take together, the requests in
// flight. Of the last two nobody can take all: a principal gets as much as it leaves to others.
// Nothing of a body is read for somebody unknown, and no large one for somebody whose request's
// head already says that it is denied. A handler that panics answers 500. Neither secrets nor
// bodies are logged.
//
// A Server may be used by any number of goroutines.
package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/sigv4"
	"lambent.dev/lambent/internal/wire"
)

// Config is what a Server needs.
type Config struct {
	Region   string
	Services []*wire.Service

	// Authenticate finds the secret of an access key and who holds it; see iam.Store.
	Authenticate func(ctx context.Context, accessKeyID, token string) (secret string, p iam.Principal, err error)
	// Authorize decides whether the principal in ctx may do action on all of resources; an
	// *iam.DeniedError says no.
	Authorize func(ctx context.Context, action string, resources []string) error

	// Handlers are served beside the services, without authentication: by path, or by prefix
	// where the path ends in a slash.
	Handlers map[string]http.Handler
	// HostHandlers are served beside those, by path, on the listeners of ServeHost only: code in
	// sandboxes does not reach them. Each has its own authentication.
	HostHandlers map[string]http.Handler
	// Ready says whether the region can serve; nil means always.
	Ready func() error

	MaxInFlight  int           // requests at once; 8192 when zero
	BodyMemory   int64         // bytes that bodies may take together; 512 MiB when zero
	MaxConns     int           // connections of a listener; 16384 when zero
	HeadTimeout  time.Duration // for a client to send a head; 10 s when zero
	BodyGrace    time.Duration // for a body, beside what its size takes at 32 KiB/s; 30 s when zero
	WriteTimeout time.Duration // for a client to take each 64 KiB of an answer; 20 s when zero
	DrainTimeout time.Duration // how long Serve waits for requests when it ends; 10 s when zero

	Now    func() time.Time // time.Now when nil
	Logger *slog.Logger     // slog.Default() when nil; requests are logged at debug level
}

// A Server answers the region's requests.
type Server struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	verifier *sigv4.Verifier
	services map[string]*wire.Service // by the credential scope's service
	bodies   *shares
	requests *shares
	inFlight atomic.Int64
}

// New makes a server. It refuses operation tables that are not whole.
func New(cfg Config) (*Server, error) {
	cfg.MaxInFlight = cmp.Or(cfg.MaxInFlight, 8192)
	cfg.BodyMemory = cmp.Or(cfg.BodyMemory, 512<<20)
	cfg.MaxConns = cmp.Or(cfg.MaxConns, 16384)
	cfg.HeadTimeout = cmp.Or(cfg.HeadTimeout, 10*time.Second)
	cfg.BodyGrace = cmp.Or(cfg.BodyGrace, 30*time.Second)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, 20*time.Second)
	cfg.DrainTimeout = cmp.Or(cfg.DrainTimeout, 10*time.Second)
	s := &Server{
		cfg: cfg, log: cmp.Or(cfg.Logger, slog.Default()), now: cfg.Now,
		services: make(map[string]*wire.Service, len(cfg.Services)),
		bodies:   newShares(cfg.BodyMemory),
		requests: newShares(int64(cfg.MaxInFlight)),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.verifier = &sigv4.Verifier{Region: cfg.Region, Now: s.now}
	for _, svc := range cfg.Services {
		if err := svc.Validate(); err != nil {
			return nil, fmt.Errorf("operations of %s: %w", svc.Name, err)
		}
		if _, twice := s.services[svc.Signing()]; twice {
			return nil, fmt.Errorf("two services sign as %q", svc.Signing())
		}
		s.services[svc.Signing()] = svc
	}
	if cfg.Authenticate == nil || cfg.Authorize == nil {
		return nil, errors.New("a server needs Authenticate and Authorize")
	}
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := &pacer{ResponseWriter: w, each: s.cfg.WriteTimeout}
	p.hasten() // the last request's on this connection is over
	w = p
	if h := s.handler(r.URL.Path); h != nil {
		hurry(w, r)
		h.ServeHTTP(w, r)
		return
	}
	x := newExchange(s, w, r)
	defer x.finish()
	if s.inFlight.Add(1) > int64(s.cfg.MaxInFlight) {
		x.fail(errBusy)
		return
	}
	if err := x.serve(); err != nil {
		x.fail(err)
	}
}

// handler is the handler outside of the services for a path, nil if there is none.
func (s *Server) handler(path string) http.Handler {
	switch path {
	case "/_lambent/health":
		return http.HandlerFunc(s.health)
	case "/_lambent/ready":
		return http.HandlerFunc(s.ready)
	}
	var best http.Handler
	length := 0
	for p, h := range s.cfg.Handlers {
		prefix := p != "" && p[len(p)-1] == '/' && len(path) >= len(p) && path[:len(p)] == p
		if (prefix || p == path) && len(p) > length {
			best, length = h, len(p)
		}
	}
	return best
}

// health answers as long as the server does.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "ok\n")
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
	}
	answer(w, http.StatusOK, "ready\n")
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a client that is gone needs no answer
}

// scope is where an operation of p runs.
func (s *Server) scope(p iam.Principal) wire.Scope {
	return wire.Scope{Partition: arn.Partition(s.cfg.Region), Region: s.cfg.Region, Account: p.Account}
}
