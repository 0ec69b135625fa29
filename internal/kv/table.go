package kv

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Row is one value of a table. Rev is the revision that wrote it: the condition of Update,
// Delete and Unchanged.
type Row[T any] struct {
	Account, Key string
	Rev          int64
	Value        T
}

// Table is a set of rows by account and key, sorted by key within an account.
type Table[T any] struct {
	store *Store
	named string
	seal  *seal // nil for a table in clear

	// Guarded by store.mu. Rows are never changed in place: a reader may hold one.
	accounts map[string][]*row[T]
	changed  []func(account, key string)
}

// row is a Row or, if err is set, the place of one that cannot be decoded.
type row[T any] struct {
	Row[T]
	err error
}

// TableOption changes how a table keeps its rows.
type TableOption func(*tableOptions)

type tableOptions struct{ sealed bool }

// Sealed keeps values encrypted: AES-256-GCM under a key of the table's own, derived from the
// store's, bound to the row's full name.
func Sealed() TableOption { return func(o *tableOptions) { o.sealed = true } }

// NewTable opens a table. Its rows are there when it returns. A name can be opened once in a
// store; it must not contain a slash.
func NewTable[T any](s *Store, named string, opts ...TableOption) *Table[T] {
	if named == "" || strings.Contains(named, "/") {
		panic("kv: malformed table name " + named)
	}
	var o tableOptions
	for _, opt := range opts {
		opt(&o)
	}
	t := &Table[T]{store: s, named: named, accounts: map[string][]*row[T]{}}
	if o.sealed {
		t.seal = newSeal(s.key, named)
	}
	s.register(named, t)
	return t
}

// Get returns a row, ErrNotFound or ErrStale.
func (t *Table[T]) Get(account, key string) (Row[T], error) {
	if err := t.store.Fresh(); err != nil {
		return Row[T]{}, err
	}
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	rows := t.accounts[account]
	i, ok := find(rows, key)
	if !ok {
		return Row[T]{}, fmt.Errorf("%s %s/%s: %w", t.named, account, key, ErrNotFound)
	}
	return rows[i].Row, rows[i].err
}

// List returns the account's rows whose keys start with prefix and are greater than after, sorted
// by key; at most limit of them unless limit is 0. Rows that cannot be decoded are left out (the
// log has named them, and Get returns their error).
func (t *Table[T]) List(account, prefix, after string, limit int) ([]Row[T], error) {
	if err := t.store.Fresh(); err != nil {
		return nil, err
	}
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	rows := t.accounts[account]
	from, found := find(rows, max(prefix, after))
	if found && after >= prefix {
		from++
	}
	var out []Row[T]
	for _, r := range rows[from:] {
		if !strings.HasPrefix(r.Key, prefix) || limit > 0 && len(out) == limit {
			break
		}
		if r.err == nil {
			out = append(out, r.Row)
		}
	}
	return out, nil
}

// Each calls fn for every row, in no order of accounts: what looks at many rows and keeps few need
// not copy all. fn must be quick and not use the store, whose lock is held.
func (t *Table[T]) Each(fn func(row *Row[T])) error {
	if err := t.store.Fresh(); err != nil {
		return err
	}
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	for _, rows := range t.accounts {
		for i := range rows {
			if rows[i].err == nil {
				fn(&rows[i].Row)
			}
		}
	}
	return nil
}

// All returns the rows of every account, sorted by account and key.
func (t *Table[T]) All() ([]Row[T], error) {
	if err := t.store.Fresh(); err != nil {
		return nil, err
	}
	t.store.mu.RLock()
	defer t.store.mu.RUnlock()
	var out []Row[T]
	for _, account := range slices.Sorted(maps.Keys(t.accounts)) {
		for _, r := range t.accounts[account] {
			if r.err == nil {
				out = append(out, r.Row)
			}
		}
	}
	return out, nil
}

// Create writes a row that must not exist.
func (t *Table[T]) Create(account, key string, v T) Op {
	return t.write(account, key, v, func(full string) clientv3.Cmp {
		return clientv3.Compare(clientv3.CreateRevision(full), "=", 0)
	})
}

