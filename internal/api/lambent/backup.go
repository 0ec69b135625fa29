package lambent

import (
	"context"
	"errors"
	"net/http"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

// CreateBackupInput has no members.
type CreateBackupInput struct{}

// CreateBackup serves CreateBackup: its answer is the archive. Only the account's root user may
// have it, whatever policies say: it holds every key of the region.
func (a *API) CreateBackup(ctx context.Context, _ *CreateBackupInput, w http.ResponseWriter) error {
	p, ok := iam.PrincipalFrom(ctx)
	switch {
	case !ok:
		return errors.New("the request has no principal")
	case p.Kind != iam.Root:
		return &wire.Error{
			Code:    "AccessDeniedException",
			Message: "User: " + p.ARN + " is not authorized to perform: lambent:CreateBackup because a backup holds every key of the region, so only the root user may make one",
			Status:  http.StatusForbidden,
		}
	case !a.backup.TryLock():
		return &wire.Error{Code: "TooManyRequestsException", Message: "Another backup is being made.", Status: http.StatusTooManyRequests}
	}
	defer a.backup.Unlock()
	w.Header().Set("Content-Type", "application/zstd")
	return a.cfg.Backup(ctx, w)
}
