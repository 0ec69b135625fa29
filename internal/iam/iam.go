// Package iam holds the identities of an account and what they may do: users, roles, managed
// policies, what is attached to whom. It authenticates access keys and session tokens into a
// [Principal], and authorises what a principal does.
//
// It promises that a policy which was stored is honoured in full: documents are parsed, and
// refused if any part is not evaluated, before they are stored. Whoever deletes a user or a role
// ends its keys and sessions at once, also for one that is made later under the same name.
// Decisions are made against rows and committed only if these did not change meanwhile.
//
// A [Store] may be used by any number of goroutines. What it returns must not be modified.
package iam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/kv"
)

// What callers branch on. An [*Error] wraps one of them and has AWS's text.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("exists already")
	ErrInUse        = errors.New("in use")
	ErrLimit        = errors.New("quota exceeded")
	ErrMalformed    = errors.New("malformed policy document")
	ErrInvalid      = errors.New("invalid input")
	ErrUnmodifiable = errors.New("not modifiable")
	ErrBusy         = errors.New("changed by others at the same time")
)

// An Error is a refusal with the text AWS has for it.
type Error struct {
	Reason  error // one of the sentinels
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap is the sentinel.
func (e *Error) Unwrap() error { return e.Reason }

func refuse(reason error, format string, args ...any) error {
	return &Error{reason, fmt.Sprintf(format, args...)}
}

// Config is what a store needs.
type Config struct {
	Store       *kv.Store
	Credentials *credential.Store
	Partition   string // "aws" when empty
	Region      string // what aws:RequestedRegion is
	Now         func() time.Time
}

// A Store is the identities of all accounts of a region.
type Store struct {
	cfg      Config
	users    *kv.Table[User]
	roles    *kv.Table[Role]
	policies *kv.Table[ManagedPolicy]
	parsed   *cache
}

// Open returns the store over its tables.
func Open(cfg Config) *Store {
	if cfg.Partition == "" {
		cfg.Partition = "aws"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Store{
		cfg:      cfg,
		users:    kv.NewTable[User](cfg.Store, "user"),
		roles:    kv.NewTable[Role](cfg.Store, "role"),
		policies: kv.NewTable[ManagedPolicy](cfg.Store, "policy"),
		parsed:   newCache(),
	}
}

// attempts bounds how often a change is decided anew because others changed the same rows.
const attempts = 16

// commit runs decide, which reads rows and returns what to write, until nothing it read has
// changed when it is written.
func (s *Store) commit(ctx context.Context, decide func() ([]kv.Op, error)) error {
	for range attempts {
		ops, err := decide()
		if err != nil || len(ops) == 0 {
			return err
		}
		_, err = s.cfg.Store.Txn(ctx, ops...)
		if !errors.Is(err, kv.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return refuse(ErrBusy, "The request was rejected because it attempted to create or modify an entity that others were modifying. Try again.")
}

// now is the time as rows keep it.
func (s *Store) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Second) }

func (s *Store) arn(account, resource string) string {
	return "arn:" + s.cfg.Partition + ":iam::" + account + ":" + resource
}
