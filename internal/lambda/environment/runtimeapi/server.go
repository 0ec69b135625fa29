// Package runtimeapi is the Lambda Runtime API (2018-06-01), the HTTP side of an execution
// environment: the language runtime inside a sandbox asks it for the next invocation and posts
// the response, an error or an initialisation error.
//
// One Server listens for every sandbox of a node and knows the caller by its source address,
// which the network guarantees. Each address belongs to one Session, the state machine of one
// runtime process; what a caller may do depends on that state and on the request id it names,
// so a forged, repeated or late answer is refused and reaches nobody. Connections, headers and
// bodies are bounded per sandbox, and a body is cut at the deadline of its invocation.
//
// Server and Session are safe for concurrent use.
package runtimeapi

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxConns is how many connections one sandbox may hold open. Runtimes use one or two.
	maxConns = 16
	// maxHeader bounds a request's headers: the X-Ray cause that runtimes may send takes 64 KB.
	maxHeader = 128 << 10
	// headerTimeout cuts a connection that does not finish its headers. A frozen sandbox is
	// silent between requests, never inside one.
	headerTimeout = time.Minute
)

// Config is what a Server needs.
type Config struct {
	Logger *slog.Logger // refusals at debug level; slog.DiscardHandler when nil
}

// Server serves the Runtime API to all sandboxes of a node.
type Server struct {
	log *slog.Logger
	mux *http.ServeMux

	mu       sync.RWMutex
	sessions map[netip.Addr]*Session
	conns    map[netip.Addr]int
}

// New returns a server without sessions.
func New(c Config) *Server {
	s := &Server{
		log:      cmp.Or(c.Logger, slog.New(slog.DiscardHandler)),
		mux:      http.NewServeMux(),
		sessions: map[netip.Addr]*Session{},
		conns:    map[netip.Addr]int{},
	}
	const root = "/2018-06-01/"
	s.mux.HandleFunc("GET "+root+"ping", ping)
	s.mux.HandleFunc("GET "+root+"runtime/invocation/next", s.known(serveNext))
	s.mux.HandleFunc("POST "+root+"runtime/invocation/{id}/response", s.known(serveResponse))
	s.mux.HandleFunc("POST "+root+"runtime/invocation/{id}/error", s.known(serveError))
	s.mux.HandleFunc("POST "+root+"runtime/init/error", s.known(serveInitError))
	return s
}

// Attach makes requests from addr those of session, until Detach.
func (s *Server) Attach(addr netip.Addr, session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[addr.Unmap()] = session
}

// Detach forgets addr if it still belongs to session. Its connections end with its network, which closes
// them (network.Detach).
func (s *Server) Detach(addr netip.Addr, session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[addr.Unmap()] == session {
		delete(s.sessions, addr.Unmap())
	}
}

// Serve answers connections of l until ctx ends; then it closes l and every connection.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	// Close and not Shutdown: a parked /next never becomes idle, and the sandboxes behind the
	// connections are gone or going.
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	defer func() { _ = srv.Close() }()
	err := srv.Serve(&listener{Listener: l, server: s})
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// connKey finds the net.Conn of a request in its context.
type connKey struct{}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// known finds the caller's session. A caller without one is a sandbox that is being torn down:
// it gets the answer of a closed session.
func (s *Server) known(h func(*Session, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		addr, err := netip.ParseAddrPort(r.RemoteAddr)
		if err == nil {
			s.mu.RLock()
			session := s.sessions[addr.Addr().Unmap()]
			s.mu.RUnlock()
			if session != nil {
				session.hear()
				h(session, w, r)
				return
			}
		}
		s.log.Debug("request from no session", "addr", r.RemoteAddr, "path", r.URL.Path)
		writeForbidden(w, "InvalidStateTransition", "no execution environment at this address")
	}
}

// ping is kept by AWS for whoever still calls it.
func ping(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("pong"))
}

// admit counts a connection in, or refuses it.
func (s *Server) admit(addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[addr] == nil || s.conns[addr] >= maxConns {
		return false
	}
	s.conns[addr]++
	return true
}

func (s *Server) release(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[addr]--; s.conns[addr] <= 0 {
		delete(s.conns, addr)
	}
}

// listener refuses strangers and a sandbox's 17th connection before any byte is read.
type listener struct {
	net.Listener
	server *Server
}

// Accept returns the next admitted connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr, ok := c.RemoteAddr().(*net.TCPAddr)
		if !ok || !l.server.admit(addr.AddrPort().Addr().Unmap()) {
			_ = c.Close()
			continue
		}
		if t, ok := c.(*net.TCPConn); ok {
			// A frozen sandbox answers no probe: keep-alive would cut its parked /next.
			_ = t.SetKeepAlive(false)
		}
		return &conn{Conn: c, release: sync.OnceFunc(func() { l.server.release(addr.AddrPort().Addr().Unmap()) })}, nil
	}
}

// conn gives its place back when it closes.
type conn struct {
	net.Conn
	release func()
}

// Close closes the connection.
func (c *conn) Close() error {
	c.release()
	return c.Conn.Close()
}
