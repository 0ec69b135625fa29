package iam

import (
	"context"
	"errors"
	"strings"

	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/kv"
)

// A User is an IAM user.
type User struct{ Entity }

func (s *Store) userRow(account, name string) (kv.Row[User], error) {
	row, err := s.users.Get(account, key(name))
	if errors.Is(err, kv.ErrNotFound) || err == nil && row.Value.Name != name {
		return kv.Row[User]{}, UserNamed(name).notFound()
	}
	return row, err
}

// User is the user of that name.
func (s *Store) User(account, name string) (User, error) {
	row, err := s.userRow(account, name)
	return row.Value, err
}

// Users are the users under a path, in order of name.
func (s *Store) Users(account, path string) ([]User, error) {
	return list(s.users, account, func(u *User) bool { return strings.HasPrefix(u.Path, path) })
}

// CreateUser makes a user.
func (s *Store) CreateUser(ctx context.Context, account, path, name string, tags []Tag) (User, error) {
	e, err := s.newEntity(account, path, name, "user", userPrefix, tags)
	if err != nil {
		return User{}, err
	}
	u := User{Entity: e}
	_, err = s.cfg.Store.Txn(ctx, s.users.Create(account, key(name), u))
	if errors.Is(err, kv.ErrConflict) {
		return User{}, refuse(ErrExists, "User with name %s already exists.", name)
	}
	return u, err
}

// DeleteUser deletes a user that has no keys and policies left.
func (s *Store) DeleteUser(ctx context.Context, account, name string) error {
	return s.commit(ctx, func() ([]kv.Op, error) {
		row, err := s.userRow(account, name)
		if err != nil {
			return nil, err
		}
		keys, err := s.cfg.Credentials.AccessKeys(account, row.Value.ID)
		if err != nil {
			return nil, err
		}
		if len(keys) > 0 {
			return nil, refuse(ErrInUse, "Cannot delete entity, must delete access keys first.")
		}
		if err := row.Value.deletable(); err != nil {
			return nil, err
		}
		return []kv.Op{s.users.Delete(row)}, nil
	})
}

// CreateAccessKey makes an access key of a user.
func (s *Store) CreateAccessKey(ctx context.Context, account, user string) (credential.AccessKey, error) {
	var made credential.AccessKey
	err := s.commit(ctx, func() ([]kv.Op, error) {
		row, err := s.userRow(account, user)
		if err != nil {
			return nil, err
		}
		keys, err := s.cfg.Credentials.AccessKeys(account, row.Value.ID)
		if err != nil {
			return nil, err
		}
		if len(keys) >= maxKeys {
			return nil, refuse(ErrLimit, "Cannot exceed quota for AccessKeysPerUser: %d", maxKeys)
		}
		if made, err = s.cfg.Credentials.NewAccessKey(account, row.Value.Name, row.Value.ID); err != nil {
			return nil, err
		}
		// The user's row is written so that neither its deletion nor another key can slip between.
		return []kv.Op{s.users.Update(row, row.Value), s.cfg.Credentials.InsertAccessKey(made)}, nil
	})
	return made, err
}

// AccessKeys are the keys of a user. Their secrets are not for answers.
func (s *Store) AccessKeys(account, user string) ([]credential.AccessKey, error) {
	row, err := s.userRow(account, user)
	if err != nil {
		return nil, err
	}
	rows, err := s.cfg.Credentials.AccessKeys(account, row.Value.ID)
	if err != nil {
		return nil, err
	}
	keys := make([]credential.AccessKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].Value
	}
	return keys, nil
}

// SetAccessKeyStatus makes a user's key credential.Active or credential.Inactive.
func (s *Store) SetAccessKeyStatus(ctx context.Context, account, user, id, status string) error {
	return s.changeKey(ctx, account, user, id, func(row kv.Row[credential.AccessKey]) kv.Op {
		return s.cfg.Credentials.SetStatus(row, status)
	})
}

// DeleteAccessKey removes a user's key.
func (s *Store) DeleteAccessKey(ctx context.Context, account, user, id string) error {
	return s.changeKey(ctx, account, user, id, s.cfg.Credentials.DeleteAccessKey)
}

func (s *Store) changeKey(ctx context.Context, account, user, id string, op func(kv.Row[credential.AccessKey]) kv.Op) error {
	return s.commit(ctx, func() ([]kv.Op, error) {
		row, err := s.userRow(account, user)
		if err != nil {
			return nil, err
		}
		keys, err := s.cfg.Credentials.AccessKeys(account, row.Value.ID)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if k.Value.ID == id {
				return []kv.Op{op(k)}, nil
			}
		}
		return nil, refuse(ErrNotFound, "The Access Key with id %s cannot be found.", id)
	})
}
