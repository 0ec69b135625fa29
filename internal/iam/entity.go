package iam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/policy"
)

// A Tag is a key and a value on an identity or policy.
type Tag struct{ Key, Value string }

// An Entity is what users and roles have in common.
type Entity struct {
	Account string
	Name    string
	Path    string // "/" or "/division/"
	ID      string // unique for ever: AIDA... or AROA...
	ARN     string
	Created time.Time
	Tags    []Tag             // by key
	Inline  map[string]string // documents by policy name
	// Attached are the ARNs of managed policies, in order of attachment.
	Attached []string
}

// Key is what entities are sorted by: names are unique regardless of case.
func (e Entity) Key() string { return key(e.Name) }

// A Holder names a user or a role, which tags and policies hang on alike.
type Holder struct {
	kind string // as AWS's texts call it
	Name string
}

// UserNamed is the user of that name.
func UserNamed(name string) Holder { return Holder{"user", name} }

// RoleNamed is the role of that name.
func RoleNamed(name string) Holder { return Holder{"role", name} }

// IsRole reports whether the holder is a role.
func (h Holder) IsRole() bool { return h.kind == "role" }

func (h Holder) notFound() error {
	return refuse(ErrNotFound, "The %s with name %s cannot be found.", h.kind, h.Name)
}

// key is what rows are stored under: names are unique regardless of case.
func key(name string) string { return strings.ToLower(name) }

// The quotas of AWS that hold here.
const (
	maxAttached       = 10
	maxKeys           = 2
	maxTags           = 50
	maxVersions       = 5
	maxTrustSize      = 2048  // characters without white space
	maxRoleInline     = 10240 // of all inline policies together
	maxUserInline     = 2048
	maxManagedSize    = 6144
	maxSessionSeconds = 43200
	minSessionSeconds = 3600
)

// Entity is the user or role as it is.
func (s *Store) Entity(account string, h Holder) (Entity, error) {
	e, _, err := s.entity(account, h)
	return e, err
}

// entity reads a holder; write makes the operation that stores it anew, changed, if it is still
// as it was read.
func (s *Store) entity(account string, h Holder) (e Entity, write func(Entity) kv.Op, err error) {
	if h.IsRole() {
		row, err := s.roleRow(account, h.Name)
		return row.Value.Entity, func(e Entity) kv.Op {
			role := row.Value
			role.Entity = e
			return s.roles.Update(row, role)
		}, err
	}
	row, err := s.userRow(account, h.Name)
	return row.Value.Entity, func(e Entity) kv.Op {
		user := row.Value
		user.Entity = e
		return s.users.Update(row, user)
	}, err
}

// change commits what fn makes of a holder, with the operations that it adds.
func (s *Store) change(ctx context.Context, account string, h Holder, fn func(*Entity) ([]kv.Op, error)) error {
	return s.commit(ctx, func() ([]kv.Op, error) {
		e, write, err := s.entity(account, h)
		if err != nil {
			return nil, err
		}
		e.Tags, e.Attached, e.Inline = slices.Clone(e.Tags), slices.Clone(e.Attached), maps.Clone(e.Inline)
		more, err := fn(&e)
		if err != nil {
			return nil, err
		}
		return append([]kv.Op{write(e)}, more...), nil
	})
}

// PutInline stores an inline policy.
func (s *Store) PutInline(ctx context.Context, account string, h Holder, name, doc string) error {
	if err := s.checkDocument(doc, policy.Identity); err != nil {
		return err
	}
	limit := maxUserInline
	if h.IsRole() {
		limit = maxRoleInline
	}
	return s.change(ctx, account, h, func(e *Entity) ([]kv.Op, error) {
		if e.Inline == nil {
			e.Inline = make(map[string]string)
		}
		e.Inline[name] = doc
		size := 0
		for _, d := range e.Inline {
			size += documentSize(d)
		}
		if size > limit {
			return nil, refuse(ErrLimit, "Maximum policy size of %d bytes exceeded for %s %s", limit, h.kind, e.Name)
		}
		return nil, nil
	})
}

// Inline is the document of an inline policy.
func (s *Store) Inline(account string, h Holder, name string) (string, error) {
	e, err := s.Entity(account, h)
	if err != nil {
		return "", err
	}
	doc, ok := e.Inline[name]
	if !ok {
		return "", h.noInline(name)
	}
	return doc, nil
}

func (h Holder) noInline(name string) error {
	return refuse(ErrNotFound, "The %s policy with name %s cannot be found.", h.kind, name)
}

// DeleteInline removes an inline policy.
func (s *Store) DeleteInline(ctx context.Context, account string, h Holder, name string) error {
	return s.change(ctx, account, h, func(e *Entity) ([]kv.Op, error) {
		if _, ok := e.Inline[name]; !ok {
			return nil, h.noInline(name)
		}
		delete(e.Inline, name)
		return nil, nil
	})
}

