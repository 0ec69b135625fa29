package runtime

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Function is what the environment of a function is made of.
type Function struct {
	Name, Version, Handler, Region string
	MemoryMB                       int
	LogGroup, LogStream            string
	AccessKeyID, Secret, Token     string            // the execution role's session
	User                           map[string]string // the function's own variables
	Image                          []string          // KEY=VALUE, of the image's configuration
}

// TelemetryFD is the descriptor of the framed log pipe inside the sandbox.
const TelemetryFD = 3

// Addresses that are the same in every sandbox.
const (
	apiAddress  = "169.254.100.1:9001"
	xrayAddress = "169.254.100.1"
	endpoint    = "http://169.254.100.1:4566"
)

// Environment gives the variables of a runtime's process as KEY=VALUE, sorted: AWS's own set for
// the family, the function's variables, and AWS_ENDPOINT_URL, which points SDKs to this region.
// A function's variable wins where AWS lets it (PATH, LANG, TZ and the like). What only the
// image's configuration sets stays, under all others.
func (r Runtime) Environment(f Function) []string {
	env := map[string]string{}
	for _, kv := range f.Image {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" {
			env[k] = v
		}
	}
	maps.Copy(env, map[string]string{
		"AWS_LAMBDA_FUNCTION_NAME":        f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     f.Version,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_LOG_GROUP_NAME":       f.LogGroup,
		"AWS_LAMBDA_LOG_STREAM_NAME":      f.LogStream,
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_RUNTIME_API":          apiAddress,
		"AWS_REGION":                      f.Region,
		"AWS_DEFAULT_REGION":              f.Region,
		"AWS_ACCESS_KEY_ID":               f.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":           f.Secret,
		"AWS_SESSION_TOKEN":               f.Token,
		"AWS_XRAY_CONTEXT_MISSING":        "LOG_ERROR",
		"AWS_XRAY_DAEMON_ADDRESS":         xrayAddress + ":2000",
		"_AWS_XRAY_DAEMON_ADDRESS":        xrayAddress,
		"_AWS_XRAY_DAEMON_PORT":           "2000",
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"LAMBDA_TASK_ROOT":                "/var/task",
		"LANG":                            "en_US.UTF-8",
		"LD_LIBRARY_PATH":                 "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
		"PATH":                            "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"PWD":                             "/var/task",
		"SHLVL":                           "0",
		"TZ":                              ":UTC",
		"_HANDLER":                        f.Handler,
	})
	r.familyEnvironment(env)
	env["AWS_ENDPOINT_URL"] = endpoint
	maps.Copy(env, f.User)
	out := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}

func (r Runtime) familyEnvironment(env map[string]string) {
	if r.Family != Provided {
		// AWS: provided runtimes have neither.
		env["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + r.ID
		env["_LAMBDA_TELEMETRY_LOG_FD"] = strconv.Itoa(TelemetryFD)
	}
	switch r.Family {
	case Python:
		env["PYTHONPATH"] = "/var/runtime"
		env["LC_CTYPE"] = "C.UTF-8"
	case Node:
		major, _, _ := strings.Cut(strings.TrimPrefix(r.ID, "nodejs"), ".")
		env["NODE_PATH"] = "/opt/nodejs/node" + major + "/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task"
		env["NODE_EXTRA_CA_CERTS"] = "/var/runtime/ca-cert.pem"
	case Provided:
		env["LD_LIBRARY_PATH"] = "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
		env["PATH"] = "/usr/local/bin:/usr/bin/:/bin:/opt/bin"
	}
}
