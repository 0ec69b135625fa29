package lambda

import (
	"context"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/schemas"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent/internal/wire"
)

const (
	// maxRequest bounds requests that carry no code and no payload.
	maxRequest = 1 << 20
	// maxCode bounds requests that carry code. AWS: recorded for CreateFunction.
	maxCode = 70167211
	// maxInvoke bounds what is read of a payload; what is too large for its kind of invocation
	// is refused in the words of that.
	maxInvoke = 32 << 20
)

// operations is everything that is served.
func (a *API) operations() []wire.Operation {
	return slices.Concat(a.functionOperations(), a.versionOperations(), a.concurrencyOperations(), a.otherOperations())
}

// on finds the function that an operation is on. AWS: a qualifier is part of the resource.
func on[In any](names func(*In) (name, qualifier *string)) func(wire.Scope, *In) []string {
	return func(s wire.Scope, in *In) []string {
		name, qualifier := names(in)
		return []string{resource(s, wire.Value(name), wire.Value(qualifier))}
	}
}

// functionRow is a row of the table, of an operation on one function.
func functionRow[In, Out any](op, in, out *smithy.Schema, h func(context.Context, *In) (*Out, error), names func(*In) (name, qualifier *string), opts ...wire.OpOption) wire.Operation {
	return row(op, in, out, h, on(names), opts...)
}

// row is a row of the table. Lambda calls an action what it calls the operation, but for Invoke.
func row[In, Out any](op, in, out *smithy.Schema, h func(context.Context, *In) (*Out, error), resources func(wire.Scope, *In) []string, opts ...wire.OpOption) wire.Operation {
	return wire.Op(op, in, out, h, append(opts, wire.Auth("lambda:"+op.ID().Name, resources))...)
}

