package iam

import (
	"context"
	"errors"
	"time"

	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/kv"
)

// A Kind is what a principal is.
type Kind int

// The kinds of principals.
const (
	Root        Kind = iota + 1 // the account itself
	UserKind                    // an IAM user
	AssumedRole                 // a session of a role
)

// A Principal is who makes a request.
type Principal struct {
	Account     string
	ARN         string // of root, the user or the session
	UserID      string // as GetCallerIdentity says it
	Kind        Kind
	AccessKeyID string

	Name        string // of the user or role
	RoleARN     string // of the session's role
	RoleID      string
	SessionName string
	Issued      time.Time // when the session began or the key was made
	Expires     time.Time // of the session
}

type principalKey struct{}

// WithPrincipal returns a context of a request that p makes.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom is who makes the request of ctx; ok is false if nobody was authenticated.
func PrincipalFrom(ctx context.Context) (p Principal, ok bool) {
	p, ok = ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// Authenticate finds the secret a request must be signed with and who then makes it. Errors are
// credential.ErrUnknown, ErrExpired and ErrInvalidToken; a user or role that is gone is the
// first or the last of them.
func (s *Store) Authenticate(ctx context.Context, accessKeyID, token string) (secret string, p Principal, err error) {
	c, err := s.cfg.Credentials.Lookup(ctx, accessKeyID, token)
	if err != nil {
		return "", Principal{}, err
	}
	p = Principal{Account: c.Account, AccessKeyID: accessKeyID, Name: c.Name, Issued: c.Issued}
	switch c.Kind {
	case credential.Root:
		p.Kind, p.ARN, p.UserID = Root, s.arn(c.Account, "root"), c.Account
	case credential.User:
		err = s.authenticateUser(&p, c)
	case credential.Role:
		err = s.authenticateRole(&p, c)
	}
	return c.Secret, p, err
}

func (s *Store) authenticateUser(p *Principal, c credential.Credential) error {
	row, err := s.users.Get(c.Account, key(c.Name))
	if errors.Is(err, kv.ErrNotFound) || err == nil && row.Value.ID != c.ID {
		return credential.ErrUnknown
	}
	if err != nil {
		return err
	}
	p.Kind, p.ARN, p.UserID = UserKind, row.Value.ARN, row.Value.ID
	return nil
}

func (s *Store) authenticateRole(p *Principal, c credential.Credential) error {
	row, err := s.roles.Get(c.Account, key(c.Name))
	if errors.Is(err, kv.ErrNotFound) || err == nil && row.Value.ID != c.ID {
		return credential.ErrInvalidToken
	}
	if err != nil {
		return err
	}
	p.Kind, p.RoleARN, p.RoleID, p.SessionName = AssumedRole, row.Value.ARN, c.ID, c.SessionName
	p.ARN = s.SessionARN(c.Account, c.Name, c.SessionName)
	p.UserID = c.ID + ":" + c.SessionName
	p.Expires = c.Expires
	return nil
}

// SessionARN is the ARN of a session of a role.
func (s *Store) SessionARN(account, role, session string) string {
	return "arn:" + s.cfg.Partition + ":sts::" + account + ":assumed-role/" + role + "/" + session
}
