// Package statedir is the directory a region keeps everything in: made at the first start, locked
// by one server at a time, versioned, and readable by nobody else.
//
//	format       the version of this layout; a newer one is refused, never guessed
//	lock         held by the running server
//	instance     names this server's cgroups, namespaces and rules on the host
//	account      the account's 12 digits
//	keys/        keys that seal secrets and sign sessions
//	credentials  the root access key, in the format of AWS's files, profile "lambent"
//	config       the endpoint and region, likewise
//	metrics-token  who has it may read /metrics
//	ledger-id    names the ledger; a backup keeps it, other than instance
//	ballast      room on the disk that is given back last
//	etcd/ blobs/ code/ images/ layout/ ledger/ logs/ run/ runsc/
//
// A Dir is not safe for concurrent use; a server opens one before it starts anything else.
package statedir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Format is the version of the layout that this build writes.
const Format = 1

var (
	// ErrLocked is returned when another server uses the directory.
	ErrLocked = errors.New("another server uses this state directory")
	// ErrNewer is returned when a newer build wrote the directory.
	ErrNewer = errors.New("a newer Lambent wrote this state directory")
)

// Owner is the user that the credentials belong to, the one behind sudo.
type Owner struct{ UID, GID int }

// Dir is an open, locked state directory.
type Dir struct {
	Path     string
	Instance string   // 8 hex digits
	Account  string   // 12 digits
	Key      [32]byte // seals what is secret at rest and signs sessions
	lock     *os.File
	memory   string // see Memory; "" until then
}

// Open makes or opens the directory at path and locks it. account, if not empty, must be the one
// the directory has, and names a new one.
func Open(path, account string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return nil, fmt.Errorf("close the state directory to others: %w", err)
	}
	d := &Dir{Path: path}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.load(account); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Dir) load(account string) (err error) {
	if err := d.checkFormat(); err != nil {
		return err
	}
	if err := d.removeNew(); err != nil {
		return err
	}
	if d.Instance, err = d.once("instance", newInstance); err != nil {
		return err
	}
	if d.Account, err = d.once("account", func() (string, error) { return newAccount(account) }); err != nil {
		return err
	}
	if account != "" && account != d.Account {
		return fmt.Errorf("the state directory belongs to account %s, not %s", d.Account, account)
	}
	return d.loadKey()
}

// Close unlocks the directory.
func (d *Dir) Close() error {
	if d.memory != "" {
		_ = os.Remove(d.memory) // fails when something in it is still needed
	}
	return d.lock.Close()
}

// Sub makes a directory below and gives its path.
func (d *Dir) Sub(name string) (string, error) {
	p := filepath.Join(d.Path, name)
	return p, os.MkdirAll(p, 0o700)
}

// Memory makes a directory beside this one in the host's memory and gives its path: for files that
// outlive the process but need not outlive the host. It is for this directory's holder alone, and goes
// with it if it is empty then.
func (d *Dir) Memory() (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(MemoryFS, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		return "", fmt.Errorf("%s is no memory file system", MemoryFS)
	}
	p := filepath.Join(MemoryFS, "lambent-"+d.Instance)
	if err := os.Mkdir(p, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make a directory in memory: %w", err)
	}
	// Everybody may make files there: what somebody else has put in our way is not used.
	info, err := os.Lstat(p)
	if err != nil {
		return "", fmt.Errorf("make a directory in memory: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || info.Mode() != os.ModeDir|0o700 || int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is somebody else's, or open to others", p)
	}
	d.memory = p
	return p, nil
}

// MemoryFS is where every Linux has a memory file system.
const MemoryFS = "/dev/shm"

func (d *Dir) acquire() error {
	f, err := os.OpenFile(filepath.Join(d.Path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("%w: %s", ErrLocked, d.Path)
	}
	d.lock = f
	return nil
}

func (d *Dir) checkFormat() error {
	text, err := d.once("format", func() (string, error) { return strconv.Itoa(Format), nil })
	if err != nil {
		return err
	}
	switch n, err := strconv.Atoi(text); {
	case err != nil:
		return fmt.Errorf("%s/format says %q, which is no version", d.Path, text)
	case n > Format:
		return fmt.Errorf("%w: its format is %d, this build knows %d", ErrNewer, n, Format)
	}
	return nil
}

func (d *Dir) loadKey() error {
	if _, err := d.Sub("keys"); err != nil {
		return fmt.Errorf("make the keys' directory: %w", err)
	}
	text, err := d.once("keys/region", func() (string, error) {
		_, _ = rand.Read(d.Key[:]) // never fails (crypto/rand)
		return hex.EncodeToString(d.Key[:]), nil
	})
	if err != nil {
		return err
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != len(d.Key) {
		return fmt.Errorf("%s/keys/region is damaged; restore it from a backup", d.Path)
	}
	copy(d.Key[:], key)
	return nil
}

// Secret reads a random token that is kept in a file of its own, 0600; the first call makes it.
func (d *Dir) Secret(name string) (string, error) {
	token, err := d.once(name, func() (string, error) { return rand.Text(), nil })
	if err == nil && len(token) < len(rand.Text()) {
		err = fmt.Errorf("%s/%s is damaged; remove it and a new one is made", d.Path, name)
	}
	return token, err
}

// once reads a file of one line, or makes it with what value gives.
func (d *Dir) once(name string, value func() (string, error)) (string, error) {
	b, err := os.ReadFile(filepath.Join(d.Path, name))
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the state directory: %w", err)
	}
	v, err := value()
	if err != nil {
		return "", err
	}
	return v, d.Write(name, []byte(v+"\n"), Owner{UID: -1, GID: -1})
}

// newPrefix begins the names of files that Write has not finished.
const newPrefix = ".new-"

// removeNew removes what a server that was killed while it wrote left: keys may be in it.
func (d *Dir) removeNew() error {
	for _, dir := range []string{d.Path, filepath.Join(d.Path, "keys")} {
		left, err := filepath.Glob(filepath.Join(dir, newPrefix+"*"))
		if err != nil {
			return err
		}
		for _, name := range left {
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("remove a file that was not finished: %w", err)
			}
		}
	}
	return nil
}

// Write replaces a file of the directory at once, 0600, durable when it returns.
func (d *Dir) Write(name string, content []byte, owner Owner) error {
	path := filepath.Join(d.Path, name)
	f, err := os.CreateTemp(filepath.Dir(path), newPrefix+"*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if owner.UID >= 0 {
		if err := f.Chown(owner.UID, owner.GID); err != nil {
			return fmt.Errorf("give %s to user %d: %w", path, owner.UID, err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer dir.Close()
	return dir.Sync()
}

func newInstance() (string, error) {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:]), nil
}

func newAccount(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	// The first digit is not 0, so that no tool that takes it for a number shortens it.
	n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
	if err != nil {
		return "", fmt.Errorf("make an account id: %w", err)
	}
	return strconv.FormatInt(n.Int64()+100_000_000_000, 10), nil
}
