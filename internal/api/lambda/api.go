// Package lambda is the front door of AWS Lambda: it translates the operations of Lambda's API to
// the functions of the region and back, in AWS's words.
//
// It promises that a member of a request is honoured, or the request is refused by the name of
// that member; that answers of reads which have nothing to tell are those AWS gives when there is
// nothing; that no request runs code or changes a function before all of it was checked. It holds
// no state. Its methods may be called by any number of goroutines.
package lambda

import (
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/internal/code"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

// Roles finds execution roles and says who may pass them; it is *iam.Store.
type Roles interface {
	Role(account, nameOrARN string) (iam.Role, error)
	CanPassRole(ctx context.Context, roleARN, toService string) error
}

// Invoker runs functions; it is *invoke.Router.
type Invoker interface {
	Invoke(ctx context.Context, inv function.Invocation) (function.Result, error)
}

// Events accepts events durably; it is *async.Queue.
type Events interface {
	Publish(ctx context.Context, inv function.Invocation) error
}

// Config is what an API needs.
type Config struct {
	Functions *function.Store
	Code      *code.Store
	Roles     Roles
	Invoke    Invoker
	Events    Events
	Room      func() error // whether the disk takes events; nil means always
	// Runtime says whether the image of a runtime can be had: its error has what was tried and
	// what to do about it.
	Runtime func(ctx context.Context, id string) error
	Region  string
	// URLKey signs the URLs that packages are fetched from.
	URLKey [32]byte
	// Concurrency is how many invocations of an account run at the same time.
	Concurrency int
	// Architecture is this host's, x86_64 or arm64; default that of the binary.
	Architecture string
	Now          func() time.Time // default time.Now
	Logger       *slog.Logger
}

// An API serves Lambda's operations.
type API struct {
	cfg Config
	log *slog.Logger
	now func() time.Time
}

// New returns the API.
func New(cfg Config) *API {
	cfg.Architecture = cmp.Or(cfg.Architecture, hostArchitecture())
	a := &API{cfg: cfg, log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), now: cfg.Now}
	if a.now == nil {
		a.now = time.Now
	}
	return a
}

func hostArchitecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// Service is the table of operations, for the listener.
func (a *API) Service() *wire.Service {
	return &wire.Service{
		Name: "lambda", Protocol: wire.RestJSON,
		Operations:   a.operations(),
		Errors:       sdk.TypeRegistry,
		InternalCode: "ServiceException",
		MaxBody:      maxRequest,
	}
}

// account is the caller's account, whose functions these are.
func account(ctx context.Context) string {
	p, _ := iam.PrincipalFrom(ctx)
	return p.Account
}
