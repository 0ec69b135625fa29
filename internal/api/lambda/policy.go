package lambda

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/wire"
)

const textNoResource = "The resource you requested does not exist."

// GetPolicy says that a function has no policy.
func (a *API) GetPolicy(ctx context.Context, in *sdk.GetPolicyInput) (*sdk.GetPolicyOutput, error) {
	if _, _, err := a.read(ctx, in.FunctionName, in.Qualifier); err != nil {
		return nil, err
	}
	return nil, missing(textNoResource)
}

// GetFunctionUrlConfig says that a function has no URL.
func (a *API) GetFunctionUrlConfig(ctx context.Context, in *sdk.GetFunctionUrlConfigInput) (*sdk.GetFunctionUrlConfigOutput, error) {
	var c check
	c.name(in.FunctionName)
	c.alias(in.Qualifier)
	if err := c.err(); err != nil {
		return nil, err
	}
	if _, err := a.target(ctx, wire.Value(in.FunctionName), in.Qualifier); err != nil {
		return nil, err
	}
	// AWS: it does not say whether the function exists.
	return nil, missing(textNoResource)
}

// ListFunctionUrlConfigs lists the URLs of a function: it has none.
func (a *API) ListFunctionUrlConfigs(ctx context.Context, in *sdk.ListFunctionUrlConfigsInput) (*sdk.ListFunctionUrlConfigsOutput, error) {
	var c check
	c.between("maxItems", in.MaxItems, 1, 50)
	t, err := a.plain(ctx, &c, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if _, err := a.find(t); err != nil {
		if isMissing(err) {
			return nil, missing("Function does not exist")
		}
		return nil, err
	}
	return &sdk.ListFunctionUrlConfigsOutput{FunctionUrlConfigs: []types.FunctionUrlConfig{}}, nil
}
