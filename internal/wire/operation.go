package wire

import (
	"context"
	"net/http"
	"reflect"

	"github.com/aws/smithy-go"
)

// An Operation binds one AWS operation to the function that serves it and to the permission it
// takes. It is made by [Op] or [OpRaw].
type Operation struct {
	schema, in, out *smithy.Schema
	input           reflect.Type // the struct the handler takes
	output          reflect.Type // nil for raw operations
	action          string
	resources       func(Scope, any) []string
	authInput       reflect.Type // the struct resources takes
	public          string       // why no permission is needed; "" when one is
	maxBody         int64
	serve           func(ctx context.Context, c *Call, w http.ResponseWriter) error
}

// An OpOption completes an operation.
type OpOption func(*Operation)

// Op declares an operation: the schemas of itself, its input and its output (nil when it has
// none), and its handler. One of the options must be [Auth] or [Public].
func Op[In, Out any](op, in, out *smithy.Schema, h func(context.Context, *In) (*Out, error), opts ...OpOption) Operation {
	o := newOperation[In](op, in, out, opts)
	o.output = reflect.TypeFor[Out]()
	o.serve = func(ctx context.Context, c *Call, w http.ResponseWriter) error {
		output, err := h(ctx, c.input.(*In))
		if err != nil {
			return err
		}
		return c.service.Protocol.encode(c, w, output)
	}
	return o
}

// OpRaw declares an operation whose handler writes its own answer, for bodies that stream.
// [WriteHead] writes status and header members of an output for it. An error that it returns
// before it wrote anything is answered as any other operation's.
func OpRaw[In any](op, in *smithy.Schema, h func(context.Context, *In, http.ResponseWriter) error, opts ...OpOption) Operation {
	o := newOperation[In](op, in, nil, opts)
	o.serve = func(ctx context.Context, c *Call, w http.ResponseWriter) error {
		return h(ctx, c.input.(*In), w)
	}
	return o
}

func newOperation[In any](op, in, out *smithy.Schema, opts []OpOption) Operation {
	o := Operation{schema: op, in: in, out: out, input: reflect.TypeFor[In]()}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Auth names the IAM action an operation takes and how to find the ARNs of its resources in its
// input. A nil function, or no ARN, means "*".
func Auth[In any](action string, resources func(s Scope, in *In) []string) OpOption {
	return func(o *Operation) {
		o.action, o.authInput = action, reflect.TypeFor[In]()
		o.resources = func(s Scope, in any) []string {
			if resources != nil {
				if arns := resources(s, in.(*In)); len(arns) > 0 {
					return arns
				}
			}
			return []string{"*"}
		}
	}
}

// Public says that any authenticated caller may use an operation, and why: AWS asks no
// permission for it, or the handler decides by other means than the caller's policies.
func Public(reason string) OpOption {
	return func(o *Operation) { o.public = reason }
}

// MaxBody bounds the request body of an operation, below or above the service's own bound.
func MaxBody(n int64) OpOption {
	return func(o *Operation) { o.maxBody = n }
}

// Name is AWS's name of the operation.
func (o Operation) Name() string { return o.schema.ID().Name }

// Action is the IAM action the operation takes, "" when it is public.
func (o Operation) Action() string { return o.action }

// PublicReason is why the operation takes no permission, "" when it does.
func (o Operation) PublicReason() string { return o.public }

// Resources are the ARNs in a decoded input that the action must be allowed on. It is nil for
// public operations.
func (o Operation) Resources(s Scope, in any) []string {
	if o.resources == nil {
		return nil
	}
	return o.resources(s, in)
}
