package node

import (
	"context"
	"time"

	"lambent.dev/lambent/internal/blob"
)

const (
	sweepEvery = 10 * time.Minute
	// sweepOlder protects what was just put and is not referred to yet.
	sweepOlder = time.Hour
)

// sweep removes packages and images that nothing needs any more. What was put before this start
// has all its references already: the first sweep leaves no orphans of requests that the end of
// the last server cut short.
func (n *Node) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for before := n.opened; ; before = time.Now().Add(-sweepOlder) {
		if err := n.sweepOnce(ctx, before); err != nil && ctx.Err() == nil {
			n.log.Error("sweep", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweepOnce removes what is older than before. It may take a while, in which more is put: each age is
// counted from its own now.
func (n *Node) sweepOnce(ctx context.Context, before time.Time) error {
	n.sweeping.Lock()
	defer n.sweeping.Unlock()
	used, err := n.region.functions.Uses()
	if err != nil {
		return err
	}
	packages, err := n.machine.code.Sweep(ctx, used, time.Since(before))
	if err != nil {
		return err
	}
	waiting, err := n.engine.events.Blobs(ctx)
	if err != nil {
		return err
	}
	blobs, err := n.engine.blobs.Sweep(ctx, func(d blob.Digest) bool { return used(d) || waiting[d] }, time.Since(before))
	if err != nil {
		return err
	}
	digests, err := n.imagesInUse()
	if err != nil {
		return err
	}
	images, err := n.machine.images.Sweep(ctx, func(d string) bool { return digests[d] }, sweepOlder)
	if packages+blobs+images > 0 {
		n.log.Info("swept", "packages", packages, "blobs", blobs, "images", images)
	}
	return err
}

func (n *Node) imagesInUse() (map[string]bool, error) {
	digests := map[string]bool{}
	for after := ""; ; {
		page, more, err := n.region.functions.List(n.dir.Account, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, f := range page {
			digests[f.Image.Digest] = true
			after = f.Name
		}
		if !more {
			return digests, nil
		}
	}
}
