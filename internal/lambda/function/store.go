package function

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/kv"
)

var (
	// ErrNotFound is returned for a function or version that does not exist.
	ErrNotFound = errors.New("function not found")
	// ErrExists is returned by Create for a name that is taken.
	ErrExists = errors.New("function exists")
	// ErrPending is returned for a change to a function that is not Active yet.
	ErrPending = errors.New("function is pending")
	// ErrUpdating is returned for a change to a function whose last change is being made ready.
	ErrUpdating = errors.New("function is being updated")
	// ErrRevision is returned when a change names another revision than the current one.
	ErrRevision = errors.New("revision does not match")
	// ErrStorage is returned when the account's deployment packages would exceed its limit.
	ErrStorage = errors.New("code storage exceeded")
	// ErrRole is returned when a function's role is gone or does not let Lambda assume it.
	ErrRole = errors.New("role cannot be assumed")
	// ErrTags is returned for more tags than a function may have.
	ErrTags = errors.New("too many tags")
)

const (
	// MaxTags is how many tags a function may have.
	MaxTags = 50
	// CodeStorage is how many bytes of deployment packages an account may have.
	CodeStorage = 75 << 30
)

// Config is what a Store needs.
type Config struct {
	KV     *kv.Store
	Region string
	// Prepare makes a function's code and runtime image ready to be mounted and names the image.
	Prepare func(ctx context.Context, f Function) (Image, error)
	// Deleting is what is deleted together with a function, in one transaction; nil means nothing.
	Deleting func(f Function) kv.Op
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now
}

// Store keeps functions.
type Store struct {
	cfg   Config
	table *kv.Table[record]
	wake  chan struct{} // something may need making ready
}

// record is a stored function. While an update is made ready, Serving is what runs.
type record struct {
	Function Function
	Serving  *Function `json:",omitempty"`
}

// New returns the store of functions in cfg.KV. The table is sealed: it has their environments.
func New(cfg Config) *Store {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{cfg: cfg, table: kv.NewTable[record](cfg.KV, "function", kv.Sealed()), wake: make(chan struct{}, 1)}
	s.table.OnChange(func(string, string) { s.poke() })
	return s
}

// OnChange calls fn after a function changed or went, in order; fn must not block.
func (s *Store) OnChange(fn func(account, name string)) { s.table.OnChange(fn) }

// Get is a function as it is described.
func (s *Store) Get(account, name string) (Function, error) {
	row, err := s.row(account, name)
	return row.Value.Function, err
}

// Serving is a function as it runs: during an update, what was before.
func (s *Store) Serving(account, name string) (Function, error) {
	row, err := s.row(account, name)
	if err == nil && row.Value.Serving != nil {
		return *row.Value.Serving, nil
	}
	return row.Value.Function, err
}

// List gives up to limit functions whose names follow after, in order, and whether there are more.
func (s *Store) List(account, after string, limit int) (page []Function, more bool, err error) {
	rows, err := s.table.List(account, "", after, limit+1)
	if err != nil {
		return nil, false, err
	}
	if len(rows) > limit {
		rows, more = rows[:limit], true
	}
	for _, r := range rows {
		page = append(page, r.Value.Function)
	}
	return page, more, nil
}

// Usage is how many functions an account has and how many bytes their packages are.
func (s *Store) Usage(account string) (functions int, bytes int64, err error) {
	rows, err := s.table.List(account, "", "", 0)
	for _, r := range rows {
		bytes += r.Value.Function.Code.Size
	}
	return len(rows), bytes, err
}

// Uses tells which packages any function needs, for sweeping those that none does.
func (s *Store) Uses() (func(blob.Digest) bool, error) {
	rows, err := s.table.All()
	if err != nil {
		return nil, err
	}
	used := map[blob.Digest]bool{}
	for _, r := range rows {
		used[r.Value.Function.Code.Digest] = true
		if r.Value.Serving != nil {
			used[r.Value.Serving.Code.Digest] = true
		}
	}
	return func(d blob.Digest) bool { return used[d] }, nil
}

// Create stores a new function, Pending.
func (s *Store) Create(ctx context.Context, f Function) (Function, error) {
	if len(f.Tags) > MaxTags {
		return Function{}, ErrTags
	}
	if err := s.fits(f.Account, f.Name, f.Code.Size); err != nil {
		return Function{}, err
	}
	f.Region, f.Version, f.LogGroup = s.cfg.Region, Latest, "/aws/lambda/"+f.Name
	f.State, f.StateReason, f.StateReasonCode = Pending, "The function is being created.", "Creating"
	f.ID = uuid.NewString()
	s.touch(&f)
	_, err := s.cfg.KV.Txn(ctx, s.table.Create(f.Account, f.Name, record{Function: f}))
	if errors.Is(err, kv.ErrConflict) {
		return Function{}, ErrExists
	}
	return f, err
}

