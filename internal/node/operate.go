package node

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"time"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
	"lambent.dev/lambent/internal/backup"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/statedir"
)

// activity is what an account's functions do, and the region with them.
func (r *region) activity(n *Node, account string) (out lambentapi.GetActivityOutput, err error) {
	s := r.sample(n, nil)
	out = lambentapi.GetActivityOutput{
		Region: n.cfg.Region, Account: account, Version: n.version, Now: s.Now.UnixMilli(), Started: n.opened.UnixMilli(),
		Concurrency: int64(s.Concurrency), ConcurrencyLimit: int64(s.ConcurrencyLimit), Waiting: int64(s.Waiting),
		Busy: int64(s.Busy), Idle: int64(s.Idle), Frozen: int64(s.Frozen), Starting: int64(s.Starting),
		Memory: s.Memory, MemoryFree: freeMemory(), ServerMemory: residentMemory(),
		Events: int64(s.Events), EventsRunning: int64(s.EventsClaimed),
		EventsRetried: int64(s.EventsRetried), EventsDropped: int64(s.EventsDropped),
		DiskFree: s.DiskFree, DiskSize: s.DiskSize, DiskFull: s.DiskFull,
	}
	if !s.OldestEvent.IsZero() {
		out.OldestEvent = max(0, s.Now.Sub(s.OldestEvent).Milliseconds())
	}
	by := map[string]lambentapi.FunctionActivity{}
	for _, f := range r.metrics.Functions() {
		if f.Account != account {
			continue
		}
		by[f.Name] = lambentapi.FunctionActivity{
			Name: f.Name, Invocations: int64(f.Invocations), Errors: int64(f.Errors), Throttles: int64(f.Throttles),
			Faults: int64(f.Faults), ColdStarts: int64(f.ColdStarts), DurationMs: float64(f.Duration) / float64(time.Millisecond),
		}
	}
	for _, f := range r.pool.Functions() {
		if f.Account != account {
			continue
		}
		a := by[f.Name]
		a.Name = f.Name
		a.Busy, a.Idle, a.Frozen = int64(f.Busy), int64(f.Idle-f.Frozen), int64(f.Frozen)
		a.Starting, a.Waiting, a.Memory = int64(f.Booting), int64(f.Waiting), f.Memory
		by[f.Name] = a
	}
	for _, f := range by {
		out.Functions = append(out.Functions, f)
	}
	slices.SortFunc(out.Functions, func(a, b lambentapi.FunctionActivity) int { return cmp.Compare(a.Name, b.Name) })
	return out, n.engine.kv.Fresh()
}

// exists reports whether there is such a function; while nobody knows, it is taken to exist.
func (r *region) exists(account, name string) bool {
	_, err := r.functions.Serving(account, name)
	return !errors.Is(err, function.ErrNotFound)
}

// backup writes the state of the region. Nothing is swept meanwhile, and no log event moves to a segment
// that was not there when the copying began.
func (n *Node) backup(ctx context.Context, to io.Writer) error {
	n.sweeping.RLock()
	defer n.sweeping.RUnlock()
	defer n.region.logs.Hold()()
	if err := errors.Join(n.region.logs.Sync(), n.region.ledger.Sync()); err != nil {
		return err
	}
	began := time.Now()
	err := backup.Write(ctx, backup.Config{
		Client: n.engine.etcd.Client(), Dir: n.dir.Path,
		Header: backup.Header{Version: n.version, Region: n.cfg.Region, Account: n.dir.Account},
	}, to)
	if err == nil {
		n.log.Info("backup made", "took", time.Since(began).Round(time.Millisecond))
	}
	return err
}

// rotateRootKey replaces the root key in the state, then in the credentials file. A crash between
// the two is mended by the next start, which writes the file anew.
func (n *Node) rotateRootKey(ctx context.Context) (accessKeyID, file string, err error) {
	n.profile.Lock()
	defer n.profile.Unlock()
	key, err := n.region.credentials.RotateRoot(ctx, n.dir.Account)
	if err != nil {
		return "", "", err
	}
	n.log.Info("replaced the root access key", "id", key.ID)
	err = n.dir.WriteProfile(statedir.Profile{
		AccessKeyID: key.ID, Secret: key.Secret, Region: n.cfg.Region, Endpoint: n.URL(),
	}, n.owner)
	return key.ID, filepath.Join(n.dir.Path, "credentials"), err
}
