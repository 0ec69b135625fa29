package node

import (
	"context"
	"fmt"
	"path/filepath"

	"lambent.dev/lambent/internal/meter"
	"lambent.dev/lambent/internal/price"
	"lambent.dev/lambent/internal/statedir"
)

// openLedger opens the record of what runs and the prices of it.
func (r *region) openLedger(ctx context.Context, n *Node) (err error) {
	if r.prices, err = price.Load(n.cfg.Prices); err != nil {
		return fmt.Errorf("--prices: %w", err)
	}
	// Not the instance: a restored region has another one, and would fold its records again.
	id, err := n.dir.Secret("ledger-id")
	if err != nil {
		return err
	}
	if r.ledger, err = meter.Open(ctx, meter.Config{
		KV: n.engine.kv, Dir: filepath.Join(n.dir.Path, "ledger"), Node: id, Logger: n.log,
	}); err != nil {
		return err
	}
	ledger := r.ledger // r is nil when what follows fails
	n.onClose(func() { _ = ledger.Close() })
	return nil
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
