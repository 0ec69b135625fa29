package lambda

import (
	"encoding/base64"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// Samples of members that are refused by their name.
var (
	refusedSettings = map[string]string{
		"CapacityProviderConfig": `{"LambdaManagedInstancesCapacityProviderConfig":{"CapacityProviderArn":"arn:aws:lambda:us-east-1:111111111111:capacity-provider:c"}}`,
		"DeadLetterConfig":       `{"TargetArn":"arn:aws:sqs:us-east-1:111111111111:q"}`,
		"DurableConfig":          `{"ExecutionTimeout":60}`,
		"FileSystemConfigs":      `[{"Arn":"arn:aws:elasticfilesystem:us-east-1:111111111111:access-point/fsap-12345678901234567","LocalMountPath":"/mnt/a"}]`,
		"ImageConfig":            `{"WorkingDirectory":"/"}`,
		"KMSKeyArn":              `"arn:aws:kms:us-east-1:111111111111:key/1"`,
		"Layers":                 `["arn:aws:lambda:us-east-1:222222222222:layer:l:1"]`,
		"LoggingConfig":          `{"ApplicationLogLevel":"INFO","LogFormat":"Text"}`,
		"SnapStart":              `{"ApplyOn":"PublishedVersions"}`,
		"TracingConfig":          `{"Mode":"Active"}`,
		"VpcConfig":              `{"SubnetIds":["subnet-1"],"SecurityGroupIds":["sg-1"]}`,
	}
	refusedCreation = map[string]string{
		"CodeSigningConfigArn": `"arn:aws:lambda:us-east-1:111111111111:code-signing-config:csc-12345678901234567"`,
		"PackageType":          `"Image"`,
		"Publish":              `true`,
		"PublishTo":            `"LATEST_PUBLISHED"`,
		"TenancyConfig":        `{"TenantIsolationMode":"PER_TENANT"}`,
	}
	refusedCode = map[string]string{
		"S3Bucket": `"bucket"`, "S3Key": `"key"`, "S3ObjectVersion": `"1"`, "S3ObjectStorageMode": `"COPY"`,
		"SourceKMSKeyArn": `"arn:aws:kms:us-east-1:111111111111:key/1"`,
		"ImageUri":        `"111111111111.dkr.ecr.us-east-1.amazonaws.com/i:latest"`,
	}
	refusedUpdate = map[string]string{"Publish": `true`, "PublishTo": `"LATEST_PUBLISHED"`}
	refusedInvoke = []string{"DurableExecutionName", "TenantId"}

	honoured        = []string{"FunctionName", "RevisionId"}
	honouredSetting = []string{"Description", "Environment", "EphemeralStorage", "Handler", "MemorySize", "Role", "Runtime", "Timeout"}
)

// TestMembers wants that every member of the requests that make, change and invoke functions is
// either honoured or refused by its name. A member that the SDK gains is neither.
func TestMembers(t *testing.T) {
	for _, c := range []struct {
		in    any
		known [][]string
	}{
		{sdk.CreateFunctionInput{}, [][]string{honoured, honouredSetting, {"Architectures", "Code", "Tags"}, keys(refusedSettings), keys(refusedCreation)}},
		{types.FunctionCode{}, [][]string{{"ZipFile"}, keys(refusedCode)}},
		{sdk.UpdateFunctionConfigurationInput{}, [][]string{honoured, honouredSetting, keys(refusedSettings)}},
		{sdk.UpdateFunctionCodeInput{}, [][]string{honoured, {"Architectures", "DryRun", "ZipFile"}, keys(refusedCode), keys(refusedUpdate)}},
		{sdk.InvokeInput{}, [][]string{honoured, {"ClientContext", "InvocationType", "LogType", "Payload", "Qualifier"}, refusedInvoke}},
		{types.EphemeralStorage{}, [][]string{{"Size"}}},
		{types.Environment{}, [][]string{{"Variables"}}},
		{types.LoggingConfig{}, [][]string{{"LogFormat", "LogGroup", "ApplicationLogLevel", "SystemLogLevel"}}},
		{types.VpcConfig{}, [][]string{{"SubnetIds", "SecurityGroupIds", "Ipv6AllowedForDualStack"}}},
		{types.SnapStart{}, [][]string{{"ApplyOn"}}},
		{types.TracingConfig{}, [][]string{{"Mode"}}},
		{types.DeadLetterConfig{}, [][]string{{"TargetArn"}}},
		{types.ImageConfig{}, [][]string{{"Command", "EntryPoint", "WorkingDirectory"}}},
	} {
		typ := reflect.TypeOf(c.in)
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.IsExported() && !slices.Contains(slices.Concat(c.known...), f.Name) {
				t.Errorf("%s.%s is neither honoured nor refused", typ.Name(), f.Name)
			}
		}
	}
}

