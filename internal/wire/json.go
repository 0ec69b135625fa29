package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/aws/smithy-go"
)

// awsJSON is awsJson1_0 or awsJson1_1: POST / with the operation in X-Amz-Target.
type awsJSON struct{ contentType string }

// Denied implements Protocol.
// AWS: the JSON services answer 400 to every client error, authentication included (their
// "Common Errors" pages).
func (awsJSON) Denied() int { return http.StatusBadRequest }

func (awsJSON) prepare(*Service) error { return nil }

func (awsJSON) route(c *Call) error {
	prefix, name, _ := strings.Cut(c.request.Header.Get("X-Amz-Target"), ".")
	if c.request.Method == http.MethodPost && prefix == c.service.TargetPrefix {
		c.op = c.service.byName[name]
	}
	if c.op == nil {
		return c.service.UnknownOperation(name)
	}
	return nil
}

func (awsJSON) unknown(_ *Service, name string) error {
	return &Error{Code: "UnknownOperationException", Message: "Unknown operation: " + name, Status: http.StatusBadRequest}
}

func (awsJSON) decode(c *Call, body []byte) error {
	dst := c.newInput()
	v, err := parseJSON(body)
	if err != nil || isUnit(c.op.in) {
		return err
	}
	return c.service.Unions.decode(dst, c.op.in, v)
}

func (p awsJSON) encode(c *Call, w http.ResponseWriter, out any) error {
	b := []byte("{}")
	if !isUnit(c.op.out) {
		b = appendJSON(nil, reflect.ValueOf(out), c.op.out)
	}
	return writeBody(w, http.StatusOK, p.contentType, b)
}

func (p awsJSON) fail(_ *Service, w http.ResponseWriter, _ string, status int, schema *smithy.Schema, err smithy.APIError) error {
	if status == 0 {
		status = faultStatus(err)
	}
	b := appendString([]byte(`{"__type":`), err.ErrorCode())
	if members := appendErrorMembers(nil, schema, err); len(members) > 0 {
		b = append(append(b, ','), members...)
	}
	return writeBody(w, status, p.contentType, append(b, '}'))
}

// parseJSON reads the one JSON object that a body is; no body is an empty one.
func parseJSON(body []byte) (any, error) {
	if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		return nil, &SerializationError{Message: badJSON(err)}
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &SerializationError{Message: "Unexpected token after the end of the body"}
	}
	if v == nil {
		return nil, &SerializationError{Message: "The body is not a JSON object"}
	}
	return v, nil
}

func badJSON(err error) string {
	if _, ok := err.(*json.UnmarshalTypeError); ok {
		return "The body is not a JSON object"
	}
	return "The body is not valid JSON"
}

// writeBody writes a whole answer.
func writeBody(w http.ResponseWriter, status int, contentType string, b []byte) error {
	h := w.Header()
	if contentType != "" {
		h["Content-Type"] = []string{contentType}
	}
	if status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.Itoa(len(b))}
	}
	w.WriteHeader(status)
	if status == http.StatusNoContent {
		return nil
	}
	_, err := w.Write(b)
	return err
}
