package edge

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// stride is how much of an answer a client has to take within Config.WriteTimeout.
const stride = 64 << 10

// pacer gives a client so much time for each stride of its answer: one that takes nothing is cut
// off, one that is slow is not.
type pacer struct {
	http.ResponseWriter
	each  time.Duration
	since time.Time // when the deadline was set; once it has been
}

// Write implements io.Writer.
func (w *pacer) Write(b []byte) (n int, err error) {
	for {
		part := b[n:min(n+stride, len(b))]
		w.hasten()
		m, err := w.ResponseWriter.Write(part)
		if n += m; err != nil || n == len(b) {
			return n, err
		}
	}
}

// WriteHeader implements http.ResponseWriter. What little the server holds back is written when
// the handler has returned, within the time that begins here or with the last stride.
func (w *pacer) WriteHeader(status int) {
	w.hasten()
	w.ResponseWriter.WriteHeader(status)
}

// hasten sets the deadline anew, unless that was done a moment ago: short answers pay for one.
func (w *pacer) hasten() {
	now := time.Now()
	if now.Sub(w.since) < w.each/8 {
		return
	}
	w.since = now
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(w.each)) // not every connection has deadlines
}

// Unwrap is for http.ResponseController.
func (w *pacer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// limited is a listener with a bound of connections: those beyond it are closed at once.
type limited struct {
	net.Listener
	most int64
	open atomic.Int64
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &counted{Conn: c, closed: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		_ = c.Close() // it is refused
	}
}

type counted struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}
