package iam

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/policy"
)

// A ManagedPolicy is a customer managed policy, or one of AWS's.
type ManagedPolicy struct {
	Account     string // "aws" for AWS's
	Name, Path  string
	ID, ARN     string
	Description string
	Created     time.Time
	Updated     time.Time
	Default     string // id of the default version
	Next        int    // number of the next version
	Versions    []PolicyVersion
	Tags        []Tag
}

// A PolicyVersion is one version of a managed policy.
type PolicyVersion struct {
	ID       string // "v1"
	Document string
	Created  time.Time
}

// Version is a version of the policy.
func (p ManagedPolicy) Version(id string) (PolicyVersion, error) {
	for _, v := range p.Versions {
		if v.ID == id {
			return v, nil
		}
	}
	return PolicyVersion{}, refuse(ErrNotFound, "Policy %s version %s does not exist or is not attachable.", p.ARN, id)
}

func noPolicy(policyARN string) error {
	return refuse(ErrNotFound, "Policy %s was not found.", policyARN)
}

// policyRow finds a customer managed policy by its ARN.
func (s *Store) policyRow(account, policyARN string) (kv.Row[ManagedPolicy], error) {
	name := policyARN[strings.LastIndexByte(policyARN, '/')+1:]
	row, err := s.policies.Get(account, key(name))
	if errors.Is(err, kv.ErrNotFound) || err == nil && row.Value.ARN != policyARN {
		return kv.Row[ManagedPolicy]{}, noPolicy(policyARN)
	}
	return row, err
}

// Policy is the managed policy of that ARN, a customer's or AWS's.
func (s *Store) Policy(account, policyARN string) (ManagedPolicy, error) {
	if p, ok := awsPolicy(s.cfg.Partition, policyARN); ok {
		return p, nil
	}
	row, err := s.policyRow(account, policyARN)
	return row.Value, err
}

// Policies are an account's own managed policies, in order of name.
func (s *Store) Policies(account string) ([]ManagedPolicy, error) {
	return list(s.policies, account, func(*ManagedPolicy) bool { return true })
}

// AWSPolicies are AWS's managed policies, in order of ARN.
func (s *Store) AWSPolicies() []ManagedPolicy { return awsPolicies(s.cfg.Partition) }

// defaultDocument is the document of a policy's default version.
func (s *Store) defaultDocument(account, policyARN string) (string, error) {
	p, err := s.Policy(account, policyARN)
	if err != nil {
		return "", err
	}
	v, err := p.Version(p.Default)
	return v.Document, err
}

// touchPolicy is what makes an attachment and the policy's deletion exclude each other: it writes
// the policy's row as it is. AWS's policies are never deleted.
func (s *Store) touchPolicy(account, policyARN string) ([]kv.Op, error) {
	if _, ok := awsPolicy(s.cfg.Partition, policyARN); ok {
		return nil, nil
	}
	row, err := s.policyRow(account, policyARN)
	if errors.Is(err, ErrNotFound) {
		return nil, refuse(ErrNotFound, "Policy %s does not exist or is not attachable.", policyARN)
	}
	if err != nil {
		return nil, err
	}
	return []kv.Op{s.policies.Update(row, row.Value)}, nil
}

// Holders are the users and roles that a managed policy is attached to, in order of name.
func (s *Store) Holders(account, policyARN string) (users []User, roles []Role, err error) {
	users, err = list(s.users, account, func(u *User) bool { return slices.Contains(u.Attached, policyARN) })
	if err != nil {
		return nil, nil, err
	}
	roles, err = list(s.roles, account, func(r *Role) bool { return slices.Contains(r.Attached, policyARN) })
	return users, roles, err
}

// Attachments counts to how many users and roles each managed policy of an account is attached.
func (s *Store) Attachments(account string) (map[string]int, error) {
	users, err := s.users.List(account, "", "", 0)
	if err != nil {
		return nil, err
	}
	roles, err := s.roles.List(account, "", "", 0)
	if err != nil {
		return nil, err
	}
	count := make(map[string]int)
	for i := range users {
		for _, a := range users[i].Value.Attached {
			count[a]++
		}
	}
	for i := range roles {
		for _, a := range roles[i].Value.Attached {
			count[a]++
		}
	}
	return count, nil
}

func (s *Store) checkManaged(doc string) error {
	if err := s.checkDocument(doc, policy.Identity); err != nil {
		return err
	}
	if documentSize(doc) > maxManagedSize {
		return refuse(ErrLimit, "Cannot exceed quota for PolicySize: %d", maxManagedSize)
	}
	return nil
}

