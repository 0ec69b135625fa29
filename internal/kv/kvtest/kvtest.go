// Package kvtest gives tests a real store: an embedded engine in a temporary folder, up within a
// few hundred milliseconds and gone with the test.
package kvtest

import (
	"crypto/sha256"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/etcd"
	"lambent.dev/lambent/internal/kv"
)

// Key seals the tables of test stores.
var Key = sha256.Sum256([]byte("test"))

// Open returns a new, empty store.
func Open(t testing.TB) *kv.Store {
	t.Helper()
	s, _, _ := Start(t, t.TempDir())
	return s
}

// Start opens the store in dir, with a client for what is not a table. close ends both, for tests
// that open the same folder again; it is called at the end of the test anyway.
func Start(t testing.TB, dir string) (s *kv.Store, client *clientv3.Client, close func()) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	// Short ticks elect the only member sooner.
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Tick: 10 * time.Millisecond, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s, err = kv.Open(t.Context(), kv.Config{Client: server.Client(), Key: Key, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, server.Client(), func() { s.Close(); server.Close() }
}
