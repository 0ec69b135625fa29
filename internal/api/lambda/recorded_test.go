package lambda

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
)

// A recording is an error that AWS answered, with its ids taken out.
type recording struct {
	code    string
	status  int
	members []string
	message string
	pattern *regexp.Regexp
}

func (r recording) key() string { return r.code + "\t" + r.message }

// placeholder is an id that was taken out of a message.
var placeholder = regexp.MustCompile(`<[a-z][a-z_-]*(_\d)?(:\d)?>`)

// readRecordings reads testdata/aws-recorded-errors.tsv.
func readRecordings(t *testing.T) []recording {
	t.Helper()
	var all []recording
	for i, f := range readTSV(t, "testdata/aws-recorded-errors.tsv", 5) {
		if i == 0 {
			continue // the head
		}
		status, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		r := recording{code: f[0], status: status, message: f[4], members: []string{"message"}}
		if f[3] != "" {
			r.members = strings.Split(f[3], ",")
		}
		slices.Sort(r.members)
		r.pattern = patternOf(f[4])
		all = append(all, r)
	}
	return all
}

// patternOf is what matches a message with any ids.
func patternOf(message string) *regexp.Regexp {
	message = strings.ReplaceAll(message, `\n`, "\n")
	var b strings.Builder
	b.WriteString("^")
	rest := message
	for {
		at := placeholder.FindStringIndex(rest)
		if at == nil {
			break
		}
		b.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		switch rest[at[0]:at[1]] {
		case "<partition>":
			b.WriteString("aws")
		case "<region>":
			b.WriteString(testRegion)
		case "<code-sha256:1>":
			b.WriteString("[A-Za-z0-9+/=]+")
		case "<csc_arn_invalid>":
			b.WriteString("arn:aws:lambda:[a-z0-9:-]+")
		default:
			b.WriteString("[A-Za-z0-9_-]+")
		}
		rest = rest[at[1]:]
	}
	b.WriteString(regexp.QuoteMeta(rest) + "$")
	return regexp.MustCompile(b.String())
}

