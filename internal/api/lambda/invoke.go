package lambda

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/schemas"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
	"lambent.dev/lambent/internal/wire"
)

const (
	maxSync          = 6291456 // bytes of a payload whose caller waits
	maxEvent         = 1 << 20 // bytes of an event
	maxClientContext = 3583    // bytes of base64
)

// Invoke runs a function, accepts an event for it, or says whether the caller could.
func (a *API) Invoke(ctx context.Context, in *sdk.InvokeInput, w http.ResponseWriter) error {
	inv, f, err := a.invocation(ctx, in)
	if err != nil {
		return err
	}
	switch in.InvocationType {
	case types.InvocationTypeDryRun:
		wire.WriteHead(w, schemas.InvocationResponse, &sdk.InvokeOutput{}, http.StatusNoContent)
		return nil
	case types.InvocationTypeEvent:
		return a.event(ctx, inv, f, w)
	}
	// AWS: the function runs although the client has hung up, while its environment started too.
	r, err := a.cfg.Invoke.Invoke(context.WithoutCancel(ctx), inv)
	if err != nil {
		return apiError(err, inv.InvokedARN)
	}
	if r.Body == nil {
		r.Body, r.Size = http.NoBody, 0
	}
	defer r.Body.Close()
	out := &sdk.InvokeOutput{ExecutedVersion: &r.Version}
	if r.Error != "" {
		out.FunctionError = &r.Error
	}
	if inv.Tail {
		out.LogResult = wire.Ptr(base64.StdEncoding.EncodeToString(r.LogTail))
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Size >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(r.Size, 10))
	}
	wire.WriteHead(w, schemas.InvocationResponse, out, http.StatusOK)
	if _, err := io.Copy(w, r.Body); err != nil {
		return fmt.Errorf("write response of %s: %w", inv.RequestID, err)
	}
	return nil
}

// event accepts an event. When it is answered, the event is durable.
func (a *API) event(ctx context.Context, inv function.Invocation, f function.Function, w http.ResponseWriter) error {
	// AWS: what cannot be invoked takes no events either.
	if f.State != function.Active {
		return apiError(&invoke.StateError{State: f.State}, inv.InvokedARN)
	}
	if a.cfg.Room != nil {
		if err := a.cfg.Room(); err != nil {
			return apiError(err, inv.InvokedARN)
		}
	}
	inv.Async = true
	if err := a.cfg.Events.Publish(ctx, inv); err != nil {
		return apiError(err, inv.InvokedARN)
	}
	wire.WriteHead(w, schemas.InvocationResponse, &sdk.InvokeOutput{}, http.StatusAccepted)
	return nil
}

// invocation checks a request and finds what it is to run.
func (a *API) invocation(ctx context.Context, in *sdk.InvokeInput) (function.Invocation, function.Function, error) {
	var none function.Invocation
	var c check
	c.namespaced(in.FunctionName)
	c.qualifier(in.Qualifier)
	enum(&c, "invocationType", in.InvocationType, types.InvocationTypeEvent, types.InvocationTypeRequestResponse, types.InvocationTypeDryRun)
	enum(&c, "logType", in.LogType, types.LogTypeNone, types.LogTypeTail)
	if err := c.err(); err != nil {
		return none, function.Function{}, err
	}
	t, err := a.target(ctx, wire.Value(in.FunctionName), in.Qualifier)
	if err != nil {
		return none, function.Function{}, err
	}
	switch {
	case in.DurableExecutionName != nil:
		return none, function.Function{}, unsupported("DurableExecutionName")
	case in.TenantId != nil:
		return none, function.Function{}, unsupported("TenantId")
	}
	f, err := a.cfg.Functions.Serving(t.account, t.name)
	if err == nil && !t.latest() {
		err = function.ErrNotFound
	}
	if err != nil {
		return none, f, apiError(err, t.qualified())
	}
	client, err := checkPayload(in)
	if err != nil {
		return none, f, err
	}
	p, _ := iam.PrincipalFrom(ctx)
	r := wire.RequestFrom(ctx)
	return function.Invocation{
		Account: t.account, Name: t.name, Qualifier: t.qualifier, FunctionID: f.ID, RequestID: r.ID, Payload: in.Payload,
		ClientContext: client, Trace: r.TraceHeader, Tail: in.LogType == types.LogTypeTail,
		InvokedARN: t.qualified(), Caller: p.ARN, Received: a.now(),
	}, f, nil
}

// checkPayload refuses payloads that functions do not get, and decodes the client's context.
func checkPayload(in *sdk.InvokeInput) (client string, err error) {
	limit, kind := maxSync, types.InvocationTypeRequestResponse
	if in.InvocationType == types.InvocationTypeEvent {
		limit, kind = maxEvent, types.InvocationTypeEvent
	}
	if n := len(in.Payload); n > limit {
		return "", &types.RequestTooLargeException{Message: wire.Ptr(fmt.Sprintf("%d byte payload is too large for the %s invocation type (limit %d bytes)", n, kind, limit))}
	}
	if in.ClientContext != nil {
		b, err := base64.StdEncoding.DecodeString(*in.ClientContext)
		if err != nil || !json.Valid(b) || len(*in.ClientContext) > maxClientContext {
			return "", content("Client context must be a valid Base64-encoded JSON object.")
		}
		client = string(b)
	}
	if len(in.Payload) > 0 {
		if text := jsonError(in.Payload); text != "" {
			return "", content("Could not parse request body into json: Could not parse payload into json: " + text)
		}
	}
	return client, nil
}

func content(message string) error {
	return &types.InvalidRequestContentException{Message: &message}
}
