package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/policy"
)

// A Role is an IAM role.
type Role struct {
	Entity
	Description        string
	Trust              string // the trust policy
	MaxSessionDuration int    // seconds

	// TrustIDs are the unique ids of the users and roles that the trust policy names, by ARN, as
	// they were when it was put: one made later under the same name is not meant.
	TrustIDs map[string]string
}

// RoleSpec is what a new role is made of.
type RoleSpec struct {
	Path, Name, Description, Trust string
	MaxSessionDuration             int // an hour when zero
	Tags                           []Tag
}

func (s *Store) roleRow(account, name string) (kv.Row[Role], error) {
	row, err := s.roles.Get(account, key(name))
	if errors.Is(err, kv.ErrNotFound) || err == nil && row.Value.Name != name {
		return kv.Row[Role]{}, RoleNamed(name).notFound()
	}
	return row, err
}

// Role is the role of that name or ARN. An ARN must have the role's own path and account.
func (s *Store) Role(account, nameOrARN string) (Role, error) {
	name := nameOrARN
	a, err := arn.Parse(nameOrARN)
	isARN := err == nil
	if isARN {
		name = a.Resource[strings.LastIndexByte(a.Resource, '/')+1:]
	}
	row, err := s.roleRow(account, name)
	if err == nil && isARN && row.Value.ARN != nameOrARN {
		err = RoleNamed(name).notFound()
	}
	if err != nil {
		return Role{}, err
	}
	return row.Value, nil
}

// Roles are the roles under a path, in order of name.
func (s *Store) Roles(account, path string) ([]Role, error) {
	return list(s.roles, account, func(r *Role) bool { return strings.HasPrefix(r.Path, path) })
}

// CreateRole makes a role.
func (s *Store) CreateRole(ctx context.Context, account string, spec RoleSpec) (Role, error) {
	e, err := s.newEntity(account, spec.Path, spec.Name, "role", rolePrefix, spec.Tags)
	if err != nil {
		return Role{}, err
	}
	r := Role{Entity: e, Description: spec.Description, MaxSessionDuration: spec.MaxSessionDuration}
	if r.MaxSessionDuration == 0 {
		r.MaxSessionDuration = minSessionSeconds
	}
	if err := s.setTrust(&r, spec.Trust); err != nil {
		return Role{}, err
	}
	_, err = s.cfg.Store.Txn(ctx, s.roles.Create(account, key(spec.Name), r))
	if errors.Is(err, kv.ErrConflict) {
		return Role{}, refuse(ErrExists, "Role with name %s already exists.", spec.Name)
	}
	return r, err
}

// DeleteRole deletes a role that has no policies left, and so ends its sessions.
func (s *Store) DeleteRole(ctx context.Context, account, name string) error {
	return s.commit(ctx, func() ([]kv.Op, error) {
		row, err := s.roleRow(account, name)
		if err != nil {
			return nil, err
		}
		if err := row.Value.deletable(); err != nil {
			return nil, err
		}
		return []kv.Op{s.roles.Delete(row)}, nil
	})
}

// UpdateRole changes the description and the longest session of a role, where not nil.
func (s *Store) UpdateRole(ctx context.Context, account, name string, description *string, maxSession *int) (Role, error) {
	return s.changeRole(ctx, account, name, func(r *Role) error {
		if description != nil {
			r.Description = *description
		}
		if maxSession != nil {
			r.MaxSessionDuration = *maxSession
		}
		return nil
	})
}

// UpdateTrust replaces the trust policy of a role.
func (s *Store) UpdateTrust(ctx context.Context, account, name, doc string) error {
	_, err := s.changeRole(ctx, account, name, func(r *Role) error { return s.setTrust(r, doc) })
	return err
}

func (s *Store) changeRole(ctx context.Context, account, name string, fn func(*Role) error) (Role, error) {
	var changed Role
	err := s.commit(ctx, func() ([]kv.Op, error) {
		row, err := s.roleRow(account, name)
		if err != nil {
			return nil, err
		}
		changed = row.Value
		if err := fn(&changed); err != nil {
			return nil, err
		}
		return []kv.Op{s.roles.Update(row, changed)}, nil
	})
	return changed, err
}

// setTrust puts a trust policy on r, and notes whom it means.
func (s *Store) setTrust(r *Role, doc string) error {
	if err := s.checkDocument(doc, policy.Trust); err != nil {
		return err
	}
	if documentSize(doc) > maxTrustSize {
		return refuse(ErrLimit, "Cannot exceed quota for ACLSizePerRole: %d", maxTrustSize)
	}
	p, err := s.parsed.parse(doc, policy.Trust)
	if err != nil {
		return err
	}
	ids := make(map[string]string)
	for _, name := range p.Principals() {
		id, err := s.principalID(r.Account, name)
		if err != nil {
			return err
		}
		if id != "" {
			ids[name] = id
		}
	}
	r.Trust, r.TrustIDs = doc, ids
	return nil
}

