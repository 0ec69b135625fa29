package lambda

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

// principal is the service that runs functions, in trust policies.
const principal = "lambda.amazonaws.com"

// creatable are the runtimes that AWS names when it is asked for one it does not have, in its
// order.
var creatable = []types.Runtime{
	"nodejs20.x", "python3.14", "provided.al2023", "python3.12", "python3.13", "nodejs24.x", "nodejs22.x", "java25", "python3.10",
	"python3.11", "java21", "ruby3.3", "ruby3.4", "ruby3.2", "python3.8", "python3.9", "java17", "nodejs16.x", "dotnet10", "dotnet8",
	"java11", "dotnet6", "nodejs18.x", "provided.al2", "java8.al2",
}

// retired are the runtimes that AWS has taken away.
var retired = []types.Runtime{
	"nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x",
	"python2.7", "python3.6", "python3.7", "java8", "ruby2.5", "ruby2.7", "go1.x", "provided",
	"dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1",
}

// checkRuntime refuses a runtime that functions cannot have.
func (a *API) checkRuntime(ctx context.Context, r types.Runtime) error {
	switch {
	case slices.Contains(retired, r):
		return invalid("The runtime parameter of %s is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.", r)
	case !slices.Contains(creatable, r) && !slices.Contains(r.Values(), r):
		return invalid("Value %s at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: %s or be a valid ARN", r, list(creatable))
	}
	if err := a.cfg.Runtime(ctx, string(r)); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return invalid("The runtime %s cannot be had in this region: %v", r, err)
	}
	return nil
}

// checkRole refuses a role that the caller may not pass, and one that Lambda may not assume.
func (a *API) checkRole(ctx context.Context, arn *string) error {
	if err := a.cfg.Roles.CanPassRole(ctx, wire.Value(arn), principal); err != nil {
		return err
	}
	r, err := a.cfg.Roles.Role(account(ctx), wire.Value(arn))
	switch {
	case isNoRole(err), err == nil && !r.Trusts(principal):
		return invalid(textRole)
	}
	return err
}

// checkArchitectures refuses architectures that this host is not.
func (a *API) checkArchitectures(v []types.Architecture) error {
	if len(v) == 0 || string(v[0]) == a.cfg.Architecture {
		return nil
	}
	return invalid("This region runs functions of architecture %s only: its host has no %s.", a.cfg.Architecture, v[0])
}

// architectures checks the constraints of the model.
func (c *check) architectures(v []types.Architecture) {
	if len(v) > 1 {
		c.fail("architectures", quoted(list(v)), "Member must have length less than or equal to 1")
		return
	}
	each(c, "architectures", v, func(x types.Architecture) bool {
		return x == types.ArchitectureX8664 || x == types.ArchitectureArm64
	}, "Member must satisfy enum value set: [x86_64, arm64], Member must not be null")
}

var _ Roles = (*iam.Store)(nil)
