// Command lambent-runsc is gVisor's runsc with only the commands that Lambent uses,
// and with what the stock binary lacks for short-lived sandboxes:
//
//   - the seccomp programs are compiled ahead of time (seccomp.go);
//   - it places itself into cgroups before it starts anything, so that a sandbox is
//     accounted and limited from its first page (place.go);
//   - the sandbox process sees the memory, CPU count, standard streams and scratch
//     files that the caller chose, without a gofer process (boot.go).
//
// It is its own sentry sidecar: SIDECARS/gvisor_sentry and
// SIDECARS/gvisor-sentry-prewarmer are links to this binary.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"
)

// prewarmer is the name gVisor runs its sentry by: PREWARMER BINARY ARGV...
const prewarmer = "gvisor-sentry-prewarmer"

func main() {
	if filepath.Base(os.Args[0]) == prewarmer && len(os.Args) > 2 {
		os.Args = os.Args[2:]
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "lambent-runsc:", err)
		os.Exit(128)
	}
	cli.Run(nil, map[util.SubCommand]string{
		new(cmd.Checkpoint):   "",
		new(cmd.Create):       "",
		new(cmd.Delete):       "",
		new(cmd.Exec):         "",
		new(cmd.Kill):         "",
		new(cmd.Restore):      "",
		new(cmd.Run):          "",
		new(cmd.Start):        "",
		new(cmd.State):        "",
		new(sentrycmd.Boot):   "internal",
		new(cmd.Gofer):        "internal",
		new(sentrycmd.Umount): "internal",
	}, nil)
}

// prepare rewrites os.Args to what upstream understands and sets up this process.
func prepare() error {
	if err := wrapPlatform(); err != nil {
		return err
	}
	if slices.Contains(os.Args, "boot") {
		installSeccomp()
		args, err := bootArgs(os.Args)
		if err != nil {
			return err
		}
		os.Args = args
		return nil
	}
	if slices.ContainsFunc(os.Args, starts) {
		if err := expose(); err != nil {
			return err
		}
	}
	widenFiles()
	args, err := place(os.Args)
	if err != nil {
		return err
	}
	os.Args = args
	return nil
}

// widenFiles makes this process's table of descriptors, and so that of the sandbox
// process it forks, large enough for all that boot opens. Growing the table of a
// process with threads waits for an RCU grace period each time: 7 to 13 ms in boot.
// The caller hands us a descriptor above highFD for the same reason; without it this
// call pays once.
func widenFiles() {
	const highFD = 255
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, highFD)
	_, _ = fd, err // best effort: only time is lost without it
}
