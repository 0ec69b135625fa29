package runtimes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// packageOf says which Debian package brings a program.
var packageOf = map[string]string{
	"mmdebstrap": "mmdebstrap", "ldconfig": "libc-bin", "npm": "npm", "python3": "python3-pip", "apt-get": "apt",
}

// need looks for programs before any work is done.
func need(names ...string) error {
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %s (apt-get install -y %s)", ErrTool, name, packageOf[name])
		}
	}
	return nil
}

// run runs a program of the host with the host's own configuration of its registry. What it
// mounts ends with it: were a mount of the host's /dev left below the work directory, the next
// build's clean-up would be the end of the host.
func run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH=0", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return output(cmd)
}

// inside runs a program of the image at root: chrooted, without a network, with nothing of the
// host's environment.
func inside(ctx context.Context, root string, uid uint32, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Path = args[0] // not looked up on the host
	cmd.Err = nil
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/var/lang/bin:/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:       root,
		Credential:   &syscall.Credential{Uid: uid, Gid: uid},
		Cloneflags:   syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Unshareflags: syscall.CLONE_NEWNS,
	}
	return output(cmd)
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, tail(stdout.String()+stderr.String()))
		}
		return nil, fmt.Errorf("run %s: %w", cmd.Args[0], err)
	}
	return stdout.Bytes(), nil
}

// tail is the end of a program's output, where its reason is.
func tail(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 2000 {
		s = "..." + s[len(s)-2000:]
	}
	return s
}
