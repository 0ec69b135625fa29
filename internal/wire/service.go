package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/aws/smithy-go"
)

// A Service is one AWS service: its protocol and the table of its operations.
type Service struct {
	Name         string   // as in IAM actions and file names: "lambda", "logs"
	SigningName  string   // the credential scope's service; Name when empty
	Protocol     Protocol // RestJSON, JSON10, JSON11 or Query
	TargetPrefix string   // awsJson: what stands before the dot of X-Amz-Target
	Version      string   // awsQuery: the API version
	Namespace    string   // awsQuery: the XML namespace of answers
	Global       bool     // no regions: signatures for us-east-1 are accepted everywhere

	Operations []Operation
	Errors     *smithy.TypeRegistry // the SDK's exceptions with their schemas; nil when it has none
	Statuses   map[string]int       // HTTP status by error code, where Errors does not say
	Unions     UnionTable           // the SDK's types of union members, where inputs have any

	InternalCode string // the code of an unexpected error; "InternalFailure" when empty
	MaxBody      int64  // bytes of a request body; [DefaultMaxBody] when zero

	once    sync.Once
	byName  map[string]*Operation
	router  router
	invalid error
}

// DefaultMaxBody bounds request bodies where neither service nor operation says otherwise.
const DefaultMaxBody = 1 << 20

// Signing is the service name that credential scopes use.
func (s *Service) Signing() string {
	if s.SigningName != "" {
		return s.SigningName
	}
	return s.Name
}

// Validate reports what is wrong with the table: an operation without Auth or Public, one that
// stands twice, a schema whose members have no field in the SDK's struct.
func (s *Service) Validate() error {
	s.once.Do(s.prepare)
	return s.invalid
}

func (s *Service) prepare() {
	var errs []error
	s.byName = make(map[string]*Operation, len(s.Operations))
	for i := range s.Operations {
		o := &s.Operations[i]
		if _, twice := s.byName[o.Name()]; twice {
			errs = append(errs, fmt.Errorf("%s %s: stands twice in the table", s.Name, o.Name()))
		}
		s.byName[o.Name()] = o
		if err := o.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", s.Name, o.Name(), err))
		}
	}
	if s.Protocol == nil {
		errs = append(errs, fmt.Errorf("%s: no protocol", s.Name))
	} else if err := s.Protocol.prepare(s); err != nil {
		errs = append(errs, err)
	}
	s.invalid = errors.Join(errs...)
}

func (o *Operation) validate() error {
	switch {
	case o.action == "" && o.public == "":
		return errors.New("neither Auth nor Public")
	case o.action != "" && o.authInput != o.input:
		return fmt.Errorf("Auth takes %v, the handler %v", o.authInput, o.input)
	}
	errs := drift(o.in, o.input, map[driftKey]bool{})
	if o.output != nil {
		errs = append(errs, drift(o.out, o.output, map[driftKey]bool{})...)
	}
	return errors.Join(errs...)
}

// A Call is one request to an operation.
type Call struct {
	service *Service
	op      *Operation
	labels  []label
	request *http.Request
	input   any
}

// Route finds the operation that r asks for, as far as its head tells: awsQuery names it in the
// body, so there only Decode does.
func (s *Service) Route(r *http.Request) (*Call, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	c := &Call{service: s, request: r}
	return c, s.Protocol.route(c)
}

// Operation is the name of the operation, "" while it is not known.
func (c *Call) Operation() string {
	if c.op == nil {
		return ""
	}
	return c.op.Name()
}

// MaxBody is how large the body may be.
func (c *Call) MaxBody() int64 {
	switch {
	case c.op != nil && c.op.maxBody > 0:
		return c.op.maxBody
	case c.service.MaxBody > 0:
		return c.service.MaxBody
	}
	return DefaultMaxBody
}

// TooLarge is the error of a body larger than MaxBody.
// AWS: recorded for CreateFunction; the name is that of the IAM action (InvokeFunction, not Invoke).
func (c *Call) TooLarge() error {
	name := c.Operation()
	if c.op != nil && c.op.action != "" {
		_, name, _ = strings.Cut(c.op.action, ":")
	}
	return &Error{
		Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge,
		Message: fmt.Sprintf("Request must be smaller than %d bytes for the %s operation", c.MaxBody(), name),
	}
}

// Decode reads the input from the request's head and body. The call keeps parts of body.
func (c *Call) Decode(body []byte) error { return c.service.Protocol.decode(c, body) }

// newInput makes the input once the operation is known.
func (c *Call) newInput() reflect.Value {
	v := reflect.New(c.op.input)
	c.input = v.Interface()
	return v.Elem()
}

// Input is the decoded input, a pointer to the SDK's struct.
func (c *Call) Input() any { return c.input }

// Access is the IAM action of the decoded call and the ARNs it must be allowed on. An empty
// action means that every authenticated caller may do it.
func (c *Call) Access(s Scope) (action string, resources []string) {
	return c.op.action, c.op.Resources(s, c.input)
}

// HeadAccess is Access before the body was read, where the head names the resource: in the path.
// The decoded call has the last word.
func (c *Call) HeadAccess(s Scope) (action string, resources []string, known bool) {
	rest, ok := c.service.Protocol.(restJSON)
	if !ok || len(c.labels) == 0 || c.op.action == "" || isUnit(c.op.in) {
		return "", nil, false
	}
	in, err := rest.head(c)
	if err != nil {
		return "", nil, false // Decode says what is wrong
	}
	return c.op.action, c.op.Resources(s, in), true
}

// Handle runs the handler and writes its answer. An error must be written by the service's
// WriteError, unless the answer had begun.
func (c *Call) Handle(ctx context.Context, w http.ResponseWriter) error {
	return c.op.serve(ctx, c, w)
}

// UnknownOperation is the error of a request for an operation that is not served.
func (s *Service) UnknownOperation(name string) error { return s.Protocol.unknown(s, name) }
