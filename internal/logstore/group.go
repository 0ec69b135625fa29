package logstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"lambent.dev/lambent/internal/kv"
)

// Group is a set of streams with a retention.
type Group struct {
	Account, Name string
	Created       time.Time
	Retention     int // days; 0 = events never expire
	Tags          map[string]string
	Protected     bool  // DeleteGroup refuses
	Bytes         int64 // of the events, as AWS counts them
}

// groupRow is a group in the state. Its ID is never used again: streams belong to it, not to the
// name.
type groupRow struct {
	ID        string
	Created   int64             // Unix milliseconds
	Retention int               `json:",omitempty"`
	Tags      map[string]string `json:",omitempty"`
	Protected bool              `json:",omitempty"`
}

type groupKey struct{ account, name string }

// CreateGroup makes a group, of which Account, Name, Tags and Protected are used.
func (s *Store) CreateGroup(ctx context.Context, g Group) error {
	if len(g.Tags) > MaxTags {
		return ErrTooManyTags
	}
	if err := s.space(); err != nil {
		return fmt.Errorf("create log group %s: %w", g.Name, err)
	}
	row := groupRow{ID: rand.Text(), Created: s.cfg.Now().UnixMilli(), Tags: g.Tags, Protected: g.Protected}
	_, err := s.cfg.KV.Txn(ctx, s.groups.Create(g.Account, g.Name, row))
	if errors.Is(err, kv.ErrConflict) {
		return fmt.Errorf("create log group %s: %w", g.Name, ErrGroupExists)
	}
	if err != nil {
		return fmt.Errorf("create log group %s: %w", g.Name, err)
	}
	return nil
}

// Group returns a group.
func (s *Store) Group(account, name string) (Group, error) {
	row, err := s.group(account, name)
	if err != nil {
		return Group{}, err
	}
	return s.shown(row), nil
}

// Groups returns the account's groups whose names follow after, start with prefix and contain
// part, sorted by name; at most limit of them.
func (s *Store) Groups(account, prefix, part, after string, limit int) ([]Group, error) {
	rows, err := s.groups.List(account, prefix, after, 0)
	if err != nil {
		return nil, fmt.Errorf("list log groups: %w", err)
	}
	var out []Group
	for _, row := range rows {
		if len(out) == limit {
			break
		}
		if strings.Contains(row.Key, part) {
			out = append(out, s.shown(row))
		}
	}
	return out, nil
}

// DeleteGroup removes a group with its streams and events.
func (s *Store) DeleteGroup(ctx context.Context, account, name string) error {
	return s.change(ctx, account, name, func(row kv.Row[groupRow]) (kv.Op, error) {
		if row.Value.Protected {
			return kv.Op{}, ErrGroupProtected
		}
		return s.groups.Delete(row), nil
	})
}

// SetRetention has the events of a group expire after a number of days, or never (0).
func (s *Store) SetRetention(ctx context.Context, account, name string, days int) error {
	return s.update(ctx, account, name, func(g *groupRow) error {
		g.Retention = days
		return nil
	})
}

// Protect has DeleteGroup refuse a group, or not.
func (s *Store) Protect(ctx context.Context, account, name string, protected bool) error {
	return s.update(ctx, account, name, func(g *groupRow) error {
		g.Protected = protected
		return nil
	})
}

// Tag adds tags to a group, or changes their values.
func (s *Store) Tag(ctx context.Context, account, name string, tags map[string]string) error {
	return s.update(ctx, account, name, func(g *groupRow) error {
		all := maps.Clone(g.Tags)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, tags)
		if g.Tags = all; len(all) > MaxTags {
			return ErrTooManyTags
		}
		return nil
	})
}

// Untag removes tags from a group. Those that it does not have are ignored.
func (s *Store) Untag(ctx context.Context, account, name string, keys []string) error {
	return s.update(ctx, account, name, func(g *groupRow) error {
		g.Tags = maps.Clone(g.Tags)
		for _, k := range keys {
			delete(g.Tags, k)
		}
		return nil
	})
}

func (s *Store) update(ctx context.Context, account, name string, fn func(*groupRow) error) error {
	return s.change(ctx, account, name, func(row kv.Row[groupRow]) (kv.Op, error) {
		v := row.Value
		if err := fn(&v); err != nil {
			return kv.Op{}, err
		}
		return s.groups.Update(row, v), nil
	})
}

// change writes a group that others may write at the same time.
func (s *Store) change(ctx context.Context, account, name string, fn func(kv.Row[groupRow]) (kv.Op, error)) error {
	for {
		row, err := s.group(account, name)
		if err != nil {
			return err
		}
		op, err := fn(row)
		if err != nil {
			return fmt.Errorf("change log group %s: %w", name, err)
		}
		_, err = s.cfg.KV.Txn(ctx, op)
		if errors.Is(err, kv.ErrConflict) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("change log group %s: %w", name, err)
		}
		return nil
	}
}

func (s *Store) group(account, name string) (kv.Row[groupRow], error) {
	row, err := s.groups.Get(account, name)
	if errors.Is(err, kv.ErrNotFound) {
		return row, fmt.Errorf("log group %s: %w", name, ErrGroupNotFound)
	}
	return row, err
}

// ensureGroup returns a group, which it makes if there is none.
func (s *Store) ensureGroup(ctx context.Context, account, name string) (groupRow, error) {
	for {
		row, err := s.group(account, name)
		if !errors.Is(err, ErrGroupNotFound) {
			return row.Value, err
		}
		if err := s.CreateGroup(ctx, Group{Account: account, Name: name}); err != nil && !errors.Is(err, ErrGroupExists) {
			return groupRow{}, err
		}
	}
}

func (s *Store) shown(row kv.Row[groupRow]) Group {
	g := Group{
		Account: row.Account, Name: row.Key, Created: time.UnixMilli(row.Value.Created),
		Retention: row.Value.Retention, Tags: row.Value.Tags, Protected: row.Value.Protected,
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, st := range s.byGroup[groupKey{row.Account, row.Key}] {
		g.Bytes += st.stored
	}
	return g
}

// cutoff is the time before which a group's events have expired.
func (s *Store) cutoff(g groupRow) int64 {
	if g.Retention == 0 {
		return minTime
	}
	return s.cfg.Now().AddDate(0, 0, -g.Retention).UnixMilli()
}

// groupChanged forgets the streams of a group that was deleted. It runs before DeleteGroup
// returns.
func (s *Store) groupChanged(account, name string) {
	row, err := s.groups.Get(account, name)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return // stale or unreadable, which is no deletion; Sweep looks again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.byGroup[groupKey{account, name}] {
		if st.groupID != row.Value.ID {
			s.forget(st)
		}
	}
}
