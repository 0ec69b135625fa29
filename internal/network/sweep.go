package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// lockPath is the lock under which instances change what they share: the choice of a subnet and
// the forwarding switches of the host's interfaces.
const lockPath = "/run/lambent-network.lock"

// lockRetry is how often a taken lock is tried again. It is held for some ten milliseconds.
const lockRetry = 5 * time.Millisecond

var instanceName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

func checkInstance(instance string) error {
	if !instanceName.MatchString(instance) {
		return fmt.Errorf("instance %q is not 1 to 40 of a-z, 0-9 and -", instance)
	}
	return nil
}

// lockHost takes the lock, or ends with ctx.
func lockHost(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(lockPath, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", lockPath, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", lockPath, ctx.Err())
		}
	}
}

// Sweep removes everything that earlier runs of an instance left on this host, and nothing of
// another instance. It is idempotent.
func Sweep(ctx context.Context, instance string) error {
	if err := checkInstance(instance); err != nil {
		return err
	}
	unlock, err := lockHost(ctx)
	if err != nil {
		return fmt.Errorf("sweep network of %s: %w", instance, err)
	}
	defer unlock()
	return sweep(instance)
}

// sweep goes on after an error: each step that succeeds is one thing less that is left. The
// caller holds the host's lock.
//
// The sandboxes' veths are in the node namespace and end with it. Should something else hold
// that namespace (a process that copied our mounts), what is in it has lost its way out with the
// link that is removed here.
func sweep(instance string) error {
	err := errors.Join(unforward(instance), removeHostLink(instance), removeHostRules(instance), unbind(instance))
	if err != nil {
		return fmt.Errorf("sweep network of %s: %w", instance, err)
	}
	return nil
}
