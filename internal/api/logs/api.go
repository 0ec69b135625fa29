// Package logs is the front door of Amazon CloudWatch Logs: it translates the operations on log
// groups, streams and events to the region's log store and back, in AWS's words.
//
// It promises that a member of a request is honoured, or the request is refused by the name of
// that member. It holds no state; its methods may be called by any number of goroutines.
package logs

import (
	"context"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/logstore"
	"lambent.dev/lambent/internal/wire"
)

// An API serves CloudWatch Logs' operations.
type API struct {
	store  *logstore.Store
	region string
	now    func() time.Time
}

// New returns the API over the store of a region.
func New(store *logstore.Store, region string) *API {
	return &API{store: store, region: region, now: time.Now}
}

// maxRequest bounds requests: a batch of events of 1 MiB, every byte of which JSON may write as
// six.
const maxRequest = 8 << 20

// Service is the table of operations, for the listener.
func (a *API) Service() *wire.Service {
	return &wire.Service{
		Name: "logs", Protocol: wire.JSON11, TargetPrefix: "Logs_20140328",
		Operations: a.operations(),
		Errors:     sdk.TypeRegistry,
		MaxBody:    maxRequest,
	}
}

// account is the caller's account, whose groups these are.
func account(ctx context.Context) string {
	p, _ := iam.PrincipalFrom(ctx)
	return p.Account
}