func readTSV(t *testing.T, name string, fields int) (lines [][]string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if strings.HasPrefix(s.Text(), "#") || s.Text() == "" {
			continue
		}
		l := strings.SplitN(s.Text(), "\t", fields)
		if len(l) != fields {
			t.Fatalf("%s: %d fields in %q", name, len(l), s.Text())
		}
		lines = append(lines, l)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// matches reports whether an answer is the recorded one.
func (r recording) matches(a reply) bool {
	members := slices.Sorted(maps.Keys(a.members()))
	return a.code() == r.code && a.status == r.status && slices.Equal(members, r.members) && r.pattern.MatchString(a.message())
}

// An exception is a recording that is not reproduced, and why.
type exception struct{ operation, reason string }

const notServed = "not served"

// readExceptions reads testdata/recorded-exceptions.txt: operation, reason, code, message.
func readExceptions(t *testing.T) map[string]exception {
	t.Helper()
	all := map[string]exception{}
	for _, f := range readTSV(t, "testdata/recorded-exceptions.txt", 4) {
		all[f[2]+"\t"+f[3]] = exception{f[0], f[1]}
	}
	return all
}

// TestRecorded makes the requests that AWS answered with errors and wants the same answers, but
// for the ids in them. What is not reproduced stands in testdata/recorded-exceptions.txt.
func TestRecorded(t *testing.T) {
	recordings, exceptions := readRecordings(t), readExceptions(t)
	reproduced := make(map[string]bool)
	for name, answers := range provoke(t) {
		for i, a := range answers {
			found := false
			for _, r := range recordings {
				if r.matches(a) {
					found, reproduced[r.key()] = true, true
				}
			}
			if !found {
				t.Errorf("%s %d: AWS was not recorded to answer %d %s %.1000s", name, i, a.status, a.code(), a.body)
			}
		}
	}
	known, served, excepted := map[string]bool{}, 0, 0
	for _, r := range recordings {
		known[r.key()] = true
		e, listed := exceptions[r.key()]
		switch {
		case listed && reproduced[r.key()]:
			t.Errorf("listed as not reproduced, but it is: %.300s", r.key())
		case !listed && !reproduced[r.key()]:
			t.Errorf("neither reproduced nor listed: %.300s", r.key())
		case listed && e.reason != notServed:
			served, excepted = served+1, excepted+1
		case !listed:
			served++
		}
	}
	checkExceptions(t, exceptions, known)
	t.Logf("%d recordings of served operations, %d of them not reproduced", served, excepted)
	if excepted*10 > served {
		t.Errorf("%d of %d recordings of served operations are not reproduced: more than a tenth", excepted, served)
	}
}

// checkExceptions wants exceptions of recordings that exist, and only the operations that are not
// served to say so.
func checkExceptions(t *testing.T, exceptions map[string]exception, known map[string]bool) {
	t.Helper()
	served := map[string]bool{}
	for _, o := range New(Config{}).Service().Operations {
		served[o.Name()] = true
	}
	for k, e := range exceptions {
		if !known[k] {
			t.Errorf("exception for what was not recorded: %.300s", k)
		}
		if e.operation != "unknown" && served[e.operation] == (e.reason == notServed) {
			t.Errorf("%s: served is %v, the exception says %q", e.operation, served[e.operation], e.reason)
		}
	}
}

// provoke makes the requests.
func provoke(t *testing.T) map[string][]reply {
	r := newRegion(t)
	r.create("f")
	return map[string][]reply{
		"names":         provokeNames(r),
		"create":        provokeCreate(t, r),
		"settings":      provokeSettings(t, r),
		"update":        provokeUpdate(t, r),
		"invoke":        provokeInvoke(r),
		"tags":          provokeTags(r),
		"configuration": provokeConfigurations(r),
	}
}

func provokeNames(r *region) (a []reply) {
	get := func(path string) { a = append(a, r.do("GET", functions+"/"+path, "")) }
	for _, path := range []string{
		"doesnotexist", "doesnotexist?Qualifier=$LATEST", "doesnotexist?Qualifier=1", "some-function:$LATEST",
		"f?Qualifier=10", "f?Qualifier=42", "f:1221", "f-unknown:1", "f?Qualifier=aliasdoesnotexist", "f?Qualifier=non-existent-alias",
		"f?Qualifier=valid-with-$-but-doesnotexist", "f?Qualifier=invalid-qualifier-with-%3F-char", "f:1?Qualifier=2",
		"arn:aws:lambda:ap-southeast-1:111111111111:function:f", "arn:aws:lambda:eu-west-1:111111111111:function:f",
		"arn:aws:lambda:us-east-1:123400000000@function:myfn",
	} {
		get(path)
	}
	a = append(a,
		r.do("GET", functions+"?FunctionVersion=invalid", ""),
		r.do("DELETE", functions+"/f?Qualifier=$LATEST", ""),
		r.do("GET", "/2018-10-31/layers?CompatibleRuntime=runtimedoesnotexist", ""),
		r.do("GET", "/2018-10-31/layers?CompatibleArchitecture=archdoesnotexist", ""))
	return a
}

func provokeCreate(t *testing.T, r *region) (a []reply) {
	with := func(member string, v any) {
		a = append(a, r.do("POST", functions, creation(t, "new", map[string]any{member: v})))
	}
	with("FunctionName", strings.Repeat("a", 65))
	with("FunctionName", testARN+strings.Repeat("a", 141-len(testARN)))
	with("FunctionName", "invalid:function:name")
	with("Role", "r1")
	with("Architectures", []string{"X86_64"})
	with("Architectures", []string{"x86_64", "arm64"})
	for _, id := range []string{"PYTHON3.9", "non-existent-runtime", "dotnetcore3.1", "go1.x", "java8", "nodejs12.x", "nodejs14.x", "provided", "python3.7", "ruby2.7"} {
		with("Runtime", id)
	}
	zip := func(b []byte) map[string]any { return map[string]any{"ZipFile": base64.StdEncoding.EncodeToString(b)} }
	with("Code", zip([]byte("this is no zip")))
	with("Code", zip(makeZip(t, strings.Repeat("\x00", 262144000))))
	with("Code", zip(make([]byte, 52428800)))
	a = append(a, r.do("POST", functions, strings.Repeat(" ", maxCode+1)))
	return a
}

func provokeSettings(t *testing.T, r *region) (a []reply) {
	with := func(member string, v any) {
		a = append(a, r.do("POST", functions, creation(t, "new", map[string]any{member: v})))
	}
	variables := func(m map[string]any) { with("Environment", map[string]any{"Variables": m}) }
	variables(map[string]any{"LARGE_VAR": strings.Repeat("x", 4081)})
	with("SnapStart", map[string]any{"ApplyOn": "invalidOption"})
	with("VpcConfig", map[string]any{"SecurityGroupIds": []string{"bad_group"}})
	with("VpcConfig", map[string]any{"SubnetIds": []string{"bad_subnet"}})
	layer := func(region, name, version string) string {
		return strings.TrimSuffix("arn:aws:lambda:"+region+":111111111111:layer:"+name+":"+version, ":")
	}
	with("Layers", []string{layer(testRegion, "l", "")})
	with("Layers", []string{layer(testRegion, "l", "9")})
	with("Layers", []string{layer(testRegion, "doesnotexist", "1")})
	with("Layers", []string{layer("eu-west-1", "l", "1")})
	with("Layers", []string{layer(testRegion, "l", "1"), layer(testRegion, "l", "1")})
	with("Layers", []string{layer(testRegion, "l", "1"), layer(testRegion, "l", "2")})
	var six []string
	for i := range 6 {
		six = append(six, layer(testRegion, fmt.Sprint("l", i), "1"))
	}
	with("Layers", six)
	return a
}

func provokeUpdate(t *testing.T, r *region) (a []reply) {
	zip := base64.StdEncoding.EncodeToString(makeZip(t, "changed"))
	a = append(a,
		r.do("PUT", functions+"/f/code", `{"ImageUri":"image"}`),
		r.do("PUT", functions+"/f/code", `{"ZipFile":"`+zip+`","RevisionId":"`+strings.Repeat("0", 36)+`"}`),
		r.do("PUT", functions+"/f/configuration", `{"RevisionId":"other"}`),
		r.do("PUT", functions+"/doesnotexist/configuration", `{}`))
	release := r.hold()
	if u := r.do("PUT", functions+"/f/configuration", `{"Timeout":7}`); u.status != 200 {
		t.Fatalf("%d %s", u.status, u.body)
	}
	a = append(a, r.do("PUT", functions+"/f/configuration", `{"Timeout":8}`))
	release()
	r.ready("f")
	return a
}

func provokeInvoke(r *region) (a []reply) {
	run := func(payload string) { a = append(a, r.do("POST", functions+"/f/invocations", payload)) }
	run("\"a\x87\"")
	run("\x99")
	r.invoke = func(function.Invocation) (function.Result, error) {
		return function.Result{}, &invoke.ThrottledError{Reason: "ConcurrentInvocationLimitExceeded", RetryAfter: time.Second}
	}
	run("{}")
	r.invoke = nil
	return append(a, r.do("POST", functions+"/doesnotexist/invocations", "{}"))
}

func provokeTags(r *region) (a []reply) {
	const arn = "arn:aws:lambda:us-east-1:111111111111:"
	list := func(resource string) { a = append(a, r.do("GET", "/2017-03-31/tags/"+resource, "")) }
	list(testARN + "doesnotexist")
	list(testARN + "f:$LATEST")
	list(arn + "event-source-mapping:00000000-0000-0000-0000-000000000000")
	list(arn + "capacity-provider:p")
	list(arn + "capacity-provider:p:alias")
	list(arn + "event-source-mapping:m:alias")
	list(arn + "foobar:r")
	list("arn:aws:something")
	list(arn + "code-signing-config:csc-12345678901234567")
	var tags []string
	for i := range 51 {
		tags = append(tags, fmt.Sprintf(`"t%d":""`, i))
	}
	return append(a,
		r.do("POST", "/2017-03-31/tags/"+testARN+"f", `{"Tags":{`+strings.Join(tags, ",")+`}}`),
		r.do("DELETE", "/2017-03-31/tags/"+testARN+"f", ""))
}

func provokeConfigurations(r *region) (a []reply) {
	for _, path := range []string{
		"/2015-03-31/functions/f/policy",
		"/2020-06-30/functions/csc-test-doesnotexist/code-signing-config",
		"/2019-09-30/functions/f:1/concurrency",
		"/2019-09-30/functions/f/provisioned-concurrency?Qualifier=$LATEST",
		"/2019-09-30/functions/f/provisioned-concurrency?Qualifier=non-existent",
		"/2019-09-30/functions/f/provisioned-concurrency?Qualifier=doesnotexist",
		"/2019-09-30/functions/f/provisioned-concurrency?Qualifier=noalias",
		"/2019-09-30/functions/f/provisioned-concurrency?Qualifier=alias-doesnotexist",
		"/2019-09-30/functions/doesnotexist/provisioned-concurrency?Qualifier=noalias",
		"/2019-09-30/functions/doesnotexist/provisioned-concurrency?Qualifier=1",
		"/2019-09-25/functions/doesnotexist/event-invoke-config/list",
		"/2019-09-25/functions/f/event-invoke-config?Qualifier=1221",
		"/2019-09-25/functions/f/event-invoke-config",
		"/2019-09-25/functions/f/event-invoke-config?Qualifier=1",
		"/2019-09-25/functions/f/event-invoke-config?Qualifier=doesnotexist",
		"/2019-09-25/functions/f/event-invoke-config?Qualifier=eventinvokealias",
		"/2019-09-25/functions/doesnotexist/event-invoke-config",
		"/2021-10-31/functions/f/url",
		"/2021-10-31/functions/f/url?Qualifier=$LATEST",
		"/2021-10-31/functions/f/url?Qualifier=1",
		"/2021-10-31/functions/f/url?Qualifier=2",
		"/2021-10-31/functions/doesnotexist/urls",
	} {
		a = append(a, r.do("GET", path, ""))
	}
	return append(a, r.do("PUT", "/2024-08-31/functions/f/recursion-config", `{"RecursiveLoop":"InvalidValue"}`))
}
