package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"
)

// cgroupFlag precedes upstream's flags: a ':'-separated list of cgroup directories
// of version 1 hierarchies.
const cgroupFlag = "--lambent-cgroups="

// place moves this process into the cgroups named by the first argument, if it is
// cgroupFlag, and returns the arguments without it.
func place(args []string) ([]string, error) {
	if len(args) < 2 || !strings.HasPrefix(args[1], cgroupFlag) {
		return args, nil
	}
	for _, dir := range strings.Split(strings.TrimPrefix(args[1], cgroupFlag), ":") {
		if err := join(dir); err != nil {
			return nil, fmt.Errorf("join cgroup %s: %w", dir, err)
		}
	}
	return append(args[:1:1], args[2:]...), nil
}

// oomScore is that of the OCI specification the caller writes. gVisor gives it to the sandbox
// process once that has started; the stubs that the process has forked by then would keep the
// score of the caller, which protects itself from the kernel's OOM killer.
const oomScore = "500"

// starts tells the commands that start a sandbox. Others run in one, where there is no /proc.
func starts(arg string) bool { return arg == "run" || arg == "create" || arg == "restore" }

// expose makes this process, and all that it starts, a better victim of the OOM killer.
func expose() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil {
		return fmt.Errorf("set OOM score: %w", err)
	}
	return nil
}

// join moves all threads, each by itself: a thread that moves itself needs no lock,
// while moving the process as a whole may wait 13 ms for every CPU (RCU). A build with
// cgo cannot make all threads do something, and moves the process.
func join(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	self := []byte("0") // means the thread that writes
	_, _, errno := syscall.AllThreadsSyscall(syscall.SYS_WRITE, f.Fd(), uintptr(unsafe.Pointer(&self[0])), uintptr(len(self)))
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), self, 0)
	}
	return errno
}
