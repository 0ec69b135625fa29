// Package sts is the front door of AWS's Security Token Service: who am I, and temporary
// credentials of roles. It holds no state; its methods may be called by any number of goroutines.
package sts

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/schemas"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/wire"
)

// An API serves STS's operations.
type API struct {
	store       *iam.Store
	credentials *credential.Store
}

// New returns the API over the stores.
func New(store *iam.Store, credentials *credential.Store) *API { return &API{store, credentials} }

// Service is the table of operations, for the listener.
func (a *API) Service() *wire.Service {
	return &wire.Service{
		Name: "sts", Protocol: wire.Query, Version: "2011-06-15",
		Namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
		Errors:    sdk.TypeRegistry,
		Operations: []wire.Operation{
			wire.Op(schemas.GetCallerIdentity, schemas.GetCallerIdentityRequest, schemas.GetCallerIdentityResponse, a.GetCallerIdentity,
				wire.Public("AWS asks no permission for it")),
			wire.Op(schemas.AssumeRole, schemas.AssumeRoleRequest, schemas.AssumeRoleResponse, a.AssumeRole,
				wire.Public("the handler asks the role's trust policy and, with it, the caller's policies")),
		},
	}
}

// GetCallerIdentity serves GetCallerIdentity.
func (a *API) GetCallerIdentity(ctx context.Context, _ *sdk.GetCallerIdentityInput) (*sdk.GetCallerIdentityOutput, error) {
	p, ok := iam.PrincipalFrom(ctx)
	if !ok {
		return nil, errors.New("the request has no principal")
	}
	return &sdk.GetCallerIdentityOutput{Account: &p.Account, Arn: &p.ARN, UserId: &p.UserID}, nil
}

const (
	defaultSession = time.Hour
	chainedSession = time.Hour // AWS: the most for a role that another role's session assumes
)

var (
	sessionPattern  = regexp.MustCompile(`^[\w+=,.@-]*$`)
	externalPattern = regexp.MustCompile(`^[\w+=,.@:\/-]*$`)
)

// AssumeRole serves AssumeRole.
func (a *API) AssumeRole(ctx context.Context, in *sdk.AssumeRoleInput) (*sdk.AssumeRoleOutput, error) {
	if err := checkAssumeRole(in); err != nil {
		return nil, apiError(err)
	}
	p, ok := iam.PrincipalFrom(ctx)
	if !ok {
		return nil, errors.New("the request has no principal")
	}
	r, err := a.store.Role(p.Account, *in.RoleArn)
	if errors.Is(err, iam.ErrNotFound) {
		// AWS: a role that does not exist is answered as one that may not be assumed.
		return nil, denied("User: " + p.ARN + " is not authorized to perform: sts:AssumeRole on resource: " + *in.RoleArn)
	}
	if err != nil {
		return nil, apiError(err)
	}
	if err := a.store.CanAssume(ctx, r, iam.Assumption{SessionName: *in.RoleSessionName, ExternalID: in.ExternalId}); err != nil {
		return nil, apiError(err)
	}
	ttl, err := duration(in, r, p)
	if err != nil {
		return nil, apiError(err)
	}
	s, err := a.credentials.Session(r.Account, r.Name, r.ID, *in.RoleSessionName, ttl)
	if err != nil {
		return nil, err
	}
	return &sdk.AssumeRoleOutput{
		AssumedRoleUser: &types.AssumedRoleUser{
			Arn:           wire.Ptr(a.store.SessionARN(r.Account, r.Name, *in.RoleSessionName)),
			AssumedRoleId: wire.Ptr(r.ID + ":" + *in.RoleSessionName),
		},
		Credentials: &types.Credentials{
			AccessKeyId: &s.AccessKeyID, SecretAccessKey: &s.Secret, SessionToken: &s.Token, Expiration: &s.Expires,
		},
	}, nil
}

// checkAssumeRole checks the constraints of the input's members, and refuses those that would
// narrow or mark a session and are not honoured.
func checkAssumeRole(in *sdk.AssumeRoleInput) error {
	var c iam.Check
	c.ARN("roleArn", in.RoleArn)
	c.Required("roleSessionName", in.RoleSessionName, 2, 64)
	c.Pattern("roleSessionName", in.RoleSessionName, sessionPattern)
	c.Range("durationSeconds", in.DurationSeconds, 900, 43200)
	c.Optional("externalId", in.ExternalId, 2, 1224)
	c.Pattern("externalId", in.ExternalId, externalPattern)
	for _, m := range []struct {
		name  string
		given bool
	}{
		{"Policy", in.Policy != nil},
		{"PolicyArns", len(in.PolicyArns) > 0},
		{"Tags", len(in.Tags) > 0},
		{"TransitiveTagKeys", len(in.TransitiveTagKeys) > 0},
		{"SourceIdentity", in.SourceIdentity != nil},
		{"SerialNumber", in.SerialNumber != nil},
		{"TokenCode", in.TokenCode != nil},
		{"ProvidedContexts", len(in.ProvidedContexts) > 0},
		{"MinimumSessionTokenSize", in.MinimumSessionTokenSize != nil},
	} {
		if m.given {
			c.Alone("The parameter %s is not evaluated yet by this region, so a request that has it is refused.", m.name)
		}
	}
	return c.Err()
}

// duration is how long a session of r lasts.
func duration(in *sdk.AssumeRoleInput, r iam.Role, p iam.Principal) (time.Duration, error) {
	if in.DurationSeconds == nil {
		return defaultSession, nil
	}
	d := time.Duration(*in.DurationSeconds) * time.Second
	if p.Kind == iam.AssumedRole && d > chainedSession {
		return 0, &iam.ValidationError{Message: "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."}
	}
	if d > time.Duration(r.MaxSessionDuration)*time.Second {
		return 0, &iam.ValidationError{Message: "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."}
	}
	return d, nil
}

func denied(message string) error {
	return &wire.Error{Code: "AccessDenied", Message: message, Status: http.StatusForbidden}
}

// apiError translates an error of the domain.
func apiError(err error) error {
	var invalid *iam.ValidationError
	var refused *iam.DeniedError
	switch {
	case errors.As(err, &invalid):
		return &wire.Error{Code: "ValidationError", Message: invalid.Message}
	case errors.As(err, &refused):
		return denied(refused.Error())
	case errors.Is(err, kv.ErrStale):
		return &wire.Error{Code: "ServiceUnavailable", Message: "The service is unavailable. Try again.", Status: http.StatusServiceUnavailable, ServerFault: true}
	}
	return err
}
