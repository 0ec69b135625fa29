package lambent

import "context"

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
	p, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	out, err := a.cfg.Activity(p.Account)
	if err != nil {
		return nil, unavailable(err)
	}
	return &out, nil
}
