package oci

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// status is how a process ended: one of the two is meaningful.
type status struct{ code, signal int }

// Values of si_code for SIGCHLD (waitid(2)).
const cldExited = 1

// siginfo's fields behind the common header on 64-bit Linux: pid, uid, status.
const statusOffset = 24

// waitPidfd waits until the child behind a pollable pidfd ends, and reaps it.
func waitPidfd(f *os.File, info *unix.Siginfo) (status, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return status{}, err
	}
	var werr error
	err = conn.Read(func(fd uintptr) bool {
		*info = unix.Siginfo{}
		werr = ignoreEINTR(func() error {
			return unix.Waitid(unix.P_PIDFD, int(fd), info, unix.WEXITED|unix.WNOHANG, nil)
		})
		// Not yet: EAGAIN from a non-blocking pidfd, or nothing filled in.
		return !errors.Is(werr, unix.EAGAIN) && (werr != nil || info.Signo != 0)
	})
	if err := errors.Join(err, werr); err != nil {
		return status{}, fmt.Errorf("wait for process: %w", err)
	}
	n := siginfoStatus(info)
	if info.Code == cldExited {
		return status{code: n}, nil
	}
	return status{signal: n}, nil
}

// reap waits for an orphan that was killed; it may belong to somebody else after all.
func reap(ctx context.Context, f *os.File) {
	defer f.Close()
	if d, ok := ctx.Deadline(); ok {
		_ = f.SetReadDeadline(d)
	}
	var info unix.Siginfo
	_, _ = waitPidfd(f, &info)
}

func ignoreEINTR(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// siginfoStatus reads si_status, which unix.Siginfo does not name.
func siginfoStatus(info *unix.Siginfo) int {
	b := (*[unsafe.Sizeof(*info)]byte)(unsafe.Pointer(info))
	return int(int32(binary.NativeEndian.Uint32(b[statusOffset:])))
}
