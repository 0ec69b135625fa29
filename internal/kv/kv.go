// Package kv is the server's configuration state: typed tables over etcd, read from memory.
//
// Rows live under /c/<table>/<account>/<key>. One watch over /c/ keeps a model of all rows in
// memory and applies it revision by revision, so that a reader never sees half a transaction of
// one revision. Get, List and All answer from the model and never leave the process. Txn writes
// all or nothing, under conditions on revisions, and returns once the model has caught up with
// it: whoever wrote sees the write. Decisions belong into conditions, never into a read followed
// by a write.
//
// A model that made no progress for five seconds answers ErrStale rather than old rows. When the
// watch falls behind the engine's history the rows are listed again and the difference applied.
//
// Everything is safe for concurrent use. Values handed out are shared: treat them as immutable.
package kv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/lifecycle"
)

var (
	// ErrNotFound is returned by Get for a row that does not exist.
	ErrNotFound = errors.New("row not found")
	// ErrConflict is returned by Txn when a condition did not hold; nothing was written.
	ErrConflict = errors.New("condition does not hold")
	// ErrStale is returned when the model in memory may be old.
	ErrStale = errors.New("state is stale")
	// ErrFull is returned when the engine's database has reached its quota.
	ErrFull = errors.New("state engine is full")
	// ErrTooLarge is returned for a transaction that is larger than the engine takes.
	ErrTooLarge = errors.New("transaction too large")
	// ErrCorrupt is returned for a row that cannot be opened or decoded.
	ErrCorrupt = errors.New("row cannot be decoded")
	// ErrKey is returned by Open when the key is not the one the state was sealed with.
	ErrKey = errors.New("wrong key for sealed state")
	// ErrName is returned for a table, account or key that does not fit the layout.
	ErrName = errors.New("malformed row name")
)

// prefix is where all tables live; the watch covers it.
const prefix = "/c/"

// staleAfter is how long the model may go without progress. The engine notifies an idle watch
// every second.
const staleAfter = 5 * time.Second

// Config is what Open needs.
type Config struct {
	Client *clientv3.Client
	Key    [32]byte // seals the values of sealed tables
	// Full says that the disk has no room at all: then no transaction is tried, since the engine
	// ends the process when it cannot write. Nil means never.
	Full   func() bool
	Logger *slog.Logger
}

// Store is the set of tables and their model in memory.
type Store struct {
	client *clientv3.Client
	log    *slog.Logger
	key    [32]byte
	full   func() bool
	now    func() time.Time
	begun  time.Time
	close  func()

	progress atomic.Int64 // when the watch last made progress, as nanoseconds after begun

	mu        sync.RWMutex // guards what follows and the rows of every table
	rev       int64        // revision the model shows
	tables    map[string]table
	unclaimed map[string]map[string]rawRow // rows of tables that nobody has asked for, by table and full key

	waitMu    sync.Mutex // guards what follows
	announced int64      // revision up to which hooks have run
	waiters   map[*waiter]struct{}
}

// table is a Table of any type, as the watch sees it. All methods are called with Store.mu held.
type table interface {
	put(n name, rev int64, value []byte)
	remove(n name)
	revisions(fn func(n name, rev int64))
	hooks() []func(account, key string)
}

// name is where a row is.
type name struct{ table, account, key string }

func (n name) String() string { return prefix + n.table + "/" + n.account + "/" + n.key }

// parse is the inverse of String.
func parse(full string) (name, bool) {
	rest, ok := strings.CutPrefix(full, prefix)
	if !ok {
		return name{}, false
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 3 {
		return name{}, false
	}
	return name{parts[0], parts[1], parts[2]}, true
}

type rawRow struct {
	rev   int64
	value []byte
}

type waiter struct {
	rev  int64
	done chan struct{}
}

// Open loads the model and starts to watch. The store lives until Run returns or Close is called;
// ctx bounds the opening only.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{
		full:   cfg.Full,
		client: cfg.Client, key: cfg.Key, now: time.Now, begun: time.Now(),
		log:       cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		tables:    map[string]table{},
		unclaimed: map[string]map[string]rawRow{},
		waiters:   map[*waiter]struct{}{},
	}
	if err := s.checkKey(ctx); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if err := s.relist(ctx); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	own, cancel := context.WithCancel(context.Background())
	wait := lifecycle.Go("kv watch", func() { s.watch(own) })
	s.close = sync.OnceFunc(func() { cancel(); wait() })
	return s, nil
}

// Run returns when ctx ends, after the watch has ended.
func (s *Store) Run(ctx context.Context) error {
	<-ctx.Done()
	s.Close()
	return nil
}

// Close ends the watch. Reads go on until the model is stale. It may be called more than once.
func (s *Store) Close() { s.close() }

// Fresh returns ErrStale when the model has made no progress for five seconds. An idle engine
// makes progress: it says every second that nothing has changed.
func (s *Store) Fresh() error {
	idle := s.now().Sub(s.begun) - time.Duration(s.progress.Load())
	if idle > staleAfter {
		return fmt.Errorf("%w: no progress for %v", ErrStale, idle.Round(time.Millisecond))
	}
	return nil
}

// Revision is the revision the model shows.
func (s *Store) Revision() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rev
}

// register adds a table and hands it the rows that were loaded before anyone asked for them.
func (s *Store) register(named string, t table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, dup := s.tables[named]; dup {
		panic("kv: table " + named + " is opened twice")
	}
	s.tables[named] = t
	rows := s.unclaimed[named]
	delete(s.unclaimed, named)
	for _, full := range sortedKeys(rows) {
		if n, ok := parse(full); ok {
			t.put(n, rows[full].rev, rows[full].value)
		}
	}
}
