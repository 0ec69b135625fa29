package lambent

import (
	"context"
	"net/http"

	"lambent.dev/lambent/internal/wire"
)

// CreateBackupInput has no members.
type CreateBackupInput struct{}

// CreateBackup serves CreateBackup: its answer is the archive. Only the account's root user may
// have it, whatever policies say: it holds every key of the region.
func (a *API) CreateBackup(ctx context.Context, _ *CreateBackupInput, w http.ResponseWriter) error {
	if err := rootOnly(ctx, "CreateBackup", "a backup holds every key of the region, so only the root user may make one"); err != nil {
		return err
	}
	if !a.backup.TryLock() {
		return &wire.Error{Code: "TooManyRequestsException", Message: "Another backup is being made.", Status: http.StatusTooManyRequests}
	}
	defer a.backup.Unlock()
	w.Header().Set("Content-Type", "application/zstd")
	return a.cfg.Backup(ctx, w)
}
