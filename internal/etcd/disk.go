package etcd

import (
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Every acknowledged write waits for one fsync. One that is faster than any disk has not reached
// it, and one that is slower than slowFsync makes everything slow.
const (
	liarFsync = 50 * time.Microsecond
	slowFsync = 20 * time.Millisecond
)

// Fsync measures what one durable write of a few hundred bytes costs in dir: the median of five.
func Fsync(dir string) (time.Duration, error) {
	f, err := os.OpenFile(filepath.Join(dir, "fsync.tmp"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	record := make([]byte, 512)
	took := make([]time.Duration, 5)
	for i := range took {
		began := time.Now()
		if _, err := f.Write(record); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// checkDisk warns of a disk that cannot keep the engine's promises, or keeps them slowly.
func checkDisk(cfg Config) error {
	took, err := Fsync(cfg.Dir)
	if err != nil {
		return err
	}
	switch {
	case took < liarFsync:
		cfg.Logger.Warn("fsync is faster than a disk: a power cut may lose acknowledged writes", "dir", cfg.Dir, "fsync", took)
	case took > slowFsync:
		cfg.Logger.Warn("fsync is slow: every write waits for it", "dir", cfg.Dir, "fsync", took)
	}
	return nil
}