// Put writes a row whether it exists or not.
func (t *Table[T]) Put(account, key string, v T) Op { return t.write(account, key, v, nil) }

// Update writes a row that must still be as it was read.
func (t *Table[T]) Update(row Row[T], v T) Op {
	return t.write(row.Account, row.Key, v, func(full string) clientv3.Cmp { return at(full, row.Rev) })
}

// Delete removes a row that must still be as it was read.
func (t *Table[T]) Delete(row Row[T]) Op {
	full, err := t.name(row.Account, row.Key)
	return Op{err: err, cmps: []clientv3.Cmp{at(full, row.Rev)}, ops: []clientv3.Op{clientv3.OpDelete(full)}}
}

// Unchanged writes nothing, on the condition that a row is still as it was read.
func (t *Table[T]) Unchanged(row Row[T]) Op {
	full, err := t.name(row.Account, row.Key)
	return Op{err: err, cmps: []clientv3.Cmp{at(full, row.Rev)}}
}

// Absent writes nothing, on the condition that a row does not exist.
func (t *Table[T]) Absent(account, key string) Op {
	full, err := t.name(account, key)
	return Op{err: err, cmps: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(full), "=", 0)}}
}

// OnChange has fn called after a change of a row is in the model, for every row in the order of
// revisions, before the Txn that wrote it returns. fn must neither block nor write. A listing
// made after OnChange returns misses nothing that fn is not told of.
func (t *Table[T]) OnChange(fn func(account, key string)) {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.changed = append(t.changed, fn)
}

func at(full string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(full), "=", rev)
}

func (t *Table[T]) name(account, key string) (string, error) {
	if account == "" || key == "" || strings.Contains(account, "/") {
		return "", fmt.Errorf("%s %q/%q: %w", t.named, account, key, ErrName)
	}
	return name{t.named, account, key}.String(), nil
}

func (t *Table[T]) write(account, key string, v T, cond func(full string) clientv3.Cmp) Op {
	full, err := t.name(account, key)
	if err != nil {
		return Op{err: err}
	}
	value, err := json.Marshal(v)
	if err != nil {
		return Op{err: fmt.Errorf("encode %s: %w", full, err)}
	}
	if t.seal != nil {
		value = t.seal.close(full, value)
	}
	op := Op{ops: []clientv3.Op{clientv3.OpPut(full, string(value))}}
	if cond != nil {
		op.cmps = []clientv3.Cmp{cond(full)}
	}
	return op
}

// find returns the index of key, or where it would be.
func find[T any](rows []*row[T], key string) (int, bool) {
	return slices.BinarySearchFunc(rows, key, func(r *row[T], key string) int { return strings.Compare(r.Key, key) })
}

func (t *Table[T]) put(n name, rev int64, value []byte) {
	r := &row[T]{Row: Row[T]{Account: n.account, Key: n.key, Rev: rev}}
	if err := t.decode(n, value, &r.Value); err != nil {
		r.err = fmt.Errorf("%s: %w: %w", n, ErrCorrupt, err)
		t.store.log.Error("row cannot be decoded", "row", n.String(), "revision", rev, "err", err)
	}
	rows := t.accounts[n.account]
	i, found := find(rows, n.key)
	if found {
		rows[i] = r
		return
	}
	t.accounts[n.account] = slices.Insert(rows, i, r)
}

func (t *Table[T]) decode(n name, value []byte, v *T) error {
	if t.seal != nil {
		var err error
		if value, err = t.seal.open(n.String(), value); err != nil {
			return err
		}
	}
	return json.Unmarshal(value, v)
}

func (t *Table[T]) remove(n name) {
	rows := t.accounts[n.account]
	i, found := find(rows, n.key)
	if !found {
		return
	}
	if rows = slices.Delete(rows, i, i+1); len(rows) == 0 {
		delete(t.accounts, n.account)
		return
	}
	t.accounts[n.account] = rows
}

func (t *Table[T]) revisions(fn func(n name, rev int64)) {
	for account, rows := range t.accounts {
		for _, r := range rows {
			fn(name{t.named, account, r.Key}, r.Rev)
		}
	}
}

func (t *Table[T]) hooks() []func(account, key string) { return t.changed }