// principalID is the unique id behind a principal of a trust policy: "" for accounts, and for
// other accounts' users and roles, whom nobody here can be.
func (s *Store) principalID(account, name string) (string, error) {
	a, err := arn.Parse(name)
	if err != nil || a.Resource == "root" || a.Account != account {
		return "", nil
	}
	kind, path, _ := strings.Cut(a.Resource, "/")
	last := path[strings.LastIndexByte(path, '/')+1:]
	var e Entity
	switch kind {
	case "user":
		e, err = s.Entity(account, UserNamed(last))
	case "role":
		e, err = s.Entity(account, RoleNamed(last))
	case "assumed-role":
		role, _, _ := strings.Cut(path, "/")
		if e, err = s.Entity(account, RoleNamed(role)); err == nil {
			return e.ID, nil
		}
	}
	if errors.Is(err, ErrNotFound) || err == nil && e.ARN != name {
		return "", refuse(ErrMalformed, `Invalid principal in policy: "AWS":"%s"`, name)
	}
	return e.ID, err
}

// Trusts reports whether a service of this account, such as "lambda.amazonaws.com", may assume
// the role.
func (r Role) Trusts(service string) bool {
	p, err := policy.Parse(r.Trust, policy.Trust)
	if err != nil {
		return false
	}
	return policy.Allow == policy.Evaluate([]*policy.Policy{p}, policy.Request{
		Action:    "sts:AssumeRole",
		Principal: policy.Principal{Service: service},
		Context: func(key string) (string, bool) {
			return r.Account, key == "aws:sourceaccount"
		},
	})
}

// An Assumption is what a caller asks for when it assumes a role, as far as trust policies look
// at it.
type Assumption struct {
	SessionName string
	ExternalID  *string
}

func (a Assumption) condition(key string) (value string, ok bool) {
	switch {
	case key == "sts:rolesessionname":
		return a.SessionName, true
	case key == "sts:externalid" && a.ExternalID != nil:
		return *a.ExternalID, true
	}
	return "", false
}

// CanAssume reports whether the principal of ctx may assume a role. The role's trust policy must
// allow it; if that names the account only, the principal's own policies must as well. The error
// is a [*DeniedError] if not.
func (s *Store) CanAssume(ctx context.Context, r Role, asked Assumption) error {
	p, ok := PrincipalFrom(ctx)
	if !ok {
		return errNoPrincipal
	}
	denied := &DeniedError{Principal: p.ARN, Action: "sts:AssumeRole", Resource: r.ARN}
	denied.text = fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", p.ARN, r.ARN)
	// AWS: root may not assume roles.
	if p.Kind == Root {
		denied.text = "Roles may not be assumed by root accounts."
		return denied
	}
	trust, err := s.parsed.parse(r.Trust, policy.Trust)
	if err != nil {
		return fmt.Errorf("parse trust policy of %s: %w", r.ARN, err)
	}
	own := r.meaning(p)
	conditions := s.conditions(ctx, p, "")
	req := policy.Request{
		Action:    "sts:AssumeRole",
		Principal: policy.Principal{AWS: append(own, s.arn(p.Account, "root"))},
		Context: func(key string) (string, bool) {
			if v, ok := asked.condition(key); ok {
				return v, true
			}
			return conditions(key)
		},
	}
	if policy.Evaluate([]*policy.Policy{trust}, req) != policy.Allow {
		return denied
	}
	err = s.Authorize(ctx, "sts:AssumeRole", []string{r.ARN})
	var refused *DeniedError
	if !errors.As(err, &refused) || refused.Explicit {
		return err
	}
	// The principal's own policies are silent: then the trust policy must mean it by name.
	req.Principal.AWS = own
	if policy.Evaluate([]*policy.Policy{trust}, req) == policy.Allow {
		return nil
	}
	return err
}

// meaning are the ARNs by which the trust policy of r may mean p.
func (r Role) meaning(p Principal) []string {
	var names []string
	switch p.Kind {
	case UserKind:
		if r.TrustIDs[p.ARN] == p.UserID {
			names = append(names, p.ARN)
		}
	case AssumedRole:
		for _, name := range []string{p.ARN, p.RoleARN} {
			if r.TrustIDs[name] == p.RoleID {
				names = append(names, name)
			}
		}
	}
	return names
}
