package runtime

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLookup(t *testing.T) {
	r, err := Lookup("python3.13")
	if err != nil || r.Family != Python || r.Images[0] != "oci:python3.13" {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := Lookup("cobol85"); !errors.Is(err, ErrUnknown) {
		t.Errorf("cobol85: %v", err)
	}
	for _, r := range All() {
		if len(r.Images) == 0 || !slices.Contains([]Family{Node, Python, Provided}, r.Family) {
			t.Errorf("row %+v", r)
		}
	}
}

func TestVersion(t *testing.T) {
	for id, want := range map[string]string{"nodejs22.x": "nodejs:22", "python3.13": "python:3.13", "provided.al2023": "provided:al2023"} {
		if got := (Runtime{ID: id}).Version(); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		id    string
		start Start
		want  string
	}{
		{"python3.13", Start{Reference: "oci:python3.13", Handler: "a.b", MemoryMB: 128}, "/var/lang/bin/python3.13 /var/runtime/bootstrap.py"},
		{"python3.13", Start{Reference: "oci:python3.13", Wrapped: true}, "/var/runtime/wrapper /var/lang/bin/python3.13 /var/runtime/bootstrap.py"},
		{"nodejs22.x", Start{Reference: "oci:nodejs22.x", MemoryMB: 1000}, "/var/lang/bin/node --expose-gc --max-http-header-size 81920 --max-semi-space-size=50 --max-old-space-size=900 /var/runtime/bootstrap.js"},
		{"provided.al2023", Start{Reference: "oci:provided.al2023", Handler: "x"}, "/var/runtime/bootstrap"},
		{"python3.13", Start{Reference: "public.ecr.aws/lambda/python:3.13", Entrypoint: []string{"/lambda-entrypoint.sh"}, Handler: "a.b"}, "/lambda-entrypoint.sh a.b"},
	} {
		r, err := Lookup(c.id)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.Command(c.start), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.id, got, c.want)
		}
	}
}

// TestEnvironment holds the names against the set recorded on AWS (python3.14, February 2026),
// less _X_AMZN_TRACE_ID, which the client sets for each event, plus AWS_ENDPOINT_URL and the
// telemetry descriptor, which the client removes before code runs.
func TestEnvironment(t *testing.T) {
	want := strings.Fields(`AWS_ACCESS_KEY_ID AWS_DEFAULT_REGION AWS_ENDPOINT_URL AWS_EXECUTION_ENV
		AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION
		AWS_LAMBDA_INITIALIZATION_TYPE AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME
		AWS_LAMBDA_RUNTIME_API AWS_REGION AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_XRAY_CONTEXT_MISSING
		AWS_XRAY_DAEMON_ADDRESS COLOUR LAMBDA_RUNTIME_DIR LAMBDA_TASK_ROOT LANG LC_CTYPE LD_LIBRARY_PATH PATH
		PWD PYTHONPATH SHLVL TZ _AWS_XRAY_DAEMON_ADDRESS _AWS_XRAY_DAEMON_PORT _HANDLER _LAMBDA_TELEMETRY_LOG_FD`)
	r, err := Lookup("python3.14")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, kv := range r.Environment(Function{Name: "f", User: map[string]string{"COLOUR": "red", "TZ": "Asia/Tokyo"}}) {
		k, v, _ := strings.Cut(kv, "=")
		got = append(got, k)
		if k == "TZ" && v != "Asia/Tokyo" {
			t.Errorf("TZ=%s: the function's value wins", v)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
