// Package lambent is the front door of what is the region's own and none of AWS's: what it does
// at the moment, what ran and what that costs, its root key, and its backup. The same signatures, the same authorisation as everywhere:
// awsJson 1.0, signing name and action prefix "lambent".
//
// It holds no state but that one backup is made at a time; its methods may be called by any
// number of goroutines.
package lambent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/price"
	"lambent.dev/lambent/internal/wire"
)

// Name is the service's name in signatures, actions and targets.
const Name = "lambent"

// Config is what the API serves from.
type Config struct {
	// Activity tells what an account's part of the region does.
	Activity func(account string) (GetActivityOutput, error)
	// Backup writes the region's state.
	Backup func(ctx context.Context, to io.Writer) error
	// Ledger is what ran, and Prices what that costs.
	Ledger Ledger
	Prices *price.Table
	// Rotate replaces the root key and names the new one and the file it is in.
	Rotate func(ctx context.Context) (accessKeyID, file string, err error)
	Now    func() time.Time // default time.Now
}

// An API serves the region's own operations.
type API struct {
	cfg    Config
	backup sync.Mutex // held while one is made
}

// New returns the API.
func New(cfg Config) *API {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &API{cfg: cfg}
}

// Service is the table of operations, for the listener.
func (a *API) Service() *wire.Service {
	return &wire.Service{
		Name: Name, Protocol: wire.JSON10, TargetPrefix: "Lambent", Operations: []wire.Operation{
			operation("GetActivity", a.GetActivity),
			operation("GetUsage", a.GetUsage),
			operation("ListInvocations", a.ListInvocations),
			operation("RotateRootKey", a.RotateRootKey),
			wire.OpRaw(wire.OperationSchema("CreateBackup"), wire.Of[CreateBackupInput](), a.CreateBackup,
				wire.Auth[CreateBackupInput]("lambent:CreateBackup", nil)),
		},
	}
}

// caller is who makes the request.
func caller(ctx context.Context) (iam.Principal, error) {
	p, ok := iam.PrincipalFrom(ctx)
	if !ok {
		return p, errors.New("the request has no principal")
	}
	return p, nil
}

// rootOnly refuses everybody but the account's root user, whatever policies say.
func rootOnly(ctx context.Context, action, why string) error {
	p, err := caller(ctx)
	if err == nil && p.Kind != iam.Root {
		err = &wire.Error{
			Code:    "AccessDeniedException",
			Message: "User: " + p.ARN + " is not authorized to perform: lambent:" + action + " because " + why,
			Status:  http.StatusForbidden,
		}
	}
	return err
}

func operation[In, Out any](name string, h func(context.Context, *In) (*Out, error)) wire.Operation {
	return wire.Op(wire.OperationSchema(name), wire.Of[In](), wire.Of[Out](), h, wire.Auth[In]("lambent:"+name, nil))
}