func keys(m map[string]string) []string {
	var k []string
	for name := range m {
		k = append(k, name)
	}
	return k
}

// TestRefusedMembers wants that each of them is refused, by every operation that takes it, by
// its name, and that nothing changes.
func TestRefusedMembers(t *testing.T) {
	r := newRegion(t)
	r.create("f")
	before := r.do("GET", functions+"/f/configuration", "").body
	zip := base64.StdEncoding.EncodeToString(makeZip(t, "other"))
	refuse := func(method, path, body, member string) {
		t.Helper()
		if strings.HasPrefix(member, "S3") && member != "S3ObjectStorageMode" {
			member = "S3Bucket" // where a package is, by all of its members
		}
		a := r.do(method, path, body)
		if a.status != http.StatusBadRequest || a.code() != "InvalidParameterValueException" || !strings.Contains(a.message(), member) {
			t.Errorf("%s %s %.200s: %d %s", method, path, body, a.status, a.body)
		}
	}
	create := func(member, value string) string {
		return strings.TrimSuffix(creation(t, "new", map[string]any{member: nil}), "}") + `,"` + member + `":` + value + `}`
	}
	for m, v := range refusedSettings {
		refuse("POST", functions, create(m, v), m)
		refuse("PUT", functions+"/f/configuration", `{"`+m+`":`+v+`}`, m)
	}
	for m, v := range refusedCreation {
		refuse("POST", functions, create(m, v), m)
	}
	for m, v := range refusedCode {
		refuse("POST", functions, create("Code", `{"ZipFile":"`+zip+`","`+m+`":`+v+`}`), m)
		refuse("PUT", functions+"/f/code", `{"ZipFile":"`+zip+`","`+m+`":`+v+`}`, m)
	}
	for m, v := range refusedUpdate {
		refuse("PUT", functions+"/f/code", `{"ZipFile":"`+zip+`","`+m+`":`+v+`}`, m)
	}
	if after := r.do("GET", functions+"/f/configuration", "").body; after != before {
		t.Errorf("changed from %s to %s", before, after)
	}
	if a := r.do("GET", functions+"/new", ""); a.status != http.StatusNotFound {
		t.Errorf("created: %s", a.body)
	}
}

// TestEnvironmentSize wants that an environment is measured as it is written, to the byte.
func TestEnvironmentSize(t *testing.T) {
	const around = len(`{"K1":""}`)
	for _, c := range []struct {
		value string
		fits  bool
	}{
		{strings.Repeat("&", maxVariables-around), true},
		{strings.Repeat("&", maxVariables-around+1), false},
		{strings.Repeat("\"", (maxVariables-around)/2), true}, // escaped
		{strings.Repeat("\"", (maxVariables-around)/2+1), false},
		{strings.Repeat("é", (maxVariables-around)/2), true}, // two bytes
		{strings.Repeat("é", (maxVariables-around)/2+1), false},
	} {
		if err := checkEnvironment(map[string]string{"K1": c.value}); (err == nil) != c.fits {
			t.Errorf("%d bytes of %.2q: %.200v", len(c.value), c.value, err)
		}
	}
	if err := checkEnvironment(nil); err != nil {
		t.Error(err)
	}
}
