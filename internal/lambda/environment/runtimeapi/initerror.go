package runtimeapi

import (
	"errors"
	"net/http"
	"time"
)

// initErrorTimeout bounds how long a runtime may take to say why it cannot start. Initialisation
// has its own limit, which the environment keeps.
const initErrorTimeout = 10 * time.Second

// serveInitError is POST runtime/init/error.
func serveInitError(s *Session, w http.ResponseWriter, r *http.Request) {
	// Before its body is read: code could have one read on every connection it may open.
	end, err := s.reporting()
	if err != nil {
		writeRefusal(w, err)
		return
	}
	defer end()
	data, err := newBody(w, r).read(time.Now().Add(initErrorTimeout))
	switch {
	case errors.Is(err, errTooLarge):
		writeTooLarge(w)
		return
	case err != nil:
		writeError(w, http.StatusBadRequest, "TruncatedHTTPRequest", "HTTP request detected as truncated")
		return
	}
	if err := s.failInit(InitFailure{ErrorType: errorType(r.Header.Get(errorTypeHeader)), Body: data}); err != nil {
		writeRefusal(w, err)
		return
	}
	writeAccepted(w)
}
