package reaper_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/cgroup"
	"lambent.dev/lambent/internal/sandbox/reaper"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case reaper.Command:
			os.Exit(reaper.Main(os.Args[2:]))
		case "server":
			server(os.Args[2])
		}
	}
	goleak.VerifyTestMain(m)
}

// server stands for a server: it starts a reaper, says so, and waits to be killed.
func server(instance string) {
	r, err := reaper.Start(reaper.Config{Instance: instance})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(r.PID())
	select {}
}

func hierarchy(t *testing.T, instance string) *cgroup.Hierarchy {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("control groups need root")
		}
		t.Skip("control groups need root")
	}
	h, err := cgroup.Open(cgroup.Config{Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Sweep(context.Background(), nil); err != nil {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// sleeper starts a process in a new group; frozen, if told so.
func sleeper(t *testing.T, h *cgroup.Hierarchy, name string, frozen bool) *exec.Cmd {
	t.Helper()
	g, err := h.Create(name, cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	p, err := g.Placement()
	if err != nil {
		t.Fatal(err)
	}
	if p.Dir != nil {
		defer p.Dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(p.Dir.Fd())}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for _, d := range p.Dirs {
		if err := os.WriteFile(filepath.Join(d, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if frozen {
		if err := g.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return cmd
}

// TestServerKilled: within a second of kill -9 of the server, its sandboxes are gone,
// frozen or not, and another instance's are not.
func TestServerKilled(t *testing.T) {
	instance := fmt.Sprintf("reap-%d", os.Getpid())
	h := hierarchy(t, instance)
	other := hierarchy(t, instance+"-other")
	var doomed []*exec.Cmd
	for i := range 8 {
		doomed = append(doomed, sleeper(t, h, fmt.Sprint("s", i), i%2 == 0))
	}
	spared := sleeper(t, other, "spared", false)

	srv := exec.Command(os.Args[0], "server", instance)
	out, err := srv.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		srv.Process.Kill()
		t.Fatal(line, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		srv.Process.Kill()
		t.Fatal(line)
	}
	// What a terminal or a service manager sends to all of a server's processes.
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := syscall.Kill(pid, s); err != nil {
			t.Error(err)
		}
	}
	if err := srv.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for _, c := range doomed {
		if err := c.Wait(); err == nil || c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("ended with %v", c.ProcessState)
		}
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("it took %v", d)
	}
	srv.Wait()
	for end := time.Now().Add(5 * time.Second); ; {
		names, err := h.Groups()
		if err == nil && len(names) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("groups %v, %v", names, err)
		}
	}
	if err := spared.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("another instance's sandbox:", err)
	}
}

// TestReplaced: a reaper that dies is replaced, and Close ends the last one.
func TestReplaced(t *testing.T) {
	instance := fmt.Sprintf("replace-%d", os.Getpid())
	h := hierarchy(t, instance)
	r, err := reaper.Start(reaper.Config{Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var run errgroup.Group
	run.Go(func() error { return r.Run(ctx) })
	first := r.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); r.PID() == first; {
		if time.Now().After(end) {
			t.Fatal("not replaced")
		}
	}
	cmd := sleeper(t, h, "left", true)
	cancel()
	if err := run.Wait(); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a sandbox survived Close")
	}
}

// TestServerDiedMeanwhile: a reaper whose server dies before it is ready has nobody to tell so, and
// reaps.
func TestServerDiedMeanwhile(t *testing.T) {
	instance := fmt.Sprintf("late-%d", os.Getpid())
	doomed := sleeper(t, hierarchy(t, instance), "s", true)
	nobody, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	hold.Close()
	reap := exec.Command(os.Args[0], reaper.Command, "--instance="+instance)
	reap.Stdout, reap.ExtraFiles = stdout, []*os.File{pipe}
	if err := reap.Run(); err != nil {
		t.Error(err)
		_ = doomed.Process.Kill()
	}
	if err := doomed.Wait(); err == nil || doomed.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v", doomed.ProcessState)
	}
	stdout.Close()
	pipe.Close()
}
