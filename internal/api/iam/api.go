// Package iam is the front door of AWS Identity and Access Management: it translates the
// operations of its query API to the iam domain and back. It holds no state and no rules but the
// constraints of shapes; its methods may be called by any number of goroutines.
package iam

import (
	"context"
	"net/url"
	"strings"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

// An API serves IAM's operations.
type API struct{ store *iam.Store }

// New returns the API over a store.
func New(store *iam.Store) *API { return &API{store} }

// Service is the table of operations, for the listener.
func (a *API) Service() *wire.Service {
	return &wire.Service{
		Name: "iam", Protocol: wire.Query, Version: "2010-05-08", Global: true,
		Namespace:    "https://iam.amazonaws.com/doc/2010-05-08/",
		Operations:   a.operations(),
		Statuses:     statuses,
		InternalCode: "ServiceFailure",
	}
}

// account is the caller's account, whose identities these are.
func account(ctx context.Context) string {
	p, _ := iam.PrincipalFrom(ctx)
	return p.Account
}

// check is the error of what fn finds wrong with an input.
func check(fn func(c *iam.Check)) error {
	var c iam.Check
	fn(&c)
	return c.Err()
}

// document is a policy document as answers carry it.
//
// AWS: percent-encoded as RFC 3986 has it (API reference, "GetRolePolicy"), so a space is %20.
func document(doc string) *string {
	return wire.Ptr(strings.ReplaceAll(url.QueryEscape(doc), "+", "%20"))
}

// notEvaluated refuses a member that is not honoured.
func notEvaluated(c *iam.Check, member string, given bool) {
	if given {
		c.Alone("The parameter %s is not evaluated yet by this region, so a request that has it is refused.", member)
	}
}

// The names that resources of operations are found by.

func (a *API) roleResource(s wire.Scope, name *string) []string {
	if r, err := a.store.Role(s.Account, wire.Value(name)); err == nil {
		return []string{r.ARN}
	}
	return []string{s.GlobalARN("iam", "role/"+wire.Value(name))}
}

// userResource is a user's ARN: the caller's, if no user is named.
func (a *API) userResource(s wire.Scope, name *string) []string {
	if name == nil {
		return []string{s.GlobalARN("iam", "user/"+iam.Caller)}
	}
	if u, err := a.store.User(s.Account, *name); err == nil {
		return []string{u.ARN}
	}
	return []string{s.GlobalARN("iam", "user/"+*name)}
}

// under is a resource of a kind at a path.
func under(s wire.Scope, kind string, path *string, name string) []string {
	p := wire.Value(path)
	if p == "" {
		p = "/"
	}
	return []string{s.GlobalARN("iam", kind+p+name)}
}

// userName is the user a request names, or the caller.
func userName(ctx context.Context, name *string) (string, error) {
	if name != nil {
		return *name, check(func(c *iam.Check) { c.Name("userName", name, 128) })
	}
	p, _ := iam.PrincipalFrom(ctx)
	if p.Kind != iam.UserKind {
		return "", &iam.ValidationError{Message: "Must specify userName when calling with non-User credentials"}
	}
	return p.Name, nil
}
