package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/lifecycle"
)

const (
	// mendTimeout bounds one step of mending.
	mendTimeout = 30 * time.Second
	// ahead is how much room the database's file has on the disk beyond its size: it grows by
	// as much at once.
	ahead = 16 << 20
)

// mend keeps the database within its quota until ctx ends. The engine refuses every write from
// the moment its file has reached the quota, and goes on refusing after everything in it was
// deleted: the file has to be compacted and rewritten, and the alarm taken back.
func (s *Server) mend(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Mend)
	defer tick.Stop()
	m := &mender{Server: s, log: s.cfg.Logger}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.reserve()
		err := m.mendOnce(ctx)
		if err != nil && ctx.Err() == nil && !m.failing {
			m.log.Error("mend state engine", "error", err)
		}
		m.failing = err != nil
	}
}

// mender is what mending remembers.
type mender struct {
	*Server
	log       *slog.Logger
	failing   bool
	filling   bool  // the log says that the database is filling up
	compacted int64 // revision up to which history was given up
	reserved  int64 // size of the database's file when its blocks were reserved
}

// mendOnce looks how full the database is and gives back what it can.
func (m *mender) mendOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	alarmed := len(m.etcd.Server.Alarms()) > 0
	u := m.Usage()
	if alarmed || u.InUse > u.shed() {
		if err := m.compact(ctx); err != nil {
			return err
		}
		u = m.Usage()
	} else {
		m.filling = false
	}
	if !alarmed && (u.Bytes < u.shed() || u.InUse > u.Bytes/2) {
		return nil
	}
	if err := m.defragment(u); err != nil {
		return err
	}
	if after := m.Usage(); alarmed && after.Bytes < after.Quota/10*9 {
		if _, err := m.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
			return fmt.Errorf("take back the alarm: %w", err)
		}
		m.log.Info("state engine takes writes again", "bytes", after.Bytes, "quota", after.Quota)
	}
	return nil
}

// shed is from where on whoever can wait is told to: 60 % of the quota.
func (u Usage) shed() int64 { return u.Quota / 10 * 6 }

// Shed reports whether so much of the quota is used that what can wait has to, such as events,
// long before the engine itself refuses every write.
func (s *Server) Shed() bool {
	u := s.Usage()
	return u.InUse > u.shed()
}

// compact gives up the whole history. Watches that fell behind load again.
func (m *mender) compact(ctx context.Context) error {
	rev := m.etcd.Server.KV().Rev()
	if rev <= m.compacted {
		return nil
	}
	if !m.filling {
		m.log.Warn("state engine is filling up: its history is given up", "in use", m.Usage().InUse, "quota", m.quota)
	}
	m.filling = true
	if _, err := m.client.Compact(ctx, rev, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	m.compacted = rev
	m.etcd.Server.Backend().ForceCommit() // or the pages do not count as free yet
	return nil
}

// defragment rewrites the database's file, if there is room for a second one. Nobody reads or
// writes meanwhile.
func (m *mender) defragment(u Usage) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(m.cfg.Dir, &disk); err != nil {
		return fmt.Errorf("look for free space: %w", err)
	}
	if free := int64(disk.Bavail) * disk.Bsize; free < u.InUse+ahead {
		return fmt.Errorf("rewrite the database: %w: %d bytes are free, %d are needed", unix.ENOSPC, free, u.InUse+ahead)
	}
	began := time.Now()
	if err := m.etcd.Server.Defragment(); err != nil {
		return fmt.Errorf("rewrite the database: %w", err)
	}
	m.reserved = 0
	m.log.Info("state engine was rewritten", "before", u.Bytes, "after", m.Usage().Bytes, "took", time.Since(began))
	return nil
}

// reserve takes the blocks that the database's file needs to be written anywhere, and to grow
// once: the file has holes, and the process ends when one cannot be filled since others have
// taken all the room of the disk. A file system that cannot do this goes without.
func (m *mender) reserve() {
	f, err := os.OpenFile(filepath.Join(m.cfg.Dir, "data", "member", "snap", "db"), os.O_RDWR, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			m.log.Debug("room of the database is not reserved", "error", err)
		}
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == m.reserved {
		return
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, info.Size()+ahead); err != nil {
		m.log.Debug("room of the database is not reserved", "error", err)
		return
	}
	m.reserved = info.Size()
}

// background runs what the member needs beside itself until stop is called.
func (s *Server) background() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	(&mender{Server: s, log: s.cfg.Logger}).reserve()
	wait := lifecycle.Go("etcd mend", func() { s.mend(ctx) })
	return func() {
		cancel()
		wait()
	}
}
