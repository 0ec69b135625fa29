// Package etcd starts the embedded engine that holds the server's state: a cluster of one that
// can grow.
//
// A write that was acknowledged is fsynced: it survives kill -9 and, as far as the disk is
// honest, a power cut. The engine listens on two unix sockets in a folder that only the server's
// user can enter and on no network port. Clients inside the process call it directly.
//
// Its database has a quota. From 60 % of it on Shed tells those to wait who can, and the history
// is given up; when the quota is reached every write is refused, until enough was deleted: the
// database is compacted and rewritten by itself, without a restart.
package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
)

// ErrStopped is returned by Run when the engine ended although nobody asked it to.
var ErrStopped = errors.New("state engine stopped")

// MaxTxnOps is how many conditions or operations one transaction may have.
const MaxTxnOps = 1024

// MaxRequestBytes is how large a transaction may be.
const MaxRequestBytes = 1536 << 10

// advertised stands where a cluster of one has no address to tell.
const advertised = "unix://member"

// memberName is this member's name within its own data folder.
const memberName = "lambent"

// Config is what Start needs; zero fields have defaults.
type Config struct {
	Dir        string        // data folder, made with mode 0700
	Tick       time.Duration // heartbeat interval; default 50 ms
	Election   time.Duration // election timeout; default 500 ms
	QuotaBytes int64         // size of the database that stops writes; default 8 GiB
	History    int64         // revisions kept for watches that fell behind; default 10,000
	Mend       time.Duration // how often the database is looked at while Run runs; default 1 s
	Logger     *slog.Logger
}

// Server is a running member. It is safe for concurrent use.
type Server struct {
	cfg    Config
	etcd   *embed.Etcd
	client *clientv3.Client
	quota  int64
	dir    *os.File // keeps the folder's short name valid for the sockets
	close  func()

	stopping atomic.Bool
}

// Usage is how full the engine's database is.
type Usage struct {
	Bytes int64 // size of the file, which never shrinks by itself
	InUse int64 // bytes of it that hold data
	Quota int64 // size at which writes are refused
}

// Start opens or makes the data folder and returns once the member serves reads and writes.
func Start(ctx context.Context, cfg Config) (s *Server, err error) {
	cfg.Tick = cmp.Or(cfg.Tick, 50*time.Millisecond)
	cfg.Election = cmp.Or(cfg.Election, 10*cfg.Tick)
	cfg.QuotaBytes = cmp.Or(cfg.QuotaBytes, 8<<30)
	cfg.History = cmp.Or(cfg.History, 10_000)
	cfg.Mend = cmp.Or(cfg.Mend, time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start state engine: %w", err)
	}
	dir, err := os.Open(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start state engine: %w", err)
	}
	s = &Server{cfg: cfg, dir: dir, quota: cfg.QuotaBytes}
	s.close = sync.OnceFunc(s.stop)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := dir.Chmod(0o700); err != nil {
		return nil, fmt.Errorf("start state engine: %w", err)
	}
	if err := checkDisk(cfg); err != nil {
		return nil, fmt.Errorf("start state engine: %w", err)
	}
	if s.etcd, err = embed.StartEtcd(s.embedded(cfg)); err != nil {
		return nil, fmt.Errorf("start state engine in %s: %w", cfg.Dir, err)
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
	case err := <-s.etcd.Err():
		return nil, fmt.Errorf("start state engine in %s: %w", cfg.Dir, cmp.Or(err, ErrStopped))
	case <-ctx.Done():
		return nil, fmt.Errorf("start state engine in %s: %w", cfg.Dir, ctx.Err())
	}
	s.client = v3client.New(s.etcd.Server)
	return s, nil
}

// embedded translates cfg to the engine's own configuration.
func (s *Server) embedded(cfg Config) *embed.Config {
	e := embed.NewConfig()
	e.Name = memberName
	e.Dir = filepath.Join(cfg.Dir, "data")
	e.TickMs = uint(cfg.Tick / time.Millisecond)
	e.ElectionMs = uint(cfg.Election / time.Millisecond)
	e.QuotaBackendBytes = cfg.QuotaBytes
	e.MaxTxnOps = MaxTxnOps
	e.MaxRequestBytes = MaxRequestBytes
	e.AutoCompactionMode = embed.CompactorModeRevision
	e.AutoCompactionRetention = strconv.FormatInt(cfg.History, 10)
	e.WatchProgressNotifyInterval = time.Second
	e.EnableGRPCGateway = false
	e.InitialCluster = memberName + "=" + advertised

	self, _ := url.Parse(advertised) // a constant
	e.AdvertisePeerUrls, e.AdvertiseClientUrls = []url.URL{*self}, []url.URL{*self}
	// The name of a unix socket has at most 107 bytes, and state folders can be deep: the folder
	// goes by its descriptor. The engine takes a peer socket's name from the host alone.
	short := fmt.Sprintf("/proc/self/fd/%d/", s.dir.Fd())
	e.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: short + "peer"}}
	e.ListenClientUrls = []url.URL{{Scheme: "unix", Host: short + "client"}}

	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(&bridge{log: cfg.Logger, stopping: &s.stopping}))
	return e
}

// Client calls the member without a network between. It lives as long as the server does.
func (s *Server) Client() *clientv3.Client { return s.client }

// Run returns when ctx ends, after the member has stopped, or with ErrStopped or the reason when
// the member stops by itself.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	defer s.background()()
	select {
	case <-ctx.Done():
		return nil
	case <-s.etcd.Server.StopNotify():
		return ErrStopped
	case err, ok := <-s.etcd.Err():
		if !ok || err == nil {
			return ErrStopped
		}
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
}

// Usage tells how full the database is.
func (s *Server) Usage() Usage {
	b := s.etcd.Server.Backend()
	return Usage{Bytes: b.Size(), InUse: b.SizeInUse(), Quota: s.quota}
}

// Close stops the member and returns when it has ended. It may be called more than once.
func (s *Server) Close() { s.close() }

func (s *Server) stop() {
	s.stopping.Store(true)
	if s.client != nil {
		s.client.Close()
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
	s.dir.Close()
}
