package lambda

import (
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

// describe is a function's configuration as answers have it; qualified is how the caller named
// it, since AWS shows the ARN with a qualifier only to those who gave one.
func describe(f function.Function, qualified bool) configuration {
	c := configuration{
		FunctionName: &f.Name, FunctionArn: wire.Ptr(f.ARN()), Version: &f.Version,
		Runtime: types.Runtime(f.Runtime), Handler: &f.Handler, Role: &f.Role, Description: &f.Description,
		Timeout: wire.Ptr(int32(f.Timeout)), MemorySize: wire.Ptr(int32(f.Memory)),
		CodeSize: f.Code.Size, CodeSha256: &f.Code.SHA256,
		LastModified: wire.Ptr(f.LastModifiedText()), RevisionId: &f.RevisionID,
		PackageType:          types.PackageType(f.PackageType),
		Architectures:        []types.Architecture{types.Architecture(f.Architecture)},
		EphemeralStorage:     &types.EphemeralStorage{Size: wire.Ptr(int32(f.EphemeralStorage))},
		TracingConfig:        &types.TracingConfigResponse{Mode: types.TracingMode(f.Tracing)},
		SnapStart:            &types.SnapStartResponse{ApplyOn: types.SnapStartApplyOnNone, OptimizationStatus: types.SnapStartOptimizationStatusOff},
		LoggingConfig:        &types.LoggingConfig{LogFormat: types.LogFormatText, LogGroup: &f.LogGroup},
		RuntimeVersionConfig: &types.RuntimeVersionConfig{RuntimeVersionArn: wire.Ptr(f.RuntimeVersionARN())},
		State:                types.State(f.State), LastUpdateStatus: types.LastUpdateStatus(f.LastUpdateStatus),
		StateReasonCode:            types.StateReasonCode(f.StateReasonCode),
		LastUpdateStatusReasonCode: types.LastUpdateStatusReasonCode(f.LastUpdateStatusReasonCode),
	}
	if qualified {
		c.FunctionArn = wire.Ptr(f.QualifiedARN())
	}
	// AWS: answers have no Environment for a function without variables.
	if len(f.Environment) > 0 {
		c.Environment = &types.EnvironmentResponse{Variables: f.Environment}
	}
	if f.StateReason != "" {
		c.StateReason = &f.StateReason
	}
	if f.LastUpdateStatusReason != "" {
		c.LastUpdateStatusReason = &f.LastUpdateStatusReason
	}
	return c
}

// read finds the function that a read names.
func (a *API) read(ctx context.Context, name, qualifier *string) (target, function.Function, error) {
	var c check
	c.namespaced(name)
	c.qualifier(qualifier)
	if err := c.err(); err != nil {
		return target{}, function.Function{}, err
	}
	t, err := a.target(ctx, wire.Value(name), qualifier)
	if err != nil {
		return t, function.Function{}, err
	}
	f, err := a.find(t)
	return t, f, err
}

// GetFunction describes a function and says where its package can be fetched.
func (a *API) GetFunction(ctx context.Context, in *sdk.GetFunctionInput) (*sdk.GetFunctionOutput, error) {
	t, f, err := a.read(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	out := &sdk.GetFunctionOutput{
		Configuration: wire.Ptr(describe(f, t.qualifier != "")),
		Code:          &types.FunctionCodeLocation{RepositoryType: wire.Ptr("S3"), Location: wire.Ptr(a.codeURL(ctx, f))},
	}
	// AWS: answers have no Tags for a function without.
	if len(f.Tags) > 0 {
		out.Tags = maps.Clone(f.Tags)
	}
	return out, nil
}

// GetFunctionConfiguration describes a function.
func (a *API) GetFunctionConfiguration(ctx context.Context, in *sdk.GetFunctionConfigurationInput) (*configuration, error) {
	t, f, err := a.read(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	return wire.Ptr(describe(f, t.qualifier != "")), nil
}

const defaultPage = 50

// ListFunctions lists the functions of the account.
func (a *API) ListFunctions(ctx context.Context, in *sdk.ListFunctionsInput) (*sdk.ListFunctionsOutput, error) {
	var c check
	c.between("maxItems", in.MaxItems, 1, 10000)
	enum(&c, "functionVersion", in.FunctionVersion, types.FunctionVersionAll)
	c.pattern("masterRegion", in.MasterRegion, masterRegion, "ALL|"+regionPattern)
	if err := c.err(); err != nil {
		return nil, err
	}
	out := &sdk.ListFunctionsOutput{Functions: []configuration{}}
	if in.MasterRegion != nil {
		return out, nil // AWS: replicas of functions at the edge; there are none
	}
	after, err := marker(in.Marker)
	if err != nil {
		return nil, err
	}
	limit := defaultPage
	if in.MaxItems != nil {
		limit = min(int(*in.MaxItems), defaultPage) // AWS: a page never has more than 50
	}
	page, more, err := a.cfg.Functions.List(account(ctx), after, limit)
	if err != nil {
		return nil, apiError(err, "")
	}
	for _, f := range page {
		d := describe(f, in.FunctionVersion == types.FunctionVersionAll)
		// AWS: the states and the version of the runtime are left to GetFunction.
		d.State, d.StateReason, d.StateReasonCode, d.RuntimeVersionConfig = "", nil, "", nil
		d.LastUpdateStatus, d.LastUpdateStatusReason, d.LastUpdateStatusReasonCode = "", nil, ""
		out.Functions = append(out.Functions, d)
	}
	if more {
		out.NextMarker = wire.Ptr(base64.URLEncoding.EncodeToString([]byte(page[len(page)-1].Name)))
	}
	return out, nil
}

var masterRegion = whole("ALL|" + regionPattern)

// marker is the name that a page begins after.
func marker(v *string) (string, error) {
	if wire.Value(v) == "" {
		return "", nil
	}
	b, err := base64.URLEncoding.DecodeString(*v)
	if err != nil {
		return "", invalid("The provided marker is invalid.")
	}
	return string(b), nil
}

// DeleteFunction deletes a function.
func (a *API) DeleteFunction(ctx context.Context, in *sdk.DeleteFunctionInput) (*sdk.DeleteFunctionOutput, error) {
	var c check
	c.namespaced(in.FunctionName)
	c.qualifier(in.Qualifier)
	if err := c.err(); err != nil {
		return nil, err
	}
	t, err := a.target(ctx, wire.Value(in.FunctionName), in.Qualifier)
	if err != nil {
		return nil, err
	}
	if t.qualifier == function.Latest {
		return nil, invalid("$LATEST version cannot be deleted without deleting the function.")
	}
	if _, err := a.find(t); err != nil {
		return nil, err
	}
	if err := a.cfg.Functions.Delete(ctx, t.account, t.name); err != nil {
		return nil, apiError(err, t.qualified())
	}
	return &sdk.DeleteFunctionOutput{StatusCode: http.StatusNoContent}, nil
}

// sortedKeys are the keys of m in order.
func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
