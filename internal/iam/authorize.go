package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/policy"
	"lambent.dev/lambent/internal/wire"
)

// Caller stands in a resource for the path and name of the calling user, for operations that
// mean the caller when they name no user. It is empty for callers that are no users.
const Caller = "${aws:username}"

// A DeniedError is a request that policies do not allow. Its text is AWS's.
type DeniedError struct {
	Principal        string // ARN
	Action, Resource string
	Explicit         bool // a statement denies it; otherwise none allows it
	text             string
}

// Error implements error.
func (e *DeniedError) Error() string {
	if e.text != "" {
		return e.text
	}
	reason := "because no identity-based policy allows the " + e.Action + " action"
	if e.Explicit {
		reason = "with an explicit deny in an identity-based policy"
	}
	return fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", e.Principal, e.Action, e.Resource, reason)
}

var errNoPrincipal = errors.New("the request has no principal")

// Authorize reports whether the principal of ctx may do action on every one of resources, "*" if
// there are none. An empty action needs no permission. The error is a [*DeniedError] if not.
func (s *Store) Authorize(ctx context.Context, action string, resources []string) error {
	return s.authorize(ctx, action, resources, "")
}

// CanPassRole reports whether the principal of ctx may give the role to a service, such as
// "lambda.amazonaws.com".
func (s *Store) CanPassRole(ctx context.Context, roleARN, toService string) error {
	p, ok := PrincipalFrom(ctx)
	if !ok {
		return errNoPrincipal
	}
	if a, err := arn.Parse(roleARN); err != nil || a.Account != p.Account {
		return &DeniedError{
			Principal: p.ARN, Action: "iam:PassRole", Resource: roleARN,
			text: "Cross-account pass role is not allowed.", // AWS: as Lambda answers it
		}
	}
	return s.authorize(ctx, "iam:PassRole", []string{roleARN}, toService)
}

func (s *Store) authorize(ctx context.Context, action string, resources []string, passedTo string) error {
	p, ok := PrincipalFrom(ctx)
	if !ok {
		return errNoPrincipal
	}
	// AWS: no identity policy restricts root.
	if action == "" || p.Kind == Root {
		return nil
	}
	policies, err := s.policiesOf(p)
	if err != nil {
		return fmt.Errorf("authorise %s: %w", p.ARN, err)
	}
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	context := s.conditions(ctx, p, passedTo)
	for _, r := range resources {
		r = expandCaller(r, p)
		d := policy.Evaluate(policies, policy.Request{Action: action, Resource: r, Context: context})
		if d != policy.Allow {
			return &DeniedError{Principal: p.ARN, Action: action, Resource: r, Explicit: d == policy.ExplicitDeny}
		}
	}
	return nil
}

func expandCaller(resource string, p Principal) string {
	if !strings.HasSuffix(resource, Caller) {
		return resource
	}
	name := ""
	if p.Kind == UserKind {
		_, name, _ = strings.Cut(p.ARN, ":user/")
	}
	return strings.TrimSuffix(resource, Caller) + name
}

// policiesOf are the identity policies of a principal. One that does not parse any more fails the
// request: to leave it out could leave out what denies.
func (s *Store) policiesOf(p Principal) ([]*policy.Policy, error) {
	e, err := s.entityOf(p)
	if err != nil {
		return nil, err
	}
	policies := make([]*policy.Policy, 0, len(e.Inline)+len(e.Attached))
	for name, doc := range e.Inline {
		parsed, err := s.parsed.parse(doc, policy.Identity)
		if err != nil {
			return nil, fmt.Errorf("parse inline policy %s: %w", name, err)
		}
		policies = append(policies, parsed)
	}
	for _, attached := range e.Attached {
		doc, err := s.defaultDocument(p.Account, attached)
		if err != nil {
			return nil, err
		}
		parsed, err := s.parsed.parse(doc, policy.Identity)
		if err != nil {
			return nil, fmt.Errorf("parse policy %s: %w", attached, err)
		}
		policies = append(policies, parsed)
	}
	return policies, nil
}

// entityOf is the row behind a principal. An identity deleted, or made anew, since the request
// was authenticated has no policies.
func (s *Store) entityOf(p Principal) (Entity, error) {
	var e Entity
	var id string
	switch p.Kind {
	case UserKind:
		row, err := s.users.Get(p.Account, key(p.Name))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return Entity{}, err
		}
		e, id = row.Value.Entity, p.UserID
	case AssumedRole:
		row, err := s.roles.Get(p.Account, key(p.Name))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return Entity{}, err
		}
		e, id = row.Value.Entity, p.RoleID
	}
	if e.ID != id {
		return Entity{}, nil
	}
	return e, nil
}

// conditions looks up condition keys for a request that p makes.
func (s *Store) conditions(ctx context.Context, p Principal, passedTo string) func(string) (string, bool) {
	return func(key string) (string, bool) {
		switch key {
		case "iam:passedtoservice":
			return passedTo, passedTo != ""
		case "aws:requestedregion":
			return s.cfg.Region, s.cfg.Region != ""
		case "aws:currenttime":
			return s.cfg.Now().UTC().Format(time.RFC3339Nano), true
		}
		if v, ok := principalCondition(key, p); ok {
			return v, true
		}
		return requestCondition(key, wire.RequestFrom(ctx))
	}
}

func principalCondition(key string, p Principal) (string, bool) {
	switch key {
	case "aws:principalarn":
		if p.Kind == AssumedRole {
			return p.RoleARN, true // AWS: the role, not its session (IAM user guide, aws:PrincipalArn)
		}
		return p.ARN, true
	case "aws:principalaccount":
		return p.Account, true
	case "aws:userid":
		return p.UserID, true
	case "aws:username":
		return p.Name, p.Kind == UserKind
	case "aws:principaltype":
		return map[Kind]string{Root: "Account", UserKind: "User", AssumedRole: "AssumedRole"}[p.Kind], true
	case "aws:tokenissuetime":
		return p.Issued.UTC().Format(time.RFC3339), p.Kind == AssumedRole
	}
	return "", false
}

func requestCondition(key string, r wire.Request) (string, bool) {
	switch key {
	case "aws:sourceip":
		return r.SourceIP, r.SourceIP != ""
	case "aws:useragent":
		return r.UserAgent, r.UserAgent != ""
	case "aws:securetransport":
		return fmt.Sprint(r.TLS), !r.Started.IsZero()
	}
	return "", false
}
