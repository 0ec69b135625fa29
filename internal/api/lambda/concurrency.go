package lambda

import (
	"cmp"
	"context"
	"errors"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

const textFunctionsOnly = "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN."

// whole wants that a request names a function that exists, and no version of it; c has what else is
// wrong with the request.
func (a *API) whole(ctx context.Context, c *check, name *string) (function.Function, error) {
	t, err := a.plain(ctx, c, name, nil)
	if err != nil {
		return function.Function{}, err
	}
	if t.qualifier != "" {
		return function.Function{}, invalid(textFunctionsOnly)
	}
	return a.find(t)
}

// GetFunctionConcurrency says that a function reserves no concurrency.
func (a *API) GetFunctionConcurrency(ctx context.Context, in *sdk.GetFunctionConcurrencyInput) (*sdk.GetFunctionConcurrencyOutput, error) {
	if _, err := a.whole(ctx, &check{}, in.FunctionName); err != nil {
		return nil, err
	}
	return &sdk.GetFunctionConcurrencyOutput{}, nil
}

// GetFunctionRecursionConfig says what becomes of a function's invocations that go in a circle.
func (a *API) GetFunctionRecursionConfig(ctx context.Context, in *sdk.GetFunctionRecursionConfigInput) (*sdk.GetFunctionRecursionConfigOutput, error) {
	f, err := a.whole(ctx, &check{}, in.FunctionName)
	if err != nil {
		return nil, err
	}
	return &sdk.GetFunctionRecursionConfigOutput{RecursiveLoop: types.RecursiveLoop(cmp.Or(f.RecursiveLoop, function.Terminate))}, nil
}

// PutFunctionRecursionConfig says it.
func (a *API) PutFunctionRecursionConfig(ctx context.Context, in *sdk.PutFunctionRecursionConfigInput) (*sdk.PutFunctionRecursionConfigOutput, error) {
	var c check
	if c.required("recursiveLoop", in.RecursiveLoop != "") {
		enum(&c, "recursiveLoop", in.RecursiveLoop, types.RecursiveLoopTerminate, types.RecursiveLoopAllow)
	}
	f, err := a.whole(ctx, &c, in.FunctionName)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Functions.SetRecursiveLoop(ctx, f.Account, f.Name, string(in.RecursiveLoop)); err != nil {
		return nil, apiError(err, f.ARN())
	}
	return &sdk.PutFunctionRecursionConfigOutput{RecursiveLoop: in.RecursiveLoop}, nil
}

// GetProvisionedConcurrencyConfig says that no version of a function is provisioned.
func (a *API) GetProvisionedConcurrencyConfig(ctx context.Context, in *sdk.GetProvisionedConcurrencyConfigInput) (*sdk.GetProvisionedConcurrencyConfigOutput, error) {
	var c check
	if c.required("qualifier", in.Qualifier != nil) {
		c.qualifier(in.Qualifier)
	}
	t, err := a.plain(ctx, &c, in.FunctionName, in.Qualifier)
	switch {
	case err != nil:
		return nil, err
	case t.qualifier == function.Latest:
		return nil, invalid("The function resource provided must be an alias or a published version.")
	case !wholeNumber.MatchString(t.qualifier):
		return nil, missing("Cannot find alias arn: %s", t.qualified())
	}
	return nil, missing("Function not found: %s", t.qualified())
}

// ListProvisionedConcurrencyConfigs lists what is provisioned of a function: nothing.
func (a *API) ListProvisionedConcurrencyConfigs(ctx context.Context, in *sdk.ListProvisionedConcurrencyConfigsInput) (*sdk.ListProvisionedConcurrencyConfigsOutput, error) {
	var c check
	c.between("maxItems", in.MaxItems, 1, 50)
	if err := a.unqualified(ctx, &c, in.FunctionName); err != nil {
		return nil, err
	}
	return &sdk.ListProvisionedConcurrencyConfigsOutput{ProvisionedConcurrencyConfigs: []types.ProvisionedConcurrencyConfigListItem{}}, nil
}

// GetFunctionEventInvokeConfig says that a function has no configuration for events.
func (a *API) GetFunctionEventInvokeConfig(ctx context.Context, in *sdk.GetFunctionEventInvokeConfigInput) (*types.FunctionEventInvokeConfig, error) {
	var c check
	c.qualifier(in.Qualifier)
	t, err := a.plain(ctx, &c, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	// AWS: it does not say whether the function exists, and always names a version.
	if t.qualifier == "" {
		t.qualifier = function.Latest
	}
	return nil, missing("The function %s doesn't have an EventInvokeConfig", t.qualified())
}

// ListFunctionEventInvokeConfigs lists the configurations of a function for events: it has none.
func (a *API) ListFunctionEventInvokeConfigs(ctx context.Context, in *sdk.ListFunctionEventInvokeConfigsInput) (*sdk.ListFunctionEventInvokeConfigsOutput, error) {
	var c check
	c.between("maxItems", in.MaxItems, 1, 50)
	err := a.unqualified(ctx, &c, in.FunctionName)
	if isMissing(err) {
		return nil, missing("The function doesn't exist.")
	}
	if err != nil {
		return nil, err
	}
	return &sdk.ListFunctionEventInvokeConfigsOutput{FunctionEventInvokeConfigs: []types.FunctionEventInvokeConfig{}}, nil
}

// ListEventSourceMappings lists the event sources of the account: there are none.
func (a *API) ListEventSourceMappings(ctx context.Context, in *sdk.ListEventSourceMappingsInput) (*sdk.ListEventSourceMappingsOutput, error) {
	var c check
	c.between("maxItems", in.MaxItems, 1, 10000)
	if in.FunctionName != nil {
		if _, err := a.plain(ctx, &c, in.FunctionName, nil); err != nil {
			return nil, err
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return &sdk.ListEventSourceMappingsOutput{EventSourceMappings: []types.EventSourceMappingConfiguration{}}, nil
}

// isMissing reports whether an answer says that a function does not exist.
func isMissing(err error) bool {
	var e *types.ResourceNotFoundException
	return errors.As(err, &e)
}

// untyped is a ResourceNotFoundException whose answer has no Type.
func untyped(err error) error {
	var e *types.ResourceNotFoundException
	if errors.As(err, &e) {
		e.Type = wire.Ptr("")
	}
	return err
}
