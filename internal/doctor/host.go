package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// capabilities a server needs, and what for.
var capabilities = []struct {
	bit    uint
	name   string
	status Status
	why    string
}{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", Fail, "make namespaces and mounts"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", Fail, "make networks and rules"},
	{unix.CAP_NET_RAW, "CAP_NET_RAW", Fail, "give sandboxes their packets"},
	{unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT", Fail, "shut sandboxes in"},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", Fail, "run sandboxes"},
	{unix.CAP_SETUID, "CAP_SETUID", Fail, "run sandboxes as nobody"},
	{unix.CAP_SETGID, "CAP_SETGID", Fail, "run sandboxes as nobody"},
	{unix.CAP_KILL, "CAP_KILL", Fail, "end sandboxes"},
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", Fail, "write control groups and files of sandboxes"},
	{unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE", Warn, "keep the kernel from choosing the server when memory is short"},
}

// effective is the set of capabilities this process has, as the kernel writes it.
func effective() (uint64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if hex, is := strings.CutPrefix(lines.Text(), "CapEff:"); is {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.New("no CapEff in /proc/self/status")
}

// privileges has one finding for each capability that is missing.
func privileges(set uint64, err error) []Finding {
	const name = "privileges"
	if err != nil {
		return []Finding{bad(name, Fail, err, "mount -t proc proc /proc")}
	}
	var out []Finding
	for _, c := range capabilities {
		if set&(1<<c.bit) == 0 {
			err := fmt.Errorf("%s is missing: needed to %s", c.name, c.why)
			out = append(out, bad(name, c.status, err, "run as root (sudo lambent serve; in a container: --privileged)"))
		}
	}
	if out == nil {
		return []Finding{ok(name, "every capability that is needed")}
	}
	return out
}

// oldest is the first kernel whose nftables have all that the rules use.
var oldest = [2]int{5, 10}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func kernel(release string) Finding {
	const name = "kernel"
	var v [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &v[0], &v[1]); err != nil {
		return Finding{name, Warn, fmt.Sprintf("cannot tell the version of %q", release), "uname -r"}
	}
	if slices.Compare(v[:], oldest[:]) < 0 {
		return Finding{name, Fail, fmt.Sprintf("Linux %s is older than %d.%d", release, oldest[0], oldest[1]), "apt-get install linux-image-amd64 && reboot  # or your distribution's newer kernel"}
	}
	return ok(name, "Linux %s", release)
}

// Limits of what is enough.
const (
	leastDisk   = 1 << 30 // the server refuses new data below it
	littleDisk  = 10 << 30
	fastestSync = 50 * time.Microsecond // below it nothing can have reached a disk
	slowestSync = 20 * time.Millisecond
	leastMemory = 512 << 20
	leastShared = 16 << 20
	fewFiles    = 65536
)

// stateDir looks at the disk under the state directory, or under the nearest directory that
// exists if it is still to be made.
func stateDir(dir string) []Finding {
	const name = "state directory"
	at := dir
	for {
		if info, err := os.Stat(at); err == nil && info.IsDir() {
			break
		}
		if parent := filepath.Dir(at); parent != at {
			at = parent
			continue
		}
		return []Finding{bad(name, Fail, fmt.Errorf("no directory on the way to %q", dir), "mkdir -p -m 700 "+dir)}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(at, &fs); err != nil {
		return []Finding{bad(name, Fail, err, "mkdir -p -m 700 "+dir)}
	}
	out := []Finding{space(dir, uint64(fs.Bsize)*fs.Bavail, uint64(fs.Bsize)*fs.Blocks)}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		out = append(out, Finding{name, Warn, dir + " is in memory: a restart of the machine loses everything", "lambent serve --state-dir /var/lib/lambent"})
	}
	took, err := syncTime(at)
	if err != nil {
		return append(out, bad(name, Fail, err, "mkdir -p -m 700 "+dir+" && mount -o remount,rw $(findmnt -no TARGET -T "+dir+")"))
	}
	return append(out, syncs(dir, took))
}

func space(dir string, free, all uint64) Finding {
	const name = "disk space"
	detail := fmt.Sprintf("%.1f GiB free at %s", float64(free)/(1<<30), dir)
	fix := "df -h " + dir + " && lambent serve --state-dir DIR_ON_A_LARGER_DISK"
	switch {
	case free < leastDisk || free < all/20:
		return Finding{name, Fail, detail + ": the server keeps 5 % or 1 GiB free and would refuse new code and events", fix}
	case free < littleDisk:
		return Finding{name, Warn, detail + ": images and logs need more", fix}
	}
	return ok(name, "%s", detail)
}

// syncTime is the median time of a write that is to last.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".lambent-doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var times []time.Duration
	block := make([]byte, 4096)
	for range 9 {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

func syncs(dir string, took time.Duration) Finding {
	const name = "disk sync"
	switch {
	case took < fastestSync:
		return Finding{name, Warn, fmt.Sprintf("%v for a durable write at %s: this disk does not wait for its data, a power cut may lose what was acknowledged", took, dir), "findmnt -no OPTIONS,FSTYPE -T " + dir + "  # look for nobarrier, tmpfs, or a virtual disk with an unsafe cache"}
	case took > slowestSync:
		return Finding{name, Warn, fmt.Sprintf("%v for a durable write at %s: every change waits that long", took.Round(time.Millisecond), dir), "lambent serve --state-dir DIR_ON_A_FASTER_DISK"}
	}
	return ok(name, "%v for a durable write", took.Round(10*time.Microsecond))
}

// sharedMemory looks at where records wait for the disk.
func sharedMemory(dir string) Finding {
	const name = "shared memory"
	const without = "records are written to the disk one by one, so invocations wait for a busy one"
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	free := fs.Bavail * uint64(fs.Bsize)
	switch {
	case err != nil || fs.Type != unix.TMPFS_MAGIC:
		return Finding{name, Warn, dir + " is no memory file system: " + without, "mkdir -p " + dir + " && mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs " + dir}
	case free < leastShared:
		return Finding{name, Warn, fmt.Sprintf("%d MiB free at %s: %s", free>>20, dir, without), "du -ah " + dir + " | sort -h | tail"}
	}
	return ok(name, "%s has room", dir)
}

// memory reads a file like /proc/meminfo.
func memory(path string) Finding {
	const name = "memory"
	b, err := os.ReadFile(path)
	if err != nil {
		return bad(name, Warn, err, "mount -t proc proc /proc")
	}
	for line := range strings.Lines(string(b)) {
		var kib uint64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n != 1 {
			continue
		}
		detail := fmt.Sprintf("%.1f GiB available", float64(kib)/(1<<20))
		if kib<<10 < leastMemory {
			return Finding{name, Warn, detail + ": few environments fit", "ps -eo rss,comm --sort=-rss | head"}
		}
		return ok(name, "%s", detail)
	}
	return bad(name, Warn, fmt.Errorf("no MemAvailable in %s", path), "cat "+path)
}

// descriptors looks at the limit of open files: each environment takes about ten.
func descriptors() Finding {
	const name = "open files"
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return bad(name, Warn, err, "ulimit -Hn")
	}
	if limit.Max < fewFiles {
		return Finding{name, Warn, fmt.Sprintf("at most %d: enough for about %d environments", limit.Max, limit.Max/16), "ulimit -Hn 1048576  # or LimitNOFILE=1048576 in the systemd unit"}
	}
	return ok(name, "at most %d", limit.Max)
}

// port tries the region's port, unless a server holds the state directory: then the port is its.
func port(cfg Config) Finding {
	const name = "port"
	l, err := net.Listen("tcp", cfg.Listen)
	if err == nil {
		l.Close()
		return ok(name, "%s is free", cfg.Listen)
	}
	if running(cfg.StateDir) && errors.Is(err, unix.EADDRINUSE) {
		return ok(name, "%s is in use, and a server runs on %s", cfg.Listen, cfg.StateDir)
	}
	fix := "lambent serve --listen 127.0.0.1:4567"
	if _, number, e := net.SplitHostPort(cfg.Listen); e == nil && errors.Is(err, unix.EADDRINUSE) {
		fix = "ss -ltnp 'sport = :" + number + "'  # who has it; or " + fix
	}
	return bad(name, Fail, err, fix)
}

// running says whether a server holds the lock of a state directory.
func running(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func runtimes(ctx context.Context, list func(context.Context) ([]string, error)) []Finding {
	const name = "runtimes"
	if list == nil {
		return nil
	}
	ids, err := list(ctx)
	if err != nil {
		return []Finding{bad(name, Fail, err, "lambent runtimes build")}
	}
	if len(ids) == 0 {
		return []Finding{{name, Warn, "no managed runtime has an image on this machine", "lambent runtimes build"}}
	}
	return []Finding{ok(name, "%s", strings.Join(ids, ", "))}
}
