package lambent

import (
	"context"
	"errors"
	"net/http"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/wire"
)

// GetActivityInput has no members.
type GetActivityInput struct{}

// GetActivityOutput is the region at one moment. Counts of invocations are since Started.
type GetActivityOutput struct {
	Region, Account, Version string
	Now, Started             int64 // milliseconds since 1970

	Concurrency, ConcurrencyLimit, Waiting int64
	Busy, Idle, Frozen, Starting           int64 // environments; the frozen ones are not among the idle
	Memory                                 int64 // bytes of all environments
	MemoryFree                             int64 // bytes of the host that environments may still take
	ServerMemory                           int64 // bytes of the server itself

	Events, EventsRunning        int64
	OldestEvent                  int64 // its age in milliseconds
	EventsRetried, EventsDropped int64
	DiskFree, DiskSize           int64
	DiskFull                     bool

	Functions []FunctionActivity // those invoked since Started or with environments
}

// FunctionActivity is a function's part of it.
type FunctionActivity struct {
	Name                                               string
	Invocations, Errors, Throttles, Faults, ColdStarts int64
	DurationMs                                         float64 // of all its invocations together
	Busy, Idle, Frozen, Starting, Waiting              int64
	Memory                                             int64
}

// GetActivity serves GetActivity.
func (a *API) GetActivity(ctx context.Context, _ *GetActivityInput) (*GetActivityOutput, error) {
	p, ok := iam.PrincipalFrom(ctx)
	if !ok {
		return nil, errors.New("the request has no principal")
	}
	out, err := a.cfg.Activity(p.Account)
	if errors.Is(err, kv.ErrStale) {
		return nil, &wire.Error{Code: "ServiceUnavailable", Message: "The service is unavailable. Try again.", Status: http.StatusServiceUnavailable, ServerFault: true}
	}
	if err != nil {
		return nil, err
	}
	return &out, nil
}
