package lambda

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/code"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

// GetAccountSettings says what the account may have and what it has.
func (a *API) GetAccountSettings(ctx context.Context, _ *sdk.GetAccountSettingsInput) (*sdk.GetAccountSettingsOutput, error) {
	n, size, err := a.cfg.Functions.Usage(account(ctx))
	if err != nil {
		return nil, apiError(err, "")
	}
	return &sdk.GetAccountSettingsOutput{
		AccountLimit: &types.AccountLimit{
			TotalCodeSize: function.CodeStorage, CodeSizeUnzipped: code.MaxUnzipped, CodeSizeZipped: code.MaxUpload,
			ConcurrentExecutions: int32(a.cfg.Concurrency), UnreservedConcurrentExecutions: wire.Ptr(int32(a.cfg.Concurrency)),
		},
		AccountUsage: &types.AccountUsage{FunctionCount: int64(n), TotalCodeSize: size},
	}, nil
}
