package runtimeapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

// MaxPayload is the largest response or error body of a buffered invocation.
//
// AWS: 6 MB and 100 bytes; the recorded message names the sum.
const MaxPayload = 6<<20 + 100

// Error types that the platform gives to an answer.
const (
	ResponseTooLarge     = "Function.ResponseSizeTooLarge"
	TruncatedResponse    = "Runtime.TruncatedResponse"
	InvalidResponseMode  = "Runtime.InvalidResponseModeHeader"
	unknownRuntimeError  = "Runtime.Unknown"
	unknownFunctionError = "Function.Unknown"
)

const (
	responseModeHeader = "Lambda-Runtime-Function-Response-Mode"
	errorTypeHeader    = "Lambda-Runtime-Function-Error-Type"
	errorBodyTrailer   = "Lambda-Runtime-Function-Error-Body"
)

// serveResponse is POST runtime/invocation/{id}/response.
func serveResponse(s *Session, w http.ResponseWriter, r *http.Request) {
	body := newBody(w, r)
	x, err := s.begin(r.PathValue("id"), response, body.abort)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	if r.Header.Get(responseModeHeader) != "" {
		// Streaming answers an InvokeWithResponseStream, which is not served: refused by name.
		settle(s, x, w, Answer{ErrorType: InvalidResponseMode}, func() {
			writeError(w, http.StatusBadRequest, "InvalidFunctionResponseMode", "Invalid function response mode")
		})
		return
	}
	data, err := body.read(x.deadline)
	switch {
	case errors.Is(err, errTooLarge):
		settle(s, x, w, tooLarge(), func() { writeTooLarge(w) })
	case err != nil:
		truncated(s, x, w, err)
	default:
		settle(s, x, w, trailed(r, data), func() { writeAccepted(w) })
	}
}

// trailed is the answer in data, or the error that the runtime met while it wrote it and that
// it reports in the trailers.
func trailed(r *http.Request, data []byte) Answer {
	kind := r.Trailer.Get(errorTypeHeader)
	if kind == "" {
		return Answer{Body: data}
	}
	if body, err := base64.StdEncoding.DecodeString(r.Trailer.Get(errorBodyTrailer)); err == nil {
		data = body
	}
	return Answer{Body: data, ErrorType: errorType(kind)}
}

// settle hands the answer over and tells the runtime. The hand-over comes first: the caller
// must not wait for a runtime that is slow to read.
func settle(s *Session, x *Exchange, w http.ResponseWriter, a Answer, tell func()) {
	if err := s.finish(x, a); err != nil {
		writeRefusal(w, err)
		return
	}
	// Who waits for the answer goes first, on this very thread: until then its caller waits, and
	// waking another thread for it takes longer than all that it has to do.
	runtime.Gosched()
	tell()
}

// truncated deals with a body that did not arrive whole.
func truncated(s *Session, x *Exchange, w http.ResponseWriter, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The invocation's time is up (or the session was closed): the environment says so to
		// the caller; this body counts for nothing.
		panic(http.ErrAbortHandler)
	}
	settle(s, x, w, Answer{ErrorType: TruncatedResponse}, func() {
		writeError(w, http.StatusBadRequest, "TruncatedHTTPRequest", "HTTP request detected as truncated")
	})
}

// tooLarge is the answer that stands for a body above MaxPayload.
func tooLarge() Answer {
	return Answer{
		ErrorType: ResponseTooLarge,
		Body: fmt.Appendf(nil, `{"errorType":%q,"errorMessage":"Response payload size exceeded maximum allowed payload size (%d bytes)."}`,
			ResponseTooLarge, MaxPayload),
	}
}

var errTooLarge = errors.New("body too large")

// body reads a request's body within bounds.
type body struct {
	r  *http.Request
	rc *http.ResponseController
}

func newBody(w http.ResponseWriter, r *http.Request) body {
	return body{r: r, rc: http.NewResponseController(w)}
}

// abort makes a read that is under way, and every later one, fail.
func (b body) abort() { _ = b.rc.SetReadDeadline(time.Unix(1, 0)) }

// read returns the body, errTooLarge above MaxPayload, os.ErrDeadlineExceeded at the deadline.
func (b body) read(deadline time.Time) ([]byte, error) {
	if b.r.ContentLength > MaxPayload {
		return nil, errTooLarge
	}
	if !deadline.IsZero() {
		_ = b.rc.SetReadDeadline(deadline)
	}
	data, err := readAll(b.r.Body, b.r.ContentLength)
	if err == nil {
		// Only now: net/http reads on in what is left of a body when its handler has ended.
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return data, err
}

// pieces are what bodies of unknown length are read into.
var pieces = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// readAll reads r, whose length is n if that is not negative. An endless answer that is refused in
// the end must not cost its neighbours memory: the pieces of one serve the next.
func readAll(r io.Reader, n int64) ([]byte, error) {
	if n >= 0 {
		data := make([]byte, n)
		_, err := io.ReadFull(r, data)
		return data, err
	}
	var read []*[]byte
	defer func() {
		for _, p := range read {
			pieces.Put(p)
		}
	}()
	size := 0
	for {
		p := pieces.Get().(*[]byte)
		read = append(read, p)
		for free := *p; len(free) > 0; {
			n, err := r.Read(free)
			free, size = free[n:], size+n
			switch {
			case size > MaxPayload:
				return nil, errTooLarge
			case errors.Is(err, io.EOF):
				return join(read, size), nil
			case err != nil:
				return nil, err
			}
		}
	}
}

// join is the first size bytes of the pieces.
func join(pieces []*[]byte, size int) []byte {
	data := make([]byte, 0, size)
	for _, p := range pieces {
		data = append(data, (*p)[:min(len(*p), size-len(data))]...)
	}
	return data
}

var errorTypePattern = regexp.MustCompile(`^(Runtime|Function)\.[A-Z][a-zA-Z]+$`)

// errorType makes a runtime's word for its error one of AWS's classes.
//
// AWS: RIE keeps Runtime.X and Function.X and calls everything else unknown.
func errorType(s string) string {
	switch {
	case errorTypePattern.MatchString(s):
		return s
	case strings.HasPrefix(s, "Function."):
		return unknownFunctionError
	default:
		return unknownRuntimeError
	}
}
