package wire

import (
	"errors"
	"net/http"
	"reflect"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
)

// An Error is an error that the service's model does not know: those that all AWS services share,
// and those that AWS sends without having modelled them.
type Error struct {
	Code    string
	Message string
	Status  int // 0: 400 or, with ServerFault, 500
	// ServerFault says that the caller did nothing wrong.
	ServerFault bool
	// UpperMessage has a JSON answer say "Message" where it would say "message".
	UpperMessage bool
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrorCode implements smithy.APIError.
func (e *Error) ErrorCode() string { return e.Code }

// ErrorMessage implements smithy.APIError.
func (e *Error) ErrorMessage() string { return e.Message }

// ErrorFault implements smithy.APIError.
func (e *Error) ErrorFault() smithy.ErrorFault {
	if e.ServerFault {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

// A SerializationError is a request that does not fit the input's shape.
type SerializationError struct {
	Member  string // the member that does not fit; "" for the whole body
	Message string
}

// Error implements error.
func (e *SerializationError) Error() string { return e.Message }

// ErrorCode implements smithy.APIError.
func (e *SerializationError) ErrorCode() string { return "SerializationException" }

// ErrorMessage implements smithy.APIError.
func (e *SerializationError) ErrorMessage() string { return e.Message }

// ErrorFault implements smithy.APIError.
func (e *SerializationError) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }

// AccessDenied is the error of a caller whom policies do not allow an operation.
// AWS: unlike other common errors its JSON says "Message" (recorded from DynamoDB and Lambda).
func AccessDenied(s *Service, message string) error {
	e := &Error{Code: "AccessDeniedException", Message: message, Status: s.Protocol.Denied(), UpperMessage: true}
	if s.Protocol == Query {
		e.Code = "AccessDenied"
	}
	return e
}

// WriteError writes err as the answer: a smithy.APIError, which the SDK's exceptions and [Error]
// are, as itself, anything else as an internal error whose text stays here. It returns what was
// written.
func (s *Service) WriteError(w http.ResponseWriter, requestID string, err error) (smithy.APIError, int) {
	var api smithy.APIError
	if !errors.As(err, &api) {
		code := s.InternalCode
		if code == "" {
			code = "InternalFailure"
		}
		api = &Error{Code: code, Message: "An internal error occurred.", ServerFault: true}
	}
	status, schema := s.describe(api)
	if s.Protocol != Query {
		w.Header()["X-Amzn-Errortype"] = []string{api.ErrorCode()}
	}
	sw := &statusWriter{ResponseWriter: w}
	_ = s.Protocol.fail(s, sw, requestID, status, schema, api) // the client is gone if this fails
	return api, sw.status
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// describe finds the HTTP status and the schema of an error in the service's tables.
func (s *Service) describe(api smithy.APIError) (status int, schema *smithy.Schema) {
	code := api.ErrorCode()
	if e, ok := s.lookup(code); ok && reflect.TypeOf(e.New()) == reflect.TypeOf(api) {
		schema = e.Schema
		if t := trait[*traits.HTTPError](schema); t != nil {
			status = t.Code
		}
		if t := trait[*traits.AWSQueryError](schema); t != nil && t.StatusCode != 0 {
			status = t.StatusCode
		}
	}
	if n, ok := s.Statuses[code]; ok {
		status = n
	}
	var own *Error
	if errors.As(api, &own) && own.Status != 0 {
		status = own.Status
	}
	return status, schema
}

// lookup finds an error in the registry by its wire code, which awsQuery has beside the name.
func (s *Service) lookup(code string) (*smithy.TypeRegistryEntry, bool) {
	if s.Errors == nil {
		return nil, false
	}
	if e, ok := s.Errors.LookupEntry(code); ok {
		return e, true
	}
	for _, e := range s.Errors.Entries {
		if t := trait[*traits.AWSQueryError](e.Schema); t != nil && t.ErrorCode == code {
			return e, true
		}
	}
	return nil, false
}

func faultStatus(err smithy.APIError) int {
	if err.ErrorFault() == smithy.FaultServer {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// faultType is the error's Type member.
func faultType(err smithy.APIError, client, server string) string {
	if err.ErrorFault() == smithy.FaultServer {
		return server
	}
	return client
}

// appendErrorMembers writes an error's members as those of a JSON object without its braces.
//
// AWS: Lambda's exceptions carry Type, "User" for a client's fault; it is filled in when the
// handler left it nil, and left out when the handler set it to "", because AWS leaves it out of
// some answers (recorded: ReservedConcurrentExecutions errors). Others say "message" only, or
// "Message", as their schema does.
func appendErrorMembers(b []byte, schema *smithy.Schema, err smithy.APIError) []byte {
	if schema == nil {
		name := "message"
		var own *Error
		if errors.As(err, &own) && own.UpperMessage {
			name = "Message"
		}
		b = append(appendString(b, name), ':')
		return appendString(b, err.ErrorMessage())
	}
	src := reflect.ValueOf(err).Elem()
	first := true
	p := planOf(schema, src.Type())
	for i := range p.members {
		m := &p.members[i]
		f := src.Field(m.field)
		if m.in != inBody {
			continue
		}
		value, ok := errorMember(m, f, err)
		if !ok {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendString(b, m.json), ':')
		b = appendJSON(b, value, m.schema)
	}
	return b
}

var stringPointer = reflect.TypeFor[*string]()

// errorMember is the value of an exception's member and whether it is sent.
func errorMember(m *member, f reflect.Value, err smithy.APIError) (reflect.Value, bool) {
	switch {
	case m.name == "Type" && absent(f):
		return reflect.ValueOf(faultType(err, "User", "Service")), true
	case m.name == "Type" && f.Type() == stringPointer && f.Elem().Len() == 0:
		return f, false
	}
	return f, !absent(f)
}
