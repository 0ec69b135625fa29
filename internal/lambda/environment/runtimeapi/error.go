package runtimeapi

import (
	"encoding/json"
	"errors"
	"net/http"
)

// serveError is POST runtime/invocation/{id}/error.
func serveError(s *Session, w http.ResponseWriter, r *http.Request) {
	body := newBody(w, r)
	x, err := s.begin(r.PathValue("id"), errorResponse, body.abort)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	data, err := body.read(x.deadline)
	switch {
	case errors.Is(err, errTooLarge):
		settle(s, x, w, tooLarge(), func() { writeTooLarge(w) })
	case err != nil:
		truncated(s, x, w, err)
	default:
		settle(s, x, w, failureAnswer(r, data), func() { writeAccepted(w) })
	}
}

// failureAnswer is the function error in a posted body.
func failureAnswer(r *http.Request, data []byte) Answer {
	if r.Header.Get("Content-Type") == "application/vnd.aws.lambda.error.cause+json" {
		data = withoutCause(data)
	}
	return Answer{Body: data, ErrorType: errorType(r.Header.Get(errorTypeHeader))}
}

// withoutCause keeps of an error with its X-Ray cause what the caller sees.
//
// AWS: RIE answers the JSON string "Invalid error body" for one that does not parse.
func withoutCause(data []byte) []byte {
	var e struct {
		ErrorMessage string   `json:"errorMessage"`
		ErrorType    string   `json:"errorType"`
		StackTrace   []string `json:"stackTrace"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return []byte(`"Invalid error body"`)
	}
	out, err := json.Marshal(e)
	if err != nil {
		return []byte(`"Invalid error body"`)
	}
	return out
}
