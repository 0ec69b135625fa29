package wire

import (
	"context"
	"time"
)

// A Request is what the listener knows about a request beside its input.
type Request struct {
	ID          string // the request id, also the answer's x-amzn-RequestId
	Host        string // as the client named this server, with its port
	TLS         bool
	SourceIP    string
	UserAgent   string
	TraceHeader string // X-Amzn-Trace-Id
	Started     time.Time
}

type requestKey struct{}

// WithRequest returns a context that carries r.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom is the request that ctx belongs to, or a zero one.
func RequestFrom(ctx context.Context) Request {
	r, _ := ctx.Value(requestKey{}).(Request)
	return r
}

// A Scope is where an operation runs: what is needed to write the ARNs of its resources.
type Scope struct{ Partition, Region, Account string }

// ARN is the ARN of a resource of service in the scope.
func (s Scope) ARN(service, resource string) string {
	return "arn:" + s.Partition + ":" + service + ":" + s.Region + ":" + s.Account + ":" + resource
}

// GlobalARN is the ARN of a resource of a service without regions, such as IAM.
func (s Scope) GlobalARN(service, resource string) string {
	return "arn:" + s.Partition + ":" + service + "::" + s.Account + ":" + resource
}
