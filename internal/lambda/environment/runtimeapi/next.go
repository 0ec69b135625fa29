package runtimeapi

import (
	"errors"
	"net/http"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// serveNext is GET runtime/invocation/next.
func serveNext(s *Session, w http.ResponseWriter, r *http.Request) {
	x, err := s.next(r.Context(), unacknowledged(r))
	var transition *transitionError
	switch {
	case errors.As(err, &transition):
		writeForbidden(w, "InvalidStateTransition", transition.Error())
		return
	case err != nil:
		// The runtime is gone or has hung up: there is nobody to tell.
		panic(http.ErrAbortHandler)
	}
	x.Announce()
	h := w.Header()
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	set("Lambda-Runtime-Aws-Request-Id", x.event.RequestID)
	set("Lambda-Runtime-Trace-Id", x.event.Trace)
	set("Lambda-Runtime-Client-Context", x.event.ClientContext)
	set("Lambda-Runtime-Cognito-Identity", x.event.CognitoIdentity)
	set("Lambda-Runtime-Invoked-Function-Arn", x.event.FunctionARN)
	set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(x.deadline.UnixMilli(), 10))
	set("Content-Type", "application/json")
	set("Content-Length", strconv.Itoa(len(x.event.Payload)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(x.event.Payload)
	_ = http.NewResponseController(w).Flush() // it is in the kernel's hands, or never will be
	x.sent()
}

// unacknowledged returns a probe of how many written bytes the peer has not acknowledged; nil
// when the connection is not TCP.
func unacknowledged(r *http.Request) func() int {
	c, _ := r.Context().Value(connKey{}).(*conn)
	if c == nil {
		return nil
	}
	t, ok := c.Conn.(syscall.Conn) // a TCP connection, or what a listener has wrapped it in
	if !ok {
		return nil
	}
	return func() int {
		raw, err := t.SyscallConn()
		if err != nil {
			return 0
		}
		n := 0
		err = raw.Control(func(fd uintptr) {
			if v, err := unix.IoctlGetInt(int(fd), syscall.TIOCOUTQ); err == nil {
				n = v
			}
		})
		if err != nil {
			return 0 // closed: what was sent is unknown, so it counts as received
		}
		return n
	}
}
