package node

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"runtime"
	"time"

	lambdaapi "lambent.dev/lambent/internal/api/lambda"

	iamapi "lambent.dev/lambent/internal/api/iam"
	lambentapi "lambent.dev/lambent/internal/api/lambent"
	logsapi "lambent.dev/lambent/internal/api/logs"
	stsapi "lambent.dev/lambent/internal/api/sts"
	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/edge"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/lambda/async"
	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
	"lambent.dev/lambent/internal/lambda/pool"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/logstore"
	"lambent.dev/lambent/internal/meter"
	"lambent.dev/lambent/internal/metrics"
	"lambent.dev/lambent/internal/price"
	"lambent.dev/lambent/internal/wire"
)

// region is the products: identities, functions, logs.
type region struct {
	credentials *credential.Store
	iam         *iam.Store
	logs        *logstore.Store
	functions   *function.Store
	reserve     *environment.Reserve
	pool        *pool.Pool
	router      *invoke.Router
	events      *async.Queue
	bundles     *bundles
	metrics     *metrics.Recorder
	ledger      *meter.Ledger
	prices      *price.Table
}

// maxBodies is the memory of requests' bodies on hosts that have it.
const maxBodies = 512 << 20

// maxLogs is the disk budget of log events unless the operator sets one; on small disks it is a
// tenth of them.
const maxLogs = 10 << 30

// nodeLogRate is how many bytes a second all environments together may print for long: functions that
// flood their logs share it, and leave others the disk and the processor: what takes lines in is in no
// function's share.
const nodeLogRate = 4 << 20

func openRegion(ctx context.Context, n *Node) (r *region, err error) {
	r = &region{}
	if r.credentials, err = credential.Open(n.engine.kv, n.dir.Key, time.Now); err != nil {
		return nil, err
	}
	r.iam = iam.Open(iam.Config{
		Store: n.engine.kv, Credentials: r.credentials, Partition: arn.Partition(n.cfg.Region), Region: n.cfg.Region,
	})
	if r.logs, err = logstore.Open(ctx, logstore.Config{
		KV: n.engine.kv, Dir: filepath.Join(n.dir.Path, "logs"), Stage: n.stage("logs"), Full: n.engine.disk.Full,
		MaxBytes: cmp.Or(n.cfg.LogsMax, min(n.engine.disk.Stats().Size/10, maxLogs)), Logger: n.log,
	}); err != nil {
		return nil, err
	}
	store := r.logs // r is nil when what follows fails
	n.onClose(func() { _ = store.Close() })
	if err := r.openLedger(ctx, n); err != nil {
		return nil, err
	}
	table, err := runtimeTable(n.cfg.Runtimes)
	if err != nil {
		return nil, err
	}
	r.bundles = &bundles{table: table, images: n.machine.images, code: n.machine.code, region: n.cfg.Region}
	r.functions = function.New(function.Config{
		KV: n.engine.kv, Region: n.cfg.Region, Prepare: r.bundles.ready, Logger: n.log,
		Deleting: func(f function.Function) kv.Op { return n.engine.events.PurgeOp(f.Account, async.Group(f.Name, f.ID)) },
	})
	r.metrics = r.newMetrics(n)
	r.reserve = environment.NewReserve(runtime.NumCPU(), n.log)
	r.pool = pool.New(pool.Config{
		Starter: r.timed(environment.Config{
			Start:       r.starts(n.machine.workloads),
			API:         n.machine.runtimeAPI,
			Prepare:     r.prepares(r.bundles.bundle),
			Credentials: r.roleCredentials,
			Variables:   r.bundles.variables,
			Logs:        logs{r.logs},
			Meter:       r.ledger,
			Logger:      n.log,
			NodeLogs:    environment.NewRate(nodeLogRate),
			Reserve:     r.reserve,
		}),
		Logger: n.log, Concurrency: n.cfg.Concurrency, FreeMemory: freeMemory,
		DiskFull: n.engine.disk.Full, IdleTimeout: n.cfg.IdleTimeout,
	})
	r.router = &invoke.Router{Functions: r.functions, Pool: r.pool, Observe: r.observe}
	r.events = async.New(async.Config{Messages: async.On(n.engine.events), Invoker: r.router, Logger: n.log, Retries: 2, Drain: n.cfg.Drain})
	r.functions.OnChange(r.retire)
	return r, nil
}

// stage is where a log's records wait for the disk, "" on a host without such a place.
func (n *Node) stage(name string) string {
	dir, err := n.dir.Memory()
	if err != nil {
		n.log.Warn("records are written to the disk one by one", "log", name, "error", err)
		return ""
	}
	return filepath.Join(dir, name)
}

func (r *region) add(g *lifecycle.Group) {
	g.Add("logs", r.logs)
	g.Add("ledger", r.ledger)
	g.Add("functions", r.functions)
	g.Add("events in flight", lifecycle.Func(func(ctx context.Context) error { <-ctx.Done(); r.events.Wait(); return nil }))
	g.Add("reserve", r.reserve)
	g.Add("pool", r.pool) // its end ends what events has left in flight
	g.Add("events", r.events)
}

// retire ends the environments of a function that changed or went.
func (r *region) retire(account, name string) {
	keep := ""
	if f, err := r.functions.Serving(account, name); err == nil {
		keep = f.Generation
	} else if errors.Is(err, function.ErrNotFound) {
		r.metrics.Forget(account, name)
	}
	r.pool.Retire(account, name, keep)
}

// edge makes the front door of all services.
func (r *region) edge(n *Node) (*edge.Server, error) {
	token, err := n.dir.Secret("metrics-token")
	if err != nil {
		return nil, err
	}
	functions := lambdaapi.New(lambdaapi.Config{
		Functions: r.functions, Code: n.machine.code, Roles: r.iam, Invoke: r.router, Events: r.events, Room: n.engine.disk.Check,
		Runtime: r.bundles.available, Region: n.cfg.Region, URLKey: n.dir.Key,
		Concurrency: n.cfg.Concurrency, Logger: n.log,
	})
	return edge.New(edge.Config{
		Region: n.cfg.Region,
		Services: []*wire.Service{
			functions.Service(), iamapi.New(r.iam).Service(), stsapi.New(r.iam, r.credentials).Service(),
			logsapi.New(r.logs, n.cfg.Region).Service(),
			lambentapi.New(lambentapi.Config{
				Activity: func(account string) (lambentapi.GetActivityOutput, error) { return r.activity(n, account) },
				Backup:   n.backup,
				Ledger:   r.ledger, Prices: r.prices, Rotate: n.rotateRootKey,
			}).Service(),
		},
		Authenticate: r.iam.Authenticate, Authorize: r.iam.Authorize,
		Handlers:     map[string]http.Handler{"/_lambent/code/": functions.CodeHandler()},
		HostHandlers: map[string]http.Handler{"/metrics": r.metrics.Handler(token)},
		Ready:        n.engine.kv.Fresh,
		BodyMemory:   min(n.heap/2, maxBodies),
		DrainTimeout: n.cfg.Drain,
		Logger:       n.log,
	})
}

// logs is the log store as environments see it.
type logs struct{ store *logstore.Store }

func (l logs) Append(ctx context.Context, account, group, stream string, events []environment.LogEvent) error {
	out := make([]logstore.Event, len(events))
	for i, e := range events {
		out[i] = logstore.Event{Time: e.Time, Message: e.Message}
	}
	return l.store.Offer(ctx, account, group, stream, out)
}
