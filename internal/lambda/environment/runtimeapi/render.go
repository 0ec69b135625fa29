package runtimeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// errorBody is the API's error document; the order of its members is RIE's.
type errorBody struct {
	ErrorMessage string `json:"errorMessage"`
	ErrorType    string `json:"errorType"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // two strings
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}

func writeAccepted(w http.ResponseWriter) {
	writeJSON(w, http.StatusAccepted, struct {
		Status string `json:"status"`
	}{"OK"})
}

func writeError(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, errorBody{message, kind})
}

func writeForbidden(w http.ResponseWriter, kind, message string) {
	writeError(w, http.StatusForbidden, kind, message)
}

func writeTooLarge(w http.ResponseWriter) {
	writeError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
		fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", MaxPayload))
}

// writeRefusal answers what Session.begin, finish and failInit say no to.
func writeRefusal(w http.ResponseWriter, err error) {
	var transition *transitionError
	switch {
	case errors.Is(err, errRequestID):
		writeError(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
	case errors.As(err, &transition):
		writeForbidden(w, "InvalidStateTransition", transition.Error())
	default: // ErrClosed: the sandbox is being killed
		panic(http.ErrAbortHandler)
	}
}
