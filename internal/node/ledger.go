package node

import (
	"context"
	"fmt"
	"path/filepath"

	"lambent.dev/lambent/internal/meter"
	"lambent.dev/lambent/internal/price"
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
		KV: n.engine.kv, Dir: filepath.Join(n.dir.Path, "ledger"), Stage: n.stage("ledger"), Node: id, Logger: n.log,
	}); err != nil {
		return err
	}
	ledger := r.ledger // r is nil when what follows fails
	n.onClose(func() { _ = ledger.Close() })
	return nil
}
