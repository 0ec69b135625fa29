// Package metrics counts what a region does, for Prometheus and for `lambent top`.
//
// A Recorder counts invocations as they end: a few atomic additions each, no lock, nothing made
// but a function's first time. Everything else (environments, queues, disk) is asked for when
// somebody looks, by Config.Sample.
//
// The labels account and function are bounded by the functions that exist: one is counted from
// its first invocation on, Forget ends that when it is deleted, and whatever an invocation that
// outlived its function brought back is dropped at the next look, as Config.Exists says. A
// function has counters only; the histograms are the region's.
//
// A Recorder is safe for concurrent use.
package metrics

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Phases of a cold start, in their order.
const (
	PhasePrepare = "prepare" // the image and the code, made or found
	PhaseNetwork = "network"
	PhaseSandbox = "sandbox"
	PhaseInit    = "init" // the runtime and the function's own code
)

// Config is what New needs.
type Config struct {
	// Exists says whether there is such a function.
	Exists func(account, function string) bool
	// Sample reads the state of the region's parts.
	Sample func() Sample
}

// Outcome is how an invocation ended, as its caller sees it.
type Outcome int

// The outcomes.
const (
	Succeeded Outcome = iota
	Failed            // the function's error, time-out or end
	Throttled         // refused by a limit, no code ran
	Faulted           // our fault
)

// Invocation is one that has ended.
type Invocation struct {
	Account, Function string
	Outcome           Outcome
	Duration          time.Duration // of the code, as billed but for rounding
	Cold              bool          // it waited for an initialisation
}

// Counts are a function's invocations since the start of the server.
type Counts struct {
	Invocations, Errors, Throttles, Faults, ColdStarts uint64
	Duration                                           time.Duration // of all together
}

// Function is a function's counts.
type Function struct {
	Account, Name string
	Counts
}

type key struct{ account, name string }

type counters struct {
	invocations, errors, throttles, faults, cold atomic.Uint64
	duration                                     atomic.Int64
}

// Recorder counts.
type Recorder struct {
	cfg       Config
	functions sync.Map // key to *counters
	duration  prometheus.Histogram
	phases    *prometheus.HistogramVec
	byPhase   map[string]prometheus.Observer
	registry  *prometheus.Registry
}

// New returns a Recorder that has counted nothing.
func New(cfg Config) *Recorder {
	r := &Recorder{
		cfg: cfg, byPhase: map[string]prometheus.Observer{}, registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lambent_invocation_duration_seconds", Help: "Time that functions ran for an invocation, initialisation excluded.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900},
		}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lambent_cold_start_seconds", Help: "Time that each phase of the start of an environment took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"phase"}),
	}
	for _, p := range []string{PhasePrepare, PhaseNetwork, PhaseSandbox, PhaseInit} {
		r.byPhase[p] = r.phases.WithLabelValues(p)
	}
	r.registry.MustRegister(r.duration, r.phases, collector{r})
	return r
}

// Invocation counts one.
func (r *Recorder) Invocation(i Invocation) {
	k := key{i.Account, i.Function}
	found, ok := r.functions.Load(k)
	if !ok {
		found, _ = r.functions.LoadOrStore(k, &counters{})
	}
	c := found.(*counters)
	switch i.Outcome {
	case Throttled: // AWS: a throttled request is no invocation
		c.throttles.Add(1)
		return
	case Faulted:
		c.faults.Add(1)
		return
	case Failed:
		c.errors.Add(1)
	}
	c.invocations.Add(1)
	if i.Cold {
		c.cold.Add(1)
	}
	c.duration.Add(int64(i.Duration))
	r.duration.Observe(i.Duration.Seconds())
}

// Phase counts a phase of a cold start. Phases of other names than the constants' are ignored.
func (r *Recorder) Phase(name string, took time.Duration) {
	if o := r.byPhase[name]; o != nil {
		o.Observe(took.Seconds())
	}
}

// Forget drops a function that was deleted.
func (r *Recorder) Forget(account, function string) { r.functions.Delete(key{account, function}) }

// Functions are the counts of the functions that exist and were invoked, by account and name.
func (r *Recorder) Functions() []Function {
	var out []Function
	r.functions.Range(func(k, v any) bool {
		id, c := k.(key), v.(*counters)
		if !r.cfg.Exists(id.account, id.name) {
			r.functions.Delete(id)
			return true
		}
		out = append(out, Function{id.account, id.name, Counts{
			Invocations: c.invocations.Load(), Errors: c.errors.Load(), Throttles: c.throttles.Load(),
			Faults: c.faults.Load(), ColdStarts: c.cold.Load(), Duration: time.Duration(c.duration.Load()),
		}})
		return true
	})
	slices.SortFunc(out, func(a, b Function) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Name, b.Name))
	})
	return out
}
