package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/code"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

// AWS's defaults.
const (
	defaultTimeout = 3   // seconds
	defaultMemory  = 128 // MB
	defaultStorage = 512 // MB
)

// CreateFunction makes a function, which is Pending until its code and its runtime are at hand.
func (a *API) CreateFunction(ctx context.Context, in *sdk.CreateFunctionInput) (*configuration, error) {
	s := settings{
		description: in.Description, handler: in.Handler, role: in.Role, runtime: in.Runtime,
		timeout: in.Timeout, memory: in.MemorySize, environment: in.Environment, storage: in.EphemeralStorage,
		tracing: in.TracingConfig, logging: in.LoggingConfig, snapStart: in.SnapStart, vpc: in.VpcConfig, layers: in.Layers,
		deadLetters: in.DeadLetterConfig, fileSystems: in.FileSystemConfigs, image: in.ImageConfig, key: in.KMSKeyArn,
		capacity: in.CapacityProviderConfig, durable: in.DurableConfig,
	}
	if err := checkCreate(in, s); err != nil {
		return nil, err
	}
	t, err := a.target(ctx, *in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if len(t.name) > 64 {
		return nil, invalid("1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64", t.name)
	}
	if err := a.refuseCreate(ctx, t, in, s); err != nil {
		return nil, err
	}
	f := function.Function{
		Account: t.account, Name: t.name, PackageType: string(types.PackageTypeZip), Tags: maps.Clone(in.Tags),
		Settings: function.Settings{
			Timeout: defaultTimeout, Memory: defaultMemory, EphemeralStorage: defaultStorage,
			Architecture: a.cfg.Architecture, Tracing: string(types.TracingModePassThrough),
		},
	}
	s.apply(&f.Settings)
	if f.Code, err = a.put(ctx, in.Code.ZipFile); err != nil {
		return nil, err
	}
	f, err = a.cfg.Functions.Create(ctx, f)
	if errors.Is(err, function.ErrExists) {
		return nil, exists(t)
	}
	if err != nil {
		return nil, apiError(err, t.arn)
	}
	return wire.Ptr(describe(f, false)), nil
}

func exists(t target) error { return conflict("Function already exist: %s", t.name) }

// checkCreate checks the constraints of the model.
func checkCreate(in *sdk.CreateFunctionInput, s settings) error {
	var c check
	if c.required("functionName", in.FunctionName != nil) {
		c.name(in.FunctionName)
	}
	c.required("role", in.Role != nil)
	c.required("code", in.Code != nil)
	c.architectures(in.Architectures)
	enum(&c, "packageType", in.PackageType, types.PackageTypeZip, types.PackageTypeImage)
	c.tags(in.Tags)
	c.settings(s)
	return c.err()
}

// refuseCreate refuses what is not honoured, and what AWS refuses beyond its model.
func (a *API) refuseCreate(ctx context.Context, t target, in *sdk.CreateFunctionInput, s settings) error {
	for _, m := range []struct {
		given bool
		name  string
	}{
		{in.PackageType == types.PackageTypeImage, "PackageType Image"},
		{in.Code.ImageUri != nil, "Code.ImageUri"},
		{in.Code.S3Bucket != nil || in.Code.S3Key != nil || in.Code.S3ObjectVersion != nil, "Code.S3Bucket"},
		{in.Code.S3ObjectStorageMode != "", "Code.S3ObjectStorageMode"},
		{in.Code.SourceKMSKeyArn != nil, "Code.SourceKMSKeyArn"},
		{in.CodeSigningConfigArn != nil, "CodeSigningConfigArn"},
		{in.Publish, "Publish"},
		{in.PublishTo != "", "PublishTo"},
		{in.TenancyConfig != nil, "TenancyConfig"},
	} {
		if m.given {
			return unsupported(m.name)
		}
	}
	if t.qualifier != "" {
		return invalid("The function name of a new function must not have a qualifier.")
	}
	if s.runtime == "" || wire.Value(s.handler) == "" {
		return invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if err := a.refuse(ctx, t.name, s); err != nil {
		return err
	}
	if err := a.checkArchitectures(in.Architectures); err != nil {
		return err
	}
	if len(in.Tags) > function.MaxTags {
		return invalid(textTags)
	}
	if err := checkZip(in.Code.ZipFile); err != nil {
		return err
	}
	if _, err := a.cfg.Functions.Get(t.account, t.name); err == nil {
		return exists(t)
	}
	if err := a.checkRole(ctx, s.role); err != nil {
		return err
	}
	return a.checkRuntime(ctx, s.runtime)
}

// checkZip refuses a package by its size.
func checkZip(zip []byte) error {
	switch {
	case len(zip) == 0:
		return invalid("Please provide a source for function code.")
	case len(zip) >= code.MaxUpload:
		return entityTooLarge("Zipped size must be smaller than %d bytes", code.MaxUpload)
	}
	return nil
}

// put stores a package.
func (a *API) put(ctx context.Context, zip []byte) (function.Code, error) {
	p, err := a.cfg.Code.Put(ctx, zip)
	if err != nil {
		return function.Code{}, apiError(err, "")
	}
	return function.Code{Digest: p.Digest, SHA256: p.SHA256, Size: p.Size}, nil
}

// isNoRole reports whether an error says that a role does not exist.
func isNoRole(err error) bool { return errors.Is(err, iam.ErrNotFound) }

// measured is the text of an environment that AWS measures: JSON, in which no character of HTML
// is escaped.
func measured(v map[string]string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // texts only: it cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}