// CreatePolicy makes a customer managed policy with its first version.
func (s *Store) CreatePolicy(ctx context.Context, account, path, name, description, doc string, tags []Tag) (ManagedPolicy, error) {
	if err := s.checkManaged(doc); err != nil {
		return ManagedPolicy{}, err
	}
	merged, err := mergeTags(nil, tags)
	if err != nil {
		return ManagedPolicy{}, err
	}
	now, path := s.now(), cmp.Or(path, "/")
	p := ManagedPolicy{
		Account: account, Name: name, Path: path, ID: newID(policyPrefix), ARN: s.arn(account, "policy"+path+name),
		Description: description, Created: now, Updated: now, Tags: merged,
		Default: "v1", Next: 2, Versions: []PolicyVersion{{ID: "v1", Document: doc, Created: now}},
	}
	_, err = s.cfg.Store.Txn(ctx, s.policies.Create(account, key(name), p))
	if errors.Is(err, kv.ErrConflict) {
		return ManagedPolicy{}, refuse(ErrExists, "A policy called %s already exists. Duplicate names are not allowed.", name)
	}
	return p, err
}

// DeletePolicy deletes a customer managed policy that is attached nowhere and has no version but
// the default one.
func (s *Store) DeletePolicy(ctx context.Context, account, policyARN string) error {
	if err := s.modifiable(policyARN); err != nil {
		return err
	}
	return s.commit(ctx, func() ([]kv.Op, error) {
		row, err := s.policyRow(account, policyARN)
		if err != nil {
			return nil, err
		}
		count, err := s.Attachments(account)
		if err != nil {
			return nil, err
		}
		if count[policyARN] > 0 {
			return nil, refuse(ErrInUse, "Cannot delete a policy attached to entities.")
		}
		if len(row.Value.Versions) > 1 {
			return nil, refuse(ErrInUse, "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		return []kv.Op{s.policies.Delete(row)}, nil
	})
}

func (s *Store) modifiable(policyARN string) error {
	if _, ok := awsPolicy(s.cfg.Partition, policyARN); ok {
		return refuse(ErrUnmodifiable, "Policy is outside your own account.")
	}
	return nil
}

func (s *Store) changePolicy(ctx context.Context, account, policyARN string, fn func(*ManagedPolicy) error) error {
	if err := s.modifiable(policyARN); err != nil {
		return err
	}
	return s.commit(ctx, func() ([]kv.Op, error) {
		row, err := s.policyRow(account, policyARN)
		if err != nil {
			return nil, err
		}
		p := row.Value
		p.Versions, p.Tags = slices.Clone(p.Versions), slices.Clone(p.Tags)
		if err := fn(&p); err != nil {
			return nil, err
		}
		return []kv.Op{s.policies.Update(row, p)}, nil
	})
}

// CreatePolicyVersion adds a version, as the default one if asked.
func (s *Store) CreatePolicyVersion(ctx context.Context, account, policyARN, doc string, asDefault bool) (v PolicyVersion, err error) {
	if err := s.checkManaged(doc); err != nil {
		return PolicyVersion{}, err
	}
	err = s.changePolicy(ctx, account, policyARN, func(p *ManagedPolicy) error {
		if len(p.Versions) >= maxVersions {
			return refuse(ErrLimit, "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
		}
		v = PolicyVersion{ID: versionID(p.Next), Document: doc, Created: s.now()}
		p.Versions = append(p.Versions, v)
		p.Next++
		p.Updated = v.Created
		if asDefault {
			p.Default = v.ID
		}
		return nil
	})
	return v, err
}

// DeletePolicyVersion deletes a version that is not the default one.
func (s *Store) DeletePolicyVersion(ctx context.Context, account, policyARN, id string) error {
	return s.changePolicy(ctx, account, policyARN, func(p *ManagedPolicy) error {
		if _, err := p.Version(id); err != nil {
			return err
		}
		if p.Default == id {
			return refuse(ErrInUse, "Cannot delete the default version of a policy.")
		}
		p.Versions = slices.DeleteFunc(p.Versions, func(v PolicyVersion) bool { return v.ID == id })
		return nil
	})
}

// SetDefaultVersion makes a version the one that counts.
func (s *Store) SetDefaultVersion(ctx context.Context, account, policyARN, id string) error {
	return s.changePolicy(ctx, account, policyARN, func(p *ManagedPolicy) error {
		if _, err := p.Version(id); err != nil {
			return err
		}
		p.Default, p.Updated = id, s.now()
		return nil
	})
}

// TagPolicy sets tags of a customer managed policy.
func (s *Store) TagPolicy(ctx context.Context, account, policyARN string, tags []Tag) error {
	return s.changePolicy(ctx, account, policyARN, func(p *ManagedPolicy) (err error) {
		p.Tags, err = mergeTags(p.Tags, tags)
		return err
	})
}

// UntagPolicy removes tags of a customer managed policy.
func (s *Store) UntagPolicy(ctx context.Context, account, policyARN string, keys []string) error {
	return s.changePolicy(ctx, account, policyARN, func(p *ManagedPolicy) error {
		p.Tags = withoutTags(p.Tags, keys)
		return nil
	})
}
