package runtime

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// load is the table with rows of an operator's.
func load(t *testing.T, extra string) *Table {
	t.Helper()
	table, err := Load([]byte(extra))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestLookup(t *testing.T) {
	table := load(t, "")
	r, err := table.Lookup("python3.13")
	if err != nil || r.Family != Python || r.Images[0] != "oci:python3.13" {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := table.Lookup("cobol85"); !errors.Is(err, ErrUnknown) {
		t.Errorf("cobol85: %v", err)
	}
}

func TestOperatorsRows(t *testing.T) {
	table := load(t, `[{"id":"python3.13","family":"python","images":["registry.test/python:mine"]},{"id":"perl5","family":"provided","images":["oci:perl"]}]`)
	if r, err := table.Lookup("python3.13"); err != nil || !slices.Equal(r.Images, []string{"registry.test/python:mine"}) {
		t.Errorf("a row is replaced: %+v, %v", r, err)
	}
	if r, err := table.Lookup("perl5"); err != nil || r.Family != Provided {
		t.Errorf("a row is added: %+v, %v", r, err)
	}
	if got, want := len(table.All()), len(load(t, "").All())+1; got != want {
		t.Errorf("%d rows, want %d: the others stay", got, want)
	}
	for extra, want := range map[string]string{
		`{}`:                            "cannot unmarshal",
		`[{"id":"x","image":"y"}]`:      `unknown field "image"`,
		`[{"family":"node"}]`:           "row 1 has no id",
		`[{"id":"x","family":"cobol"}]`: `x: family "cobol" is none of node, python, provided`,
		`[{"id":"x","family":"node"}]`:  "x: images must name at least one image",
		`[{"id":"x","family":"node","images":["a"]},{"id":"x","family":"node","images":["b"]}]`: "x is there twice",
	} {
		if _, err := Load([]byte(extra)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", extra, err, want)
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
		{"nodejs22.x", Start{Reference: "oci:nodejs22.x", MemoryMB: 1000}, "/var/lang/bin/node --max-http-header-size 81920 --max-semi-space-size=50 --max-old-space-size=900 /var/runtime/bootstrap.js"},
		{"provided.al2023", Start{Reference: "oci:provided.al2023", Handler: "x"}, "/var/runtime/bootstrap"},
		{"python3.13", Start{Reference: "public.ecr.aws/lambda/python:3.13", Entrypoint: []string{"/lambda-entrypoint.sh"}, Handler: "a.b"}, "/lambda-entrypoint.sh a.b"},
	} {
		r, err := load(t, "").Lookup(c.id)
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
	r, err := load(t, "").Lookup("python3.14")
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

func TestImageVariables(t *testing.T) {
	r, err := load(t, "").Lookup("python3.13")
	if err != nil {
		t.Fatal(err)
	}
	got := r.Environment(Function{
		Name: "f", Image: []string{"ONLY=image", "COLOUR=blue", "LAMBDA_TASK_ROOT=/elsewhere", "PATH=/image", "broken"},
		User: map[string]string{"COLOUR": "red"},
	})
	for _, want := range []string{"ONLY=image", "COLOUR=red", "LAMBDA_TASK_ROOT=/var/task", "PATH=/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	if slices.Contains(got, "broken") {
		t.Error("what is no KEY=VALUE went into the environment")
	}
}