// UpdateCode gives a function another package and architecture. revision, if not empty, must be
// the current one.
func (s *Store) UpdateCode(ctx context.Context, account, name, revision string, code Code, architecture string) (Function, error) {
	if err := s.fits(account, name, code.Size); err != nil {
		return Function{}, err
	}
	return s.update(ctx, account, name, revision, func(f *Function) error {
		f.Code, f.Architecture = code, cmp.Or(architecture, f.Architecture)
		return nil
	})
}

// UpdateSettings changes a function's configuration by edit, which may refuse.
func (s *Store) UpdateSettings(ctx context.Context, account, name, revision string, edit func(*Settings) error) (Function, error) {
	return s.update(ctx, account, name, revision, func(f *Function) error {
		f.Environment = maps.Clone(f.Environment)
		return edit(&f.Settings)
	})
}

// update makes a change that needs making ready before it serves.
func (s *Store) update(ctx context.Context, account, name, revision string, edit func(*Function) error) (Function, error) {
	return s.change(ctx, account, name, revision, func(r *record) error {
		serving := r.Function
		if r.Serving != nil {
			serving = *r.Serving // the last update failed: the code before it still serves
		}
		if err := edit(&r.Function); err != nil {
			return err
		}
		r.Serving = &serving
		f := &r.Function
		f.LastUpdateStatus, f.LastUpdateStatusReason, f.LastUpdateStatusReasonCode = InProgress, "The function is being created.", "Creating"
		f.Image = Image{}
		s.touch(f)
		return nil
	})
}

// Tag sets and removes tags.
func (s *Store) Tag(ctx context.Context, account, name string, set map[string]string, remove []string) error {
	_, err := s.change(ctx, account, name, "", func(r *record) error {
		tags := maps.Clone(r.Function.Tags)
		if tags == nil {
			tags = map[string]string{}
		}
		maps.Copy(tags, set)
		for _, k := range remove {
			delete(tags, k)
		}
		if len(tags) > MaxTags {
			return ErrTags
		}
		r.Function.Tags = tags
		return nil
	})
	return err
}

// SetRecursiveLoop says what becomes of invocations of a function that go round in a circle.
func (s *Store) SetRecursiveLoop(ctx context.Context, account, name, loop string) error {
	_, err := s.change(ctx, account, name, "", func(r *record) error {
		r.Function.RecursiveLoop = loop
		if r.Serving != nil {
			serving := *r.Serving
			serving.RecursiveLoop = loop
			r.Serving = &serving
		}
		return nil
	})
	return err
}

// Delete removes a function and what Config.Deleting names. Its environments follow by OnChange.
func (s *Store) Delete(ctx context.Context, account, name string) error {
	for {
		row, err := s.row(account, name)
		if err != nil {
			return err
		}
		ops := []kv.Op{s.table.Delete(row)}
		if s.cfg.Deleting != nil {
			ops = append(ops, s.cfg.Deleting(row.Value.Function))
		}
		if _, err = s.cfg.KV.Txn(ctx, ops...); !errors.Is(err, kv.ErrConflict) {
			return err
		}
	}
}

// change edits a function that is neither Pending nor being updated, again if somebody else was
// faster.
func (s *Store) change(ctx context.Context, account, name, revision string, edit func(*record) error) (Function, error) {
	for {
		row, err := s.row(account, name)
		if err != nil {
			return Function{}, err
		}
		r := row.Value
		switch {
		case revision != "" && revision != r.Function.RevisionID:
			return Function{}, ErrRevision
		case r.Function.State == Pending:
			return Function{}, ErrPending
		case r.Function.Updating():
			return Function{}, ErrUpdating
		}
		if err := edit(&r); err != nil {
			return Function{}, err
		}
		_, err = s.cfg.KV.Txn(ctx, s.table.Update(row, r))
		if !errors.Is(err, kv.ErrConflict) {
			return r.Function, err
		}
	}
}

// touch marks a mutation.
func (s *Store) touch(f *Function) {
	f.RevisionID = newRevision()
	f.LastModified = s.cfg.Now().UTC().Truncate(time.Millisecond)
}

func newRevision() string { return uuid.NewString() }

// fits tells whether the account has room for a package of a function, which takes the place of
// the one it has. Creations at the same time may exceed the limit by what they bring: it guards
// the disk, not a promise.
func (s *Store) fits(account, name string, size int64) error {
	err := s.table.Each(func(r *kv.Row[record]) {
		if r.Account == account && r.Key != name {
			size += r.Value.Function.Code.Size
		}
	})
	if err != nil {
		return err
	}
	if size > CodeStorage {
		return ErrStorage
	}
	return nil
}

func (s *Store) row(account, name string) (kv.Row[record], error) {
	row, err := s.table.Get(account, name)
	if errors.Is(err, kv.ErrNotFound) {
		return row, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	return row, err
}