// functionOperations are those on functions themselves.
func (a *API) functionOperations() []wire.Operation {
	return []wire.Operation{
		functionRow(schemas.CreateFunction, schemas.CreateFunctionRequest, schemas.FunctionConfiguration, a.CreateFunction,
			func(in *sdk.CreateFunctionInput) (_, _ *string) { return in.FunctionName, nil }, wire.MaxBody(maxCode)),
		functionRow(schemas.GetFunction, schemas.GetFunctionRequest, schemas.GetFunctionResponse, a.GetFunction,
			func(in *sdk.GetFunctionInput) (_, _ *string) { return in.FunctionName, in.Qualifier }),
		functionRow(schemas.GetFunctionConfiguration, schemas.GetFunctionConfigurationRequest, schemas.FunctionConfiguration, a.GetFunctionConfiguration,
			func(in *sdk.GetFunctionConfigurationInput) (_, _ *string) { return in.FunctionName, in.Qualifier }),
		row(schemas.ListFunctions, schemas.ListFunctionsRequest, schemas.ListFunctionsResponse, a.ListFunctions, nil),
		functionRow(schemas.UpdateFunctionCode, schemas.UpdateFunctionCodeRequest, schemas.FunctionConfiguration, a.UpdateFunctionCode,
			func(in *sdk.UpdateFunctionCodeInput) (_, _ *string) { return in.FunctionName, nil }, wire.MaxBody(maxCode)),
		functionRow(schemas.UpdateFunctionConfiguration, schemas.UpdateFunctionConfigurationRequest, schemas.FunctionConfiguration, a.UpdateFunctionConfiguration,
			func(in *sdk.UpdateFunctionConfigurationInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.DeleteFunction, schemas.DeleteFunctionRequest, schemas.DeleteFunctionResponse, a.DeleteFunction,
			func(in *sdk.DeleteFunctionInput) (_, _ *string) { return in.FunctionName, in.Qualifier }),
		wire.OpRaw(schemas.Invoke, schemas.InvocationRequest, a.Invoke, wire.MaxBody(maxInvoke),
			wire.Auth("lambda:InvokeFunction", on(func(in *sdk.InvokeInput) (_, _ *string) { return in.FunctionName, in.Qualifier }))),
	}
}

// versionOperations are those on versions, aliases, policies and what hangs on them.
func (a *API) versionOperations() []wire.Operation {
	return []wire.Operation{
		functionRow(schemas.ListVersionsByFunction, schemas.ListVersionsByFunctionRequest, schemas.ListVersionsByFunctionResponse, a.ListVersionsByFunction,
			func(in *sdk.ListVersionsByFunctionInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.ListAliases, schemas.ListAliasesRequest, schemas.ListAliasesResponse, a.ListAliases,
			func(in *sdk.ListAliasesInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.GetPolicy, schemas.GetPolicyRequest, schemas.GetPolicyResponse, a.GetPolicy,
			func(in *sdk.GetPolicyInput) (_, _ *string) { return in.FunctionName, in.Qualifier }),
		functionRow(schemas.GetFunctionCodeSigningConfig, schemas.GetFunctionCodeSigningConfigRequest, schemas.GetFunctionCodeSigningConfigResponse, a.GetFunctionCodeSigningConfig,
			func(in *sdk.GetFunctionCodeSigningConfigInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.GetFunctionUrlConfig, schemas.GetFunctionUrlConfigRequest, schemas.GetFunctionUrlConfigResponse, a.GetFunctionUrlConfig,
			func(in *sdk.GetFunctionUrlConfigInput) (_, _ *string) { return in.FunctionName, in.Qualifier }),
		functionRow(schemas.ListFunctionUrlConfigs, schemas.ListFunctionUrlConfigsRequest, schemas.ListFunctionUrlConfigsResponse, a.ListFunctionUrlConfigs,
			func(in *sdk.ListFunctionUrlConfigsInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.GetRuntimeManagementConfig, schemas.GetRuntimeManagementConfigRequest, schemas.GetRuntimeManagementConfigResponse, a.GetRuntimeManagementConfig,
			func(in *sdk.GetRuntimeManagementConfigInput) (_, _ *string) { return in.FunctionName, in.Qualifier }),
		row(schemas.ListLayers, schemas.ListLayersRequest, schemas.ListLayersResponse, a.ListLayers, nil),
	}
}

// concurrencyOperations are those on concurrency and on events.
func (a *API) concurrencyOperations() []wire.Operation {
	return []wire.Operation{
		functionRow(schemas.GetFunctionConcurrency, schemas.GetFunctionConcurrencyRequest, schemas.GetFunctionConcurrencyResponse, a.GetFunctionConcurrency,
			func(in *sdk.GetFunctionConcurrencyInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.GetProvisionedConcurrencyConfig, schemas.GetProvisionedConcurrencyConfigRequest, schemas.GetProvisionedConcurrencyConfigResponse, a.GetProvisionedConcurrencyConfig,
			func(in *sdk.GetProvisionedConcurrencyConfigInput) (_, _ *string) {
				return in.FunctionName, in.Qualifier
			}),
		functionRow(schemas.ListProvisionedConcurrencyConfigs, schemas.ListProvisionedConcurrencyConfigsRequest, schemas.ListProvisionedConcurrencyConfigsResponse, a.ListProvisionedConcurrencyConfigs,
			func(in *sdk.ListProvisionedConcurrencyConfigsInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.GetFunctionEventInvokeConfig, schemas.GetFunctionEventInvokeConfigRequest, schemas.FunctionEventInvokeConfig, a.GetFunctionEventInvokeConfig,
			func(in *sdk.GetFunctionEventInvokeConfigInput) (_, _ *string) { return in.FunctionName, in.Qualifier }),
		functionRow(schemas.ListFunctionEventInvokeConfigs, schemas.ListFunctionEventInvokeConfigsRequest, schemas.ListFunctionEventInvokeConfigsResponse, a.ListFunctionEventInvokeConfigs,
			func(in *sdk.ListFunctionEventInvokeConfigsInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.GetFunctionRecursionConfig, schemas.GetFunctionRecursionConfigRequest, schemas.GetFunctionRecursionConfigResponse, a.GetFunctionRecursionConfig,
			func(in *sdk.GetFunctionRecursionConfigInput) (_, _ *string) { return in.FunctionName, nil }),
		functionRow(schemas.PutFunctionRecursionConfig, schemas.PutFunctionRecursionConfigRequest, schemas.PutFunctionRecursionConfigResponse, a.PutFunctionRecursionConfig,
			func(in *sdk.PutFunctionRecursionConfigInput) (_, _ *string) { return in.FunctionName, nil }),
		row(schemas.ListEventSourceMappings, schemas.ListEventSourceMappingsRequest, schemas.ListEventSourceMappingsResponse, a.ListEventSourceMappings, nil),
	}
}

// otherOperations are those on tags and on the account.
func (a *API) otherOperations() []wire.Operation {
	return []wire.Operation{
		row(schemas.TagResource, schemas.TagResourceRequest, nil, a.TagResource,
			func(s wire.Scope, in *sdk.TagResourceInput) []string { return taggedResource(s, in.Resource) }),
		row(schemas.UntagResource, schemas.UntagResourceRequest, nil, a.UntagResource,
			func(s wire.Scope, in *sdk.UntagResourceInput) []string { return taggedResource(s, in.Resource) }),
		row(schemas.ListTags, schemas.ListTagsRequest, schemas.ListTagsResponse, a.ListTags,
			func(s wire.Scope, in *sdk.ListTagsInput) []string { return taggedResource(s, in.Resource) }),
		row(schemas.GetAccountSettings, schemas.GetAccountSettingsRequest, schemas.GetAccountSettingsResponse, a.GetAccountSettings, nil),
	}
}

// configuration is the output of operations that answer with a function's configuration.
type configuration = types.FunctionConfiguration
