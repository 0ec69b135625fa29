package oci

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/cgroup"
	"lambent.dev/lambent/internal/sandbox"
)

// Guest numbers for descriptors that are for the sandbox process (runsc/boot.go).
const (
	stdioGuest     = 1 << 20
	filestoreGuest = stdioGuest + 16
)

// wideFD is the number of the last descriptor given to the runtime, the directory of
// its sidecars. It makes the runtime's table of descriptors, which the sandbox process
// inherits, large enough from the start: growing it in a process with threads costs 7
// to 13 ms each time. And it is out of the way of the descriptors that the runtime
// gives the sandbox process, which resolves the sidecar's path with them in place.
const wideFD = 255

// invocation is one start of the runtime: its arguments and descriptors.
type invocation struct {
	box   *box
	args  []string
	env   []string
	files []*os.File // become descriptors 3, 4, ...
	own   []*os.File // closed by close
	place cgroup.Placement
	out   *os.File // standard streams of the runtime itself: in memory, for errors
}

// invocation prepares the start of a sandbox.
func (b *box) invocation(spec sandbox.Spec) (_ *invocation, err error) {
	v := &invocation{box: b}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create memory file: %w", err)
	}
	v.out = v.keep(os.NewFile(uintptr(fd), "output"))
	if v.place, err = b.group.Placement(); err != nil {
		return nil, err
	}
	state, err := os.Open(filepath.Join(b.dir, stateDir))
	if err != nil {
		return nil, err
	}
	v.keep(state)
	f := b.rt.flavor
	if len(v.place.Dirs) > 0 {
		v.args = append(v.args, "--lambent-cgroups="+strings.Join(v.place.Dirs, ":"))
	}
	// By descriptor, because the path of a socket in it must not exceed 107 bytes.
	v.args = append(v.args, fmt.Sprintf("--root=/proc/self/fd/%d", v.pass(state)))
	if b.rt.sidecars != nil {
		v.env = append(v.env, fmt.Sprintf("GVISOR_SIDECAR_BINARIES_DIR=/proc/self/fd/%d", wideFD))
	}
	v.args = append(v.args, f.Global...)
	if spec.NetNS != "" {
		v.args = append(v.args, f.Network...)
	} else {
		v.args = append(v.args, f.NoNetwork...)
	}
	v.args = append(v.args, "run", "--detach", "--bundle="+b.dir, "--pid-file="+filepath.Join(b.dir, pidFile))
	if err := v.passCode(spec.Containers[0]); err != nil {
		return nil, err
	}
	v.args = append(v.args, spec.ID)
	return v, nil
}

// passCode passes the code's own descriptors and its scratch files.
func (v *invocation) passCode(c sandbox.Container) error {
	for i, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			f = v.keep(null)
		}
		if err := v.passFD(f, stdioGuest+i); err != nil {
			return err
		}
	}
	for i := range scratches(c) {
		f, err := v.box.scratch.add(v.box.dir)
		if err != nil {
			return err
		}
		if err := v.passFD(f, filestoreGuest+i); err != nil {
			return err
		}
	}
	for i, f := range c.Files {
		if err := v.passFD(f, 3+i); err != nil {
			return err
		}
	}
	return nil
}

// pass hands f to the runtime and returns its number there.
func (v *invocation) pass(f *os.File) int {
	v.files = append(v.files, f)
	return len(v.files) + 2
}

// passFD hands f to the sandbox under the number guest.
func (v *invocation) passFD(f *os.File, guest int) error {
	if _, err := f.SyscallConn(); f == nil || err != nil {
		return fmt.Errorf("pass descriptor %d: %w", guest%stdioGuest, os.ErrClosed)
	}
	v.args = append(v.args, fmt.Sprintf("--pass-fd=%d:%d", v.pass(f), guest))
	if len(v.files) > wideFD-3 {
		return fmt.Errorf("pass %d descriptors: %w", len(v.files), sandbox.ErrUnsupported)
	}
	return nil
}

func (v *invocation) keep(f *os.File) *os.File {
	v.own = append(v.own, f)
	return f
}

func (v *invocation) close() {
	for _, f := range v.own {
		f.Close()
	}
	if v.place.Dir != nil {
		v.place.Dir.Close()
	}
}

// command returns the process to run. It is killed when ctx ends.
func (v *invocation) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, v.box.rt.binary, v.args...)
	cmd.Env = append([]string{}, v.env...)
	cmd.Dir = "/"
	// runsc changes the owner of its own standard streams: never give it /dev/null.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = v.out, v.out, v.out
	files := make([]*os.File, wideFD-2)
	copy(files, v.files)
	files[wideFD-3] = cmp.Or(v.box.rt.sidecars, v.out)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if v.place.Dir != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(v.place.Dir.Fd())
	}
	return cmd
}

// output is what the runtime printed, for an error message.
func (v *invocation) output() string {
	buf := make([]byte, 4096)
	n, _ := v.out.ReadAt(buf, 0)
	return string(bytes.TrimSpace(buf[:n]))
}
