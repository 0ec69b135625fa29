package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sample is the state of a region's parts at one moment.
type Sample struct {
	Now time.Time

	Concurrency      int // invocations under way
	ConcurrencyLimit int // of an account
	Waiting          int // requests that wait for an environment

	Busy, Idle, Frozen, Starting int   // environments; the frozen ones are not among the idle
	Memory                       int64 // of all environments, as last measured

	Events                         int // that wait, run, or wait to be tried again
	EventsClaimed                  int
	OldestEvent                    time.Time // zero when there is none
	EventsRetried, EventsDropped   uint64
	DiskSize, DiskFree, DiskLow    int64 // of the state directory's file system
	DiskFull                       bool
	Blobs, Logs                    int64 // bytes of the state directory's parts that grow
	LogsDropped, LogsTrimmed       uint64
	Database, DatabaseUse, DBQuota int64

	Ledger                               int64 // bytes of its records
	LedgerLate, LedgerFailed, LedgerLost int64 // records that wait for the disk, writes that failed, records given up

	Syncs     uint64 // fsyncs of log segments
	SyncsTook time.Duration
}

// collector makes Prometheus's metrics of a Sample and of the functions' counts when it is asked.
type collector struct{ r *Recorder }

type gauge struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(Sample) float64
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lambent_"+name, help, labels, nil)
}

func single(kind prometheus.ValueType, name, help string, value func(Sample) float64) gauge {
	return gauge{describe(name, help), kind, value}
}

var (
	invocations = describe("invocations_total", "Invocations that ran, those with errors included.", "account", "function")
	errored     = describe("errors_total", "Invocations that ended with an error of the function.", "account", "function")
	throttles   = describe("throttles_total", "Invocations refused by a limit.", "account", "function")
	faults      = describe("faults_total", "Invocations that failed by a fault of the region.", "account", "function")
	coldStarts  = describe("cold_starts_total", "Invocations that waited for an initialisation.", "account", "function")
	ran         = describe("duration_seconds_total", "Time that a function ran; divide its rate by that of invocations for the mean.", "account", "function")

	environments = describe("environments", "Execution environments by state.", "state")
	fsync        = describe("segment_fsync_seconds", "Time that fsyncs of log segments took.")
	filesBytes   = describe("state_bytes", "Space that parts of the state directory take.", "part")
)

const (
	isGauge   = prometheus.GaugeValue
	isCounter = prometheus.CounterValue
)

var singles = []gauge{
	single(isGauge, "concurrent_invocations", "Invocations under way.", func(s Sample) float64 { return float64(s.Concurrency) }),
	single(isGauge, "concurrency_limit", "Invocations that an account may have under way.", func(s Sample) float64 { return float64(s.ConcurrencyLimit) }),
	single(isGauge, "waiting_invocations", "Invocations that wait for an environment.", func(s Sample) float64 { return float64(s.Waiting) }),
	single(isGauge, "environments_memory_bytes", "Memory of all environments, as last measured.", func(s Sample) float64 { return float64(s.Memory) }),
	single(isGauge, "events", "Events that wait, run, or wait to be tried again.", func(s Sample) float64 { return float64(s.Events) }),
	single(isGauge, "events_running", "Events that are being run.", func(s Sample) float64 { return float64(s.EventsClaimed) }),
	single(isGauge, "events_oldest_age_seconds", "Age of the oldest event that is not done.", func(s Sample) float64 {
		if s.OldestEvent.IsZero() {
			return 0
		}
		return max(0, s.Now.Sub(s.OldestEvent).Seconds())
	}),
	single(isCounter, "events_retried_total", "Attempts at events that are followed by another.", func(s Sample) float64 { return float64(s.EventsRetried) }),
	single(isCounter, "events_dropped_total", "Events given up.", func(s Sample) float64 { return float64(s.EventsDropped) }),
	single(isGauge, "disk_size_bytes", "Size of the state directory's file system.", func(s Sample) float64 { return float64(s.DiskSize) }),
	single(isGauge, "disk_free_bytes", "Free space of it.", func(s Sample) float64 { return float64(s.DiskFree) }),
	single(isGauge, "disk_low_bytes", "Free space below which code, logs and events are refused.", func(s Sample) float64 { return float64(s.DiskLow) }),
	single(isGauge, "disk_full", "1 while they are.", func(s Sample) float64 {
		if s.DiskFull {
			return 1
		}
		return 0
	}),
	single(isCounter, "log_events_dropped_total", "Log events that a full disk had no room for.", func(s Sample) float64 { return float64(s.LogsDropped) }),
	single(isCounter, "log_trimmed_bytes_total", "Log events that made room for newer ones, in bytes.", func(s Sample) float64 { return float64(s.LogsTrimmed) }),
	single(isGauge, "ledger_waiting_records", "Records of invocations that wait in memory for the disk.", func(s Sample) float64 { return float64(s.LedgerLate) }),
	single(isCounter, "ledger_failed_writes_total", "Writes to the ledger that failed.", func(s Sample) float64 { return float64(s.LedgerFailed) }),
	single(isCounter, "ledger_lost_records_total", "Records of invocations given up: the bill is too low by them.", func(s Sample) float64 { return float64(s.LedgerLost) }),
	single(isGauge, "database_bytes", "Size of the state engine's database.", func(s Sample) float64 { return float64(s.Database) }),
	single(isGauge, "database_used_bytes", "Of it, what holds data.", func(s Sample) float64 { return float64(s.DatabaseUse) }),
	single(isGauge, "database_quota_bytes", "Size at which writes are refused.", func(s Sample) float64 { return float64(s.DBQuota) }),
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{invocations, errored, throttles, faults, coldStarts, ran, environments, fsync, filesBytes} {
		out <- d
	}
	for _, g := range singles {
		out <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, f := range c.r.Functions() {
		for _, m := range []struct {
			desc  *prometheus.Desc
			value float64
		}{
			{invocations, float64(f.Invocations)}, {errored, float64(f.Errors)}, {throttles, float64(f.Throttles)},
			{faults, float64(f.Faults)}, {coldStarts, float64(f.ColdStarts)}, {ran, f.Duration.Seconds()},
		} {
			out <- prometheus.MustNewConstMetric(m.desc, isCounter, m.value, f.Account, f.Name)
		}
	}
	s := c.r.cfg.Sample()
	for _, g := range singles {
		out <- prometheus.MustNewConstMetric(g.desc, g.kind, g.value(s))
	}
	for _, m := range []struct {
		state string
		n     int
	}{{"busy", s.Busy}, {"idle", s.Idle}, {"frozen", s.Frozen}, {"starting", s.Starting}} {
		out <- prometheus.MustNewConstMetric(environments, isGauge, float64(m.n), m.state)
	}
	out <- prometheus.MustNewConstMetric(filesBytes, isGauge, float64(s.Blobs), "blobs")
	out <- prometheus.MustNewConstMetric(filesBytes, isGauge, float64(s.Logs), "logs")
	out <- prometheus.MustNewConstMetric(filesBytes, isGauge, float64(s.Ledger), "ledger")
	out <- prometheus.MustNewConstSummary(fsync, s.Syncs, s.SyncsTook.Seconds(), nil)
}
