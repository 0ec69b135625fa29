package lambda

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

// settings are the members that CreateFunction and UpdateFunctionConfiguration share. Nil is a
// member that the request lacks.
type settings struct {
	description, handler, role *string
	runtime                    types.Runtime
	timeout, memory            *int32
	environment                *types.Environment
	storage                    *types.EphemeralStorage
	tracing                    *types.TracingConfig
	logging                    *types.LoggingConfig
	snapStart                  *types.SnapStart
	vpc                        *types.VpcConfig
	layers                     []string
	deadLetters                *types.DeadLetterConfig
	fileSystems                []types.FileSystemConfig
	image                      *types.ImageConfig
	key                        *string
	capacity                   *types.CapacityProviderConfig
	durable                    *types.DurableConfig
}

// Patterns of the members, as AWS's errors have them.
const (
	rolePattern    = `arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`
	handlerPattern = `[^\s]+`
	groupPattern   = `sg-[0-9a-zA-Z]*`
	subnetPattern  = `subnet-[0-9a-z]*`
	layerPattern   = `(arn:(aws[a-zA-Z-]*)?:lambda:` + regionPattern + `:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)`
	keyPattern     = `(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()`
)

var (
	wholeRole     = whole(rolePattern)
	wholeHandler  = whole(handlerPattern)
	wholeGroup    = whole(groupPattern)
	wholeSubnet   = whole(subnetPattern)
	wholeLayer    = whole(layerPattern)
	wholeKey      = whole(keyPattern)
	wholeVariable = whole(`[a-zA-Z]([a-zA-Z0-9_])+`)
)

// settings checks the constraints of the model.
func (c *check) settings(s settings) {
	c.pattern("role", s.role, wholeRole, rolePattern)
	c.length("description", s.description, 0, 256)
	if c.length("handler", s.handler, 0, 128) {
		c.pattern("handler", s.handler, wholeHandler, handlerPattern)
	}
	c.between("timeout", s.timeout, 1, 5400)
	c.between("memorySize", s.memory, 128, 32768)
	if s.storage != nil && c.required("ephemeralStorage.size", s.storage.Size != nil) {
		c.between("ephemeralStorage.size", s.storage.Size, 512, 10240)
	}
	if s.environment != nil {
		c.variables(s.environment.Variables)
	}
	if s.tracing != nil {
		enum(c, "tracingConfig.mode", s.tracing.Mode, types.TracingModeActive, types.TracingModePassThrough)
	}
	if s.snapStart != nil {
		enum(c, "snapStart.applyOn", s.snapStart.ApplyOn, types.SnapStartApplyOnPublishedVersions, types.SnapStartApplyOnNone)
	}
	if s.logging != nil {
		enum(c, "loggingConfig.logFormat", s.logging.LogFormat, types.LogFormatJson, types.LogFormatText)
	}
	if s.vpc != nil {
		const size = "Member must have length less than or equal to 1024, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: "
		each(c, "vpcConfig.securityGroupIds", s.vpc.SecurityGroupIds, wholeGroup.MatchString, size+groupPattern)
		each(c, "vpcConfig.subnetIds", s.vpc.SubnetIds, wholeSubnet.MatchString, size+subnetPattern)
	}
	each(c, "layers", s.layers, wholeLayer.MatchString, "Member must have length less than or equal to 2048, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: "+layerPattern+", Member must not be null")
	c.pattern("kMSKeyArn", s.key, wholeKey, keyPattern)
}

// variables wants names that an environment can have.
func (c *check) variables(v map[string]string) {
	for _, k := range sortedKeys(v) {
		if !wholeVariable.MatchString(k) {
			// AWS: values are secrets, so they are not shown.
			c.fail("environment.variables", "'[REDACTED]'", "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]")
			return
		}
	}
}

