package lambda

import (
	"context"
	"errors"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

// changing finds the function that a change names, and refuses if it cannot be changed now. The
// store decides again when the change is written.
func (a *API) changing(ctx context.Context, name, revision *string) (target, function.Function, error) {
	t, err := a.target(ctx, wire.Value(name), nil)
	if err != nil {
		return t, function.Function{}, err
	}
	if t.qualifier != "" && t.qualifier != function.Latest {
		return t, function.Function{}, missing("Function not found: %s", t.qualified())
	}
	f, err := a.find(t)
	switch {
	case err != nil:
	case revision != nil && *revision != f.RevisionID:
		err = apiError(function.ErrRevision, t.arn)
	case f.State == function.Pending:
		err = apiError(function.ErrPending, t.arn)
	case f.Updating():
		err = apiError(function.ErrUpdating, t.arn)
	}
	return t, f, err
}

// UpdateFunctionCode gives a function another package. The package before serves until the new
// one is at hand.
func (a *API) UpdateFunctionCode(ctx context.Context, in *sdk.UpdateFunctionCodeInput) (*configuration, error) {
	var c check
	c.name(in.FunctionName)
	c.architectures(in.Architectures)
	if err := c.err(); err != nil {
		return nil, err
	}
	t, f, err := a.changing(ctx, in.FunctionName, in.RevisionId)
	if err != nil {
		return nil, err
	}
	if err := a.refuseCode(in); err != nil {
		return nil, err
	}
	if in.DryRun {
		return a.dryCode(ctx, f, in.ZipFile)
	}
	p, err := a.put(ctx, in.ZipFile)
	if err != nil {
		return nil, err
	}
	f, err = a.cfg.Functions.UpdateCode(ctx, t.account, t.name, wire.Value(in.RevisionId), p, architecture(in))
	if err != nil {
		return nil, apiError(err, t.arn)
	}
	return wire.Ptr(describe(f, t.qualifier != "")), nil
}

func architecture(in *sdk.UpdateFunctionCodeInput) string {
	if len(in.Architectures) == 0 {
		return ""
	}
	return string(in.Architectures[0])
}

// refuseCode refuses what is not honoured.
func (a *API) refuseCode(in *sdk.UpdateFunctionCodeInput) error {
	if in.ImageUri != nil {
		return invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
	}
	for _, m := range []struct {
		given bool
		name  string
	}{
		{in.S3Bucket != nil || in.S3Key != nil || in.S3ObjectVersion != nil, "S3Bucket"},
		{in.S3ObjectStorageMode != "", "S3ObjectStorageMode"},
		{in.SourceKMSKeyArn != nil, "SourceKMSKeyArn"},
		{in.Publish, "Publish"},
		{in.PublishTo != "", "PublishTo"},
	} {
		if m.given {
			return unsupported(m.name)
		}
	}
	if err := a.checkArchitectures(in.Architectures); err != nil {
		return err
	}
	return checkZip(in.ZipFile)
}

// dryCode is what an update would answer. The package is kept until it is swept, like any that
// no function uses.
func (a *API) dryCode(ctx context.Context, f function.Function, zip []byte) (*configuration, error) {
	p, err := a.put(ctx, zip)
	if err != nil {
		return nil, err
	}
	f.Code = p
	return wire.Ptr(describe(f, false)), nil
}

// UpdateFunctionConfiguration changes settings of a function.
func (a *API) UpdateFunctionConfiguration(ctx context.Context, in *sdk.UpdateFunctionConfigurationInput) (*configuration, error) {
	s := settings{
		description: in.Description, handler: in.Handler, role: in.Role, runtime: in.Runtime,
		timeout: in.Timeout, memory: in.MemorySize, environment: in.Environment, storage: in.EphemeralStorage,
		tracing: in.TracingConfig, logging: in.LoggingConfig, snapStart: in.SnapStart, vpc: in.VpcConfig, layers: in.Layers,
		deadLetters: in.DeadLetterConfig, fileSystems: in.FileSystemConfigs, image: in.ImageConfig, key: in.KMSKeyArn,
		capacity: in.CapacityProviderConfig, durable: in.DurableConfig,
	}
	var c check
	c.name(in.FunctionName)
	c.settings(s)
	if err := c.err(); err != nil {
		return nil, err
	}
	t, _, err := a.changing(ctx, in.FunctionName, in.RevisionId)
	if err != nil {
		return nil, err
	}
	if err := a.refuse(ctx, t.name, s); err != nil {
		return nil, err
	}
	if s.runtime != "" {
		if err := a.checkRuntime(ctx, s.runtime); err != nil {
			return nil, err
		}
	}
	if s.role != nil {
		if err := a.checkRole(ctx, s.role); err != nil {
			return nil, err
		}
	}
	f, err := a.cfg.Functions.UpdateSettings(ctx, t.account, t.name, wire.Value(in.RevisionId), func(to *function.Settings) error {
		s.apply(to)
		if to.Handler == "" {
			return errNoHandler
		}
		return nil
	})
	if errors.Is(err, errNoHandler) {
		return nil, invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if err != nil {
		return nil, apiError(err, t.arn)
	}
	return wire.Ptr(describe(f, t.qualifier != "")), nil
}

var errNoHandler = errors.New("no handler")
