package metrics

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// inherited are the metrics of others that are shown: of the Go runtime, the process, and the
// state engine, which registers its own (etcd_disk_wal_fsync_duration_seconds among them).
var inherited = []string{"go_", "process_", "etcd_disk_", "etcd_mvcc_", "etcd_server_", "etcd_debugging_mvcc_keys_total"}

// Handler serves everything in Prometheus's format to who brings the token
// (Authorization: Bearer TOKEN), and 401 to everybody else.
func (r *Recorder) Handler(token string) http.Handler {
	all := prometheus.Gatherers{r.registry, prometheus.GathererFunc(gatherInherited)}
	show := promhttp.HandlerFor(all, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		scheme, given, _ := strings.Cut(q.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(given)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 || token == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="lambent metrics"`)
			http.Error(w, "the token of STATE/metrics-token is needed: Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		show.ServeHTTP(w, q)
	})
}

// gatherInherited gathers what is worth showing of the process's own registry.
func gatherInherited() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool {
		return !slices.ContainsFunc(inherited, func(prefix string) bool { return strings.HasPrefix(f.GetName(), prefix) })
	}), err
}