// refuse refuses what is not honoured, and what AWS refuses beyond its model. name is the
// function's.
func (a *API) refuse(ctx context.Context, name string, s settings) error {
	if err := a.refuseLayers(ctx, s.layers); err != nil {
		return err
	}
	for _, m := range []struct {
		given bool
		name  string
	}{
		{s.vpc != nil && (len(s.vpc.SubnetIds) > 0 || len(s.vpc.SecurityGroupIds) > 0 || wire.Value(s.vpc.Ipv6AllowedForDualStack)), "VpcConfig"},
		{s.deadLetters != nil && wire.Value(s.deadLetters.TargetArn) != "", "DeadLetterConfig"},
		{len(s.fileSystems) > 0, "FileSystemConfigs"},
		{s.image != nil && (s.image.WorkingDirectory != nil || len(s.image.Command) > 0 || len(s.image.EntryPoint) > 0), "ImageConfig"},
		{wire.Value(s.key) != "", "KMSKeyArn"},
		{s.capacity != nil, "CapacityProviderConfig"},
		{s.durable != nil, "DurableConfig"},
		{s.snapStart != nil && s.snapStart.ApplyOn == types.SnapStartApplyOnPublishedVersions, "SnapStart with ApplyOn PublishedVersions"},
		{s.tracing != nil && s.tracing.Mode == types.TracingModeActive, "TracingConfig with Mode Active"},
		{s.logging != nil && s.logging.LogFormat == types.LogFormatJson, "LoggingConfig with LogFormat JSON"},
		{s.logging != nil && (s.logging.ApplicationLogLevel != "" || s.logging.SystemLogLevel != ""), "LoggingConfig with log levels"},
		{s.logging != nil && s.logging.LogGroup != nil && *s.logging.LogGroup != "/aws/lambda/"+name, "LoggingConfig with a LogGroup other than the function's own"},
	} {
		if m.given {
			return unsupported(m.name)
		}
	}
	// AWS: the model allows what only functions on capacity providers can have.
	if m := wire.Value(s.memory); m > 10240 {
		return invalid("'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240")
	}
	if t := wire.Value(s.timeout); t > 900 {
		return invalid("1 validation error detected: Value '%d' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900", t)
	}
	if s.environment != nil {
		return checkEnvironment(s.environment.Variables)
	}
	return nil
}

// refuseLayers refuses layers in AWS's words where it has some: no layer exists here.
func (a *API) refuseLayers(ctx context.Context, layers []string) error {
	if len(layers) > 5 {
		return invalid("Cannot reference more than 5 layers.")
	}
	seen := map[string]string{}
	for _, l := range layers {
		without := l[:strings.LastIndexByte(l, ':')]
		if other, twice := seen[without]; twice {
			return invalid("Two different versions of the same layer are not allowed to be referenced in the same function. %s and %s are versions of the same layer.", other, l)
		}
		seen[without] = l
	}
	for _, l := range layers {
		switch p := strings.Split(l, ":"); {
		case p[3] != "" && p[3] != a.cfg.Region:
			return invalid("Layers are not in the same region as the function. Layers are expected to be in region %s.", a.cfg.Region)
		case p[4] == account(ctx):
			return invalid("Layer version %s does not exist.", l)
		default:
			return unsupported("Layers")
		}
	}
	return nil
}

const maxVariables = 4096 // bytes of the JSON of an environment

// reserved are the names of variables that the environment sets itself.
var reserved = []string{
	"AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
	"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
	"AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_LEVEL",
	"AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION",
	"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "_HANDLER", "_X_AMZN_TRACE_ID",
}

// checkEnvironment refuses variables that a function cannot have.
func checkEnvironment(v map[string]string) error {
	var used []string
	for _, k := range sortedKeys(v) {
		if slices.Contains(reserved, k) {
			used = append(used, k)
		}
	}
	if len(used) > 0 {
		return invalid("Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(used, ", "))
	}
	for _, k := range sortedKeys(v) {
		// No process can have one. AWS's own wording was not recorded.
		if strings.ContainsRune(v[k], 0) {
			return invalid("Lambda was unable to configure your environment variables because the value of the environment variable %s contains a null character.", k)
		}
	}
	if text := measured(v); len(text) > maxVariables {
		return invalid("Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: %s", text)
	}
	return nil
}

// apply puts what the request has on a function's settings.
func (s settings) apply(to *function.Settings) {
	set(&to.Description, s.description)
	set(&to.Handler, s.handler)
	set(&to.Role, s.role)
	if s.runtime != "" {
		to.Runtime = string(s.runtime)
	}
	if s.timeout != nil {
		to.Timeout = int(*s.timeout)
	}
	if s.memory != nil {
		to.Memory = int(*s.memory)
	}
	if s.storage != nil {
		to.EphemeralStorage = int(*s.storage.Size)
	}
	if s.environment != nil {
		to.Environment = s.environment.Variables
	}
}

func set(to, from *string) {
	if from != nil {
		*to = *from
	}
}
