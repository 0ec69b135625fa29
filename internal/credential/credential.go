// Package credential keeps the access keys of a region and makes and verifies the temporary
// credentials of role sessions.
//
// Access keys are rows of a sealed table. Sessions are stateless: the token is a claim (account,
// role, session, expiry) sealed under the region key, and the secret is derived from the token
// under the same key. So starting a session writes nothing, every node of a region verifies every
// session, and no node can be asked for a secret that it did not derive.
//
// It promises that a token which was changed in any bit, made under another key, or has expired
// is refused. Whether the role behind a session still exists is the iam package's question.
// A [Store] may be used by any number of goroutines.
package credential

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"time"

	"lambent.dev/lambent/internal/kv"
)

// The reasons for which credentials are refused.
var (
	ErrUnknown      = errors.New("the access key is unknown or inactive")
	ErrExpired      = errors.New("the session token has expired")
	ErrInvalidToken = errors.New("the session token is not valid")
)

// A Kind is whose credentials they are.
type Kind int

// The kinds of credentials.
const (
	Root Kind = iota + 1 // of the account itself
	User                 // of an IAM user
	Role                 // of a session of a role
)

// A Credential is what an access key, with a session token if there is one, stands for.
type Credential struct {
	Secret  string
	Account string
	Kind    Kind

	Name        string // of the user or role
	ID          string // of the user or role: AIDA... or AROA...
	SessionName string // of a role session
	Issued      time.Time
	Expires     time.Time // zero for access keys
}

// A Store keeps access keys and makes sessions.
type Store struct {
	kv    *kv.Store
	keys  *kv.Table[AccessKey]
	roots *kv.Table[rootRow]
	now   func() time.Time

	sealing, deriving []byte // keys of the tokens and of the secrets
}

// Open returns the store over s, with the region's key.
func Open(s *kv.Store, regionKey [32]byte, now func() time.Time) (*Store, error) {
	c := &Store{
		kv:    s,
		keys:  kv.NewTable[AccessKey](s, "accesskey", kv.Sealed()),
		roots: kv.NewTable[rootRow](s, "rootkey", kv.Sealed()),
		now:   now,
	}
	return c, c.derive(regionKey)
}

// derive makes one key per purpose from the region's.
func (s *Store) derive(regionKey [32]byte) (err error) {
	if s.sealing, err = hkdf.Key(sha256.New, regionKey[:], nil, "lambent session token", 32); err != nil {
		return err
	}
	s.deriving, err = hkdf.Key(sha256.New, regionKey[:], nil, "lambent session secret", 32)
	return err
}

// Lookup finds the credential of a request. token is "" for access keys.
func (s *Store) Lookup(_ context.Context, accessKeyID, token string) (Credential, error) {
	if token != "" {
		return s.session(accessKeyID, token)
	}
	account, ok := AccountOf(accessKeyID)
	if !ok {
		return Credential{}, ErrUnknown
	}
	row, err := s.keys.Get(account, accessKeyID)
	if errors.Is(err, kv.ErrNotFound) || err == nil && row.Value.Status != Active {
		return Credential{}, ErrUnknown
	}
	if err != nil {
		return Credential{}, err
	}
	k := row.Value
	c := Credential{Secret: k.Secret, Account: account, Kind: User, Name: k.User, ID: k.UserID, Issued: k.Created}
	if k.UserID == "" {
		c.Kind = Root
	}
	return c, nil
}
