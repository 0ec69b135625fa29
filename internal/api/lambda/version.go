package lambda

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/wire"
)

// plain finds the function that a request names where AWS's model has the plain pattern; c has
// what is wrong with its other members.
func (a *API) plain(ctx context.Context, c *check, name, qualifier *string) (target, error) {
	c.name(name)
	if err := c.err(); err != nil {
		return target{}, err
	}
	return a.target(ctx, wire.Value(name), qualifier)
}

// ListVersionsByFunction lists the versions of a function: $LATEST is the only one.
func (a *API) ListVersionsByFunction(ctx context.Context, in *sdk.ListVersionsByFunctionInput) (*sdk.ListVersionsByFunctionOutput, error) {
	var c check
	c.between("maxItems", in.MaxItems, 1, 10000)
	c.namespaced(in.FunctionName)
	if err := c.err(); err != nil {
		return nil, err
	}
	t, err := a.target(ctx, wire.Value(in.FunctionName), nil)
	if err != nil {
		return nil, err
	}
	f, err := a.find(t)
	if err != nil {
		return nil, err
	}
	after, err := marker(in.Marker)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListVersionsByFunctionOutput{Versions: []configuration{}}
	if after == "" {
		d := describe(f, true)
		d.State, d.StateReason, d.StateReasonCode, d.RuntimeVersionConfig = "", nil, "", nil
		d.LastUpdateStatus, d.LastUpdateStatusReason, d.LastUpdateStatusReasonCode = "", nil, ""
		out.Versions = append(out.Versions, d)
	}
	return out, nil
}

// ListAliases lists the aliases of a function: it has none.
func (a *API) ListAliases(ctx context.Context, in *sdk.ListAliasesInput) (*sdk.ListAliasesOutput, error) {
	var c check
	c.between("maxItems", in.MaxItems, 1, 10000)
	if err := a.unqualified(ctx, &c, in.FunctionName); err != nil {
		return nil, err
	}
	return &sdk.ListAliasesOutput{Aliases: []types.AliasConfiguration{}}, nil
}

// unqualified wants that a request names a function that exists.
func (a *API) unqualified(ctx context.Context, c *check, name *string) error {
	t, err := a.plain(ctx, c, name, nil)
	if err != nil {
		return err
	}
	_, err = a.find(t)
	return err
}

// GetRuntimeManagementConfig says how the runtime of a function is updated: always, since a
// function starts with the newest image that there is.
func (a *API) GetRuntimeManagementConfig(ctx context.Context, in *sdk.GetRuntimeManagementConfigInput) (*sdk.GetRuntimeManagementConfigOutput, error) {
	_, f, err := a.read(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	return &sdk.GetRuntimeManagementConfigOutput{
		FunctionArn: wire.Ptr(f.QualifiedARN()), UpdateRuntimeOn: types.UpdateRuntimeOnAuto,
	}, nil
}

// GetFunctionCodeSigningConfig says that a function has no code signing configuration.
func (a *API) GetFunctionCodeSigningConfig(ctx context.Context, in *sdk.GetFunctionCodeSigningConfigInput) (*sdk.GetFunctionCodeSigningConfigOutput, error) {
	t, err := a.plain(ctx, &check{}, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	f, err := a.find(t)
	if err != nil {
		return nil, err
	}
	return &sdk.GetFunctionCodeSigningConfigOutput{FunctionName: &f.Name, CodeSigningConfigArn: wire.Ptr("")}, nil
}

// ListLayers lists the layers of the account: there are none.
func (a *API) ListLayers(_ context.Context, in *sdk.ListLayersInput) (*sdk.ListLayersOutput, error) {
	var c check
	c.between("maxItems", in.MaxItems, 1, 50)
	enum(&c, "compatibleRuntime", in.CompatibleRuntime, layerRuntimes...)
	enum(&c, "compatibleArchitecture", in.CompatibleArchitecture, types.ArchitectureX8664, types.ArchitectureArm64)
	if err := c.err(); err != nil {
		return nil, err
	}
	return &sdk.ListLayersOutput{Layers: []types.LayersListItem{}}, nil
}

// layerRuntimes are the runtimes that layers can be searched by, in AWS's order.
var layerRuntimes = []types.Runtime{
	"ruby3.5", "ruby2.6", "dotnetcore1.0", "python3.7", "nodejs8.10", "nasa", "ruby2.7", "python2.7-greengrass", "dotnetcore2.0",
	"python3.8", "java21", "dotnet6", "dotnetcore2.1", "python3.9", "java11", "nodejs6.10", "provided", "dotnetcore3.1", "dotnet8",
	"java25", "java17", "nodejs", "nodejs4.3", "java8.al2", "go1.x", "dotnet10", "nodejs20.x", "go1.9", "byol", "nodejs10.x",
	"provided.al2023", "nodejs22.x", "python3.10", "java8", "nodejs12.x", "python3.11", "nodejs24.x", "nodejs8.x", "python3.12",
	"nodejs14.x", "nodejs8.9", "nodejs26.x", "python3.13", "python3.14", "nodejs16.x", "python3.15", "provided.al2", "nodejs4.3-edge",
	"nodejs18.x", "ruby3.2", "python3.4", "ruby3.3", "ruby3.4", "ruby2.5", "python3.6", "python2.7",
}
