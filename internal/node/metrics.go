package node

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/pool"
	"lambent.dev/lambent/internal/metrics"
	"lambent.dev/lambent/internal/workload"
)

// newMetrics makes the region's counts. What they sample is there once the region is open.
func (r *region) newMetrics(n *Node) *metrics.Recorder {
	blobs := &dirSize{dir: filepath.Join(n.dir.Path, "blobs")}
	return metrics.New(metrics.Config{
		Exists: r.exists,
		Sample: func() metrics.Sample { return r.sample(n, blobs) },
	})
}

func (r *region) sample(n *Node, blobs *dirSize) metrics.Sample {
	environments, events, fate := r.pool.Stats(), n.engine.events.Stats(), r.events.Stats()
	disk, logs, ledger, db := n.engine.disk.Stats(), r.logs.Stats(), r.ledger.Stats(), n.engine.etcd.Usage()
	return metrics.Sample{
		Now:         time.Now(),
		Concurrency: environments.Invocations, ConcurrencyLimit: n.cfg.Concurrency, Waiting: environments.Waiting,
		Busy: environments.Busy, Idle: environments.Idle - environments.Frozen, Frozen: environments.Frozen, Starting: environments.Booting,
		Memory: environments.Memory,
		Events: events.Depth, EventsClaimed: events.Claimed, OldestEvent: events.Oldest,
		EventsRetried: fate.Retried, EventsDropped: fate.Dropped,
		DiskSize: disk.Size, DiskFree: disk.Free, DiskLow: disk.Low, DiskFull: disk.Full,
		Blobs: blobs.bytes(), Logs: logs.Bytes, LogsDropped: uint64(logs.Dropped), LogsTrimmed: uint64(logs.Trimmed),
		Ledger: ledger.Bytes, LedgerLate: int64(ledger.Late), LedgerFailed: ledger.Failed, LedgerLost: ledger.Lost,
		Database: db.Bytes, DatabaseUse: db.InUse, DBQuota: db.Quota,
		Syncs: logs.Syncs.Syncs, SyncsTook: logs.Syncs.Took,
	}
}

// observe counts an invocation that ended.
func (r *region) observe(fn function.Function, _ function.Invocation, result function.Result, err error) {
	i := metrics.Invocation{Account: fn.Account, Function: fn.Name, Duration: result.Report.Duration, Cold: result.Report.Cold}
	var throttled *pool.ThrottledError
	switch {
	case errors.As(err, &throttled):
		i.Outcome = metrics.Throttled
	case err != nil:
		i.Outcome = metrics.Faulted
	case result.Error != "":
		i.Outcome = metrics.Failed
	}
	r.metrics.Invocation(i)
}

// The phases of a cold start are timed around the calls that are them.

func (r *region) prepares(prepare func(context.Context, function.Function) (environment.Bundle, error)) func(context.Context, function.Function) (environment.Bundle, error) {
	return func(ctx context.Context, f function.Function) (environment.Bundle, error) {
		began := time.Now()
		b, err := prepare(ctx, f)
		if err == nil {
			r.metrics.Phase(metrics.PhasePrepare, time.Since(began))
		}
		return b, err
	}
}

func (r *region) starts(m *workload.Machine) func(context.Context, workload.Spec) (environment.Workload, error) {
	return func(ctx context.Context, spec workload.Spec) (environment.Workload, error) {
		w, err := m.Start(ctx, spec)
		if err != nil {
			return nil, err // and not a nil *workload.Workload inside an interface
		}
		phases := w.Phases()
		r.metrics.Phase(metrics.PhaseNetwork, phases.Attach)
		r.metrics.Phase(metrics.PhaseSandbox, phases.Boot)
		return w, nil
	}
}

func (r *region) timed(cfg environment.Config) pool.Starter {
	from := pool.Environments(cfg)
	return pool.StarterFunc(func(ctx context.Context, fn function.Function) (pool.Environment, error) {
		e, err := from.Start(ctx, fn)
		if err == nil {
			r.metrics.Phase(metrics.PhaseInit, e.InitTime())
		}
		return e, err
	})
}

// dirSize is the size of a directory's files, counted at most once a minute; nil counts nothing.
type dirSize struct {
	dir string

	mu   sync.Mutex // guards what follows; held while counting
	at   time.Time
	size int64
}

func (d *dirSize) bytes() int64 {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.at) < time.Minute {
		return d.size
	}
	d.at, d.size = time.Now(), 0
	// Files come and go meanwhile; what cannot be seen is not counted.
	_ = filepath.WalkDir(d.dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				d.size += info.Size()
			}
		}
		return nil
	})
	return d.size
}
