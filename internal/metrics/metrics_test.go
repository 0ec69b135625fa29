package metrics_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"lambent.dev/lambent/internal/metrics"
)

// functions are those that exist.
type functions struct {
	mu    sync.Mutex
	names map[string]bool
}

func (f *functions) exists(_, name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names[name]
}

func open(names ...string) (*metrics.Recorder, *functions) {
	f := &functions{names: map[string]bool{}}
	for _, n := range names {
		f.names[n] = true
	}
	now := time.Unix(1000, 0)
	return metrics.New(metrics.Config{Exists: f.exists, Sample: func() metrics.Sample {
		return metrics.Sample{Now: now, Busy: 3, Frozen: 2, Memory: 5 << 20, Events: 7, OldestEvent: now.Add(-90 * time.Second), DiskFree: 42, Syncs: 4, SyncsTook: 2 * time.Second, EventsDropped: 6}
	}}), f
}

func scrape(t *testing.T, r *metrics.Recorder, authorization string) (int, string) {
	t.Helper()
	q := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	if authorization != "" {
		q.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	r.Handler("sesame").ServeHTTP(w, q)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func TestCounts(t *testing.T) {
	r, _ := open("f")
	for _, i := range []metrics.Invocation{
		{Duration: 20 * time.Millisecond, Cold: true},
		{Duration: 30 * time.Millisecond, Outcome: metrics.Failed},
		{Outcome: metrics.Throttled},
		{Outcome: metrics.Faulted},
	} {
		i.Account, i.Function = "1", "f"
		r.Invocation(i)
	}
	r.Phase(metrics.PhaseInit, 70*time.Millisecond)
	_, text := scrape(t, r, "Bearer sesame")
	for _, line := range []string{
		`lambent_invocations_total{account="1",function="f"} 2`,
		`lambent_errors_total{account="1",function="f"} 1`,
		`lambent_throttles_total{account="1",function="f"} 1`,
		`lambent_faults_total{account="1",function="f"} 1`,
		`lambent_cold_starts_total{account="1",function="f"} 1`,
		`lambent_duration_seconds_total{account="1",function="f"} 0.05`,
		`lambent_invocation_duration_seconds_bucket{le="0.025"} 1`,
		`lambent_invocation_duration_seconds_count 2`,
		`lambent_cold_start_seconds_count{phase="init"} 1`,
		`lambent_cold_start_seconds_count{phase="network"} 0`,
		`lambent_environments{state="busy"} 3`,
		`lambent_environments{state="frozen"} 2`,
		`lambent_environments_memory_bytes 5.24288e+06`,
		`lambent_events 7`,
		`lambent_events_oldest_age_seconds 90`,
		`lambent_events_dropped_total 6`,
		`lambent_disk_free_bytes 42`,
		`lambent_segment_fsync_seconds_sum 2`,
		`lambent_segment_fsync_seconds_count 4`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, prefix := range []string{"go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(text, "\n"+prefix) {
			t.Errorf("nothing of %s", prefix)
		}
	}
	var ours strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "lambent_") {
			ours.WriteString(line)
		}
	}
	problems, err := promlint.New(strings.NewReader(ours.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestAccess: nobody reads metrics without the token.
func TestAccess(t *testing.T) {
	r, _ := open()
	for authorization, want := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer sesam": 401, "Bearer sesame1": 401, "Basic sesame": 401, "sesame": 401,
		"Bearer sesame": 200, "bearer sesame": 200,
	} {
		if got, text := scrape(t, r, authorization); got != want || want == 401 && strings.Contains(text, "lambent_") {
			t.Errorf("%q: %d", authorization, got)
		}
	}
	w := httptest.NewRecorder()
	q := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	q.Header.Set("Authorization", "Bearer ")
	if r.Handler("").ServeHTTP(w, q); w.Code != 401 {
		t.Errorf("without a token to compare: %d", w.Code)
	}
}

// TestBounded: labels go with their functions, even if an invocation ends after the deletion.
func TestBounded(t *testing.T) {
	r, f := open("kept", "deleted", "late")
	for _, name := range []string{"kept", "deleted", "late"} {
		r.Invocation(metrics.Invocation{Account: "1", Function: name})
	}
	f.mu.Lock()
	f.names = map[string]bool{"kept": true}
	f.mu.Unlock()
	r.Forget("1", "deleted")
	r.Forget("1", "late")
	r.Invocation(metrics.Invocation{Account: "1", Function: "late"})
	got := r.Functions()
	if len(got) != 1 || got[0].Name != "kept" {
		t.Errorf("counted are %+v", got)
	}
	if _, text := scrape(t, r, "Bearer sesame"); strings.Contains(text, `function="late"`) || !strings.Contains(text, `function="kept"`) {
		t.Error("labels do not go with their functions")
	}
}

// BenchmarkInvocation is what the warm path pays.
func BenchmarkInvocation(b *testing.B) {
	r, _ := open("f")
	i := metrics.Invocation{Account: "123456789012", Function: "f", Duration: 2 * time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		r.Invocation(i)
	}
}
