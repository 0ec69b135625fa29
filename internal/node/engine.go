package node

import (
	"context"
	"fmt"
	"path/filepath"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/disk"
	"lambent.dev/lambent/internal/etcd"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/lambda/async"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/queue"
)

// engine is the node's state: etcd, the tables and the queue on it, the blobs beside it.
type engine struct {
	etcd   *etcd.Server
	kv     *kv.Store
	disk   *disk.Watch
	blobs  *blob.Store
	events *queue.Queue
}

func openEngine(ctx context.Context, n *Node) (e *engine, err error) {
	e = &engine{}
	if e.disk, err = disk.Open(disk.Config{Dir: n.dir.Path, Low: n.cfg.DiskLow, Logger: n.log}); err != nil {
		return nil, err
	}
	if e.etcd, err = etcd.Start(ctx, etcd.Config{Dir: filepath.Join(n.dir.Path, "etcd"), Logger: n.log}); err != nil {
		return nil, fmt.Errorf("start the state engine: %w", err)
	}
	n.onClose(e.etcd.Close)
	if e.kv, err = kv.Open(ctx, kv.Config{Client: e.etcd.Client(), Key: n.dir.Key, Full: e.disk.Exhausted, Logger: n.log}); err != nil {
		return nil, err
	}
	n.onClose(e.kv.Close)
	if e.blobs, err = blob.Open(filepath.Join(n.dir.Path, "blobs")); err != nil {
		return nil, err
	}
	e.events, err = queue.Open(ctx, queue.Config{
		Store: e.kv, Client: e.etcd.Client(), Name: "lambda-events", Node: n.dir.Instance, Claims: async.PerFunction, Blobs: e.blobs, Full: e.full, Logger: n.log,
	})
	return e, err
}

// full tells events to wait outside long before the engine itself has to refuse every write.
func (e *engine) full() bool {
	return e.etcd.Shed() || e.disk.Full()
}

func (e *engine) add(g *lifecycle.Group) {
	g.Add("disk", e.disk)
	g.Add("etcd", e.etcd)
	g.Add("kv", e.kv)
	g.Add("queue", e.events)
}