// Attach attaches a managed policy; one that is attached stays so.
func (s *Store) Attach(ctx context.Context, account string, h Holder, policyARN string) error {
	return s.change(ctx, account, h, func(e *Entity) ([]kv.Op, error) {
		ops, err := s.touchPolicy(account, policyARN)
		if err != nil {
			return nil, err
		}
		if slices.Contains(e.Attached, policyARN) {
			return nil, nil
		}
		if len(e.Attached) >= maxAttached {
			return nil, refuse(ErrLimit, "Cannot exceed quota for PoliciesPer%s: %d", strings.ToUpper(h.kind[:1])+h.kind[1:], maxAttached)
		}
		e.Attached = append(e.Attached, policyARN)
		return ops, nil
	})
}

// Detach detaches a managed policy.
func (s *Store) Detach(ctx context.Context, account string, h Holder, policyARN string) error {
	return s.change(ctx, account, h, func(e *Entity) ([]kv.Op, error) {
		i := slices.Index(e.Attached, policyARN)
		if i < 0 {
			return nil, refuse(ErrNotFound, "Policy %s was not found.", policyARN)
		}
		e.Attached = slices.Delete(e.Attached, i, i+1)
		return nil, nil
	})
}

// Tag sets tags of a user or role.
func (s *Store) Tag(ctx context.Context, account string, h Holder, tags []Tag) error {
	return s.change(ctx, account, h, func(e *Entity) (_ []kv.Op, err error) {
		e.Tags, err = mergeTags(e.Tags, tags)
		return nil, err
	})
}

// Untag removes tags of a user or role; those it does not have are no error.
func (s *Store) Untag(ctx context.Context, account string, h Holder, keys []string) error {
	return s.change(ctx, account, h, func(e *Entity) ([]kv.Op, error) {
		e.Tags = withoutTags(e.Tags, keys)
		return nil, nil
	})
}

// mergeTags sets tags among old ones.
//
// AWS: keys of IAM tags are unique regardless of case, and keep the case they were written with.
func mergeTags(old, tags []Tag) ([]Tag, error) {
	seen := make(map[string]bool)
	merged := slices.Clone(old)
	for _, t := range tags {
		if seen[key(t.Key)] {
			return nil, refuse(ErrInvalid, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[key(t.Key)] = true
		if strings.HasPrefix(key(t.Key), "aws:") {
			return nil, refuse(ErrInvalid, "Tag keys that start with aws: are reserved for AWS use.")
		}
		merged = slices.DeleteFunc(merged, func(o Tag) bool { return key(o.Key) == key(t.Key) })
		merged = append(merged, t)
	}
	if len(merged) > maxTags {
		return nil, refuse(ErrLimit, "The number of tags has reached the maximum limit.")
	}
	slices.SortFunc(merged, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	return merged, nil
}

func withoutTags(tags []Tag, keys []string) []Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(t Tag) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return key(k) == key(t.Key) })
	})
}

// checkDocument refuses a document that does not parse.
func (s *Store) checkDocument(doc string, kind policy.Kind) error {
	_, err := policy.Parse(doc, kind)
	var malformed *policy.Error
	if errors.As(err, &malformed) {
		return &Error{ErrMalformed, malformed.Message}
	}
	return err
}

// documentSize counts the characters of a document as quotas do: without white space.
func documentSize(doc string) int {
	n := 0
	for _, r := range doc {
		if r != ' ' && r != '\t' && r != '\n' && r != '\r' {
			n++
		}
	}
	return n
}

// deletable reports why a user or role cannot be deleted yet.
func (e Entity) deletable() error {
	switch {
	case len(e.Attached) > 0:
		return refuse(ErrInUse, "Cannot delete entity, must detach all policies first.")
	case len(e.Inline) > 0:
		return refuse(ErrInUse, "Cannot delete entity, must delete policies first.")
	}
	return nil
}

// newEntity fills what is the same for a new user and a new role.
func (s *Store) newEntity(account, path, name, kind, prefix string, tags []Tag) (Entity, error) {
	path = cmp.Or(path, "/")
	merged, err := mergeTags(nil, tags)
	return Entity{
		Account: account, Name: name, Path: path, ID: newID(prefix), Created: s.now(), Tags: merged,
		ARN: s.arn(account, kind+path+name),
	}, err
}

// list are the rows that keep wants, in order of name.
func list[T any](t *kv.Table[T], account string, keep func(*T) bool) ([]T, error) {
	rows, err := t.List(account, "", "", 0)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	var values []T
	for i := range rows {
		if keep(&rows[i].Value) {
			values = append(values, rows[i].Value)
		}
	}
	return values, nil
}
