package network

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// threadNS is the network namespace of the calling thread.
const threadNS = "/proc/thread-self/ns/net"

// away runs fn on a thread of its own and brings the thread back to the namespace host. If that
// fails the thread is left locked, so that it ends with its goroutine and never runs code that
// believes itself on the host.
func away(host *os.File, fn func() error) error {
	var g errgroup.Group
	g.Go(func() error {
		runtime.LockOSThread()
		err := fn()
		if back := unix.Setns(int(host.Fd()), unix.CLONE_NEWNET); back != nil {
			return errors.Join(err, fmt.Errorf("return to the host's network namespace: %w", back))
		}
		runtime.UnlockOSThread()
		return err
	})
	return g.Wait()
}

// inside runs fn on a thread in namespace ns.
func inside(host, ns *os.File, fn func() error) error {
	return away(host, func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// create makes a network namespace and runs fn inside it. The namespace lives as long as the
// file that is returned, or anything else that holds it.
func create(host *os.File, fn func(ns *os.File) error) (*os.File, error) {
	var ns *os.File
	err := away(host, func() error {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		if ns, err = os.Open(threadNS); err != nil {
			return err
		}
		return fn(ns)
	})
	if err != nil && ns != nil {
		ns.Close()
		ns = nil
	}
	return ns, err
}

// bindName is the base name of the file an instance's node namespace is bound to. Sweep finds
// it among the mounts of the host, in whatever directory it is.
func bindName(instance string) string { return "lambent-net-" + instance }

// bind makes ns last at path, also when this process has died.
func bind(ns *os.File, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o400)
	if err != nil {
		return err
	}
	f.Close()
	from := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind node namespace to %s: %w", path, err)
	}
	return nil
}

// unbind takes away every mount of an instance's node namespace and the file below it.
func unbind(instance string) error {
	paths, err := mounts(bindName(instance))
	for _, path := range paths {
		if e := unix.Unmount(path, unix.MNT_DETACH); e != nil {
			err = errors.Join(err, fmt.Errorf("unmount node namespace %s: %w", path, e))
			continue
		}
		if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) && !errors.Is(e, unix.EBUSY) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// mounts are the mount points of namespaces with a given base name. One path may be there more
// than once.
func mounts(base string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var found []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || !strings.Contains(lines.Text(), " - nsfs ") {
			continue
		}
		if path := unescape.Replace(fields[4]); filepath.Base(path) == base {
			found = append(found, path)
		}
	}
	return found, nil
}
