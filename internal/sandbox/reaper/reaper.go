// Package reaper ends an instance's sandboxes when its server dies.
//
// Start runs this program again as `reap` with the read end of a pipe whose write end
// only the server holds. When the server is gone, however that came about, the pipe
// ends and the reaper thaws, kills and removes every control group of the instance,
// within a second. It is in a session of its own and ignores the signals that end a
// server, since it must survive it.
//
// The reaper acts once, on the groups that exist at that moment: what a successor has
// started since is safe as long as ids do not repeat. It leaves files to
// sandbox.Runtime.Sweep.
//
// All methods of Reaper may be called concurrently.
package reaper

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/cgroup"
	"lambent.dev/lambent/internal/lifecycle"
)

// Command is the first argument that the program must answer with Main.
const Command = "reap"

const (
	pipeFD       = 3
	ready        = "ready\n"
	startTimeout = 10 * time.Second
	reapTimeout  = 30 * time.Second
	// workers bounds how many groups are taken down at a time.
	workers = 16
	// pause is between a reaper that died and the next one.
	pause = time.Second
)

// Config is what Start needs.
type Config struct {
	// Instance names the server instance whose sandboxes are reaped.
	Instance string
	// Executable is the program; "" means this one.
	Executable string
	// Logger gets what an operator cares about; nil discards it.
	Logger *slog.Logger
}

// Reaper is the server's side.
type Reaper struct {
	cfg Config

	mu     sync.Mutex
	child  *child
	closed bool
}

// child is one reaper process.
type child struct {
	cmd  *exec.Cmd
	hold *os.File      // the server's end of the pipe
	done chan struct{} // closed when the process has ended and was waited for
}

// Start starts a reaper and returns when it is ready to act.
func Start(cfg Config) (*Reaper, error) {
	if cfg.Executable == "" {
		cfg.Executable = "/proc/self/exe"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := spawn(cfg)
	if err != nil {
		return nil, fmt.Errorf("start reaper: %w", err)
	}
	return &Reaper{cfg: cfg, child: c}, nil
}

// PID returns the process id of the reaper, 0 when there is none.
func (r *Reaper) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child == nil {
		return 0
	}
	return r.child.cmd.Process.Pid
}

// Run replaces the reaper when it dies, until ctx ends or Close is called. It leaves
// the last one in place: Close ends it, after the server has deleted its sandboxes.
func (r *Reaper) Run(ctx context.Context) error {
	for {
		r.mu.Lock()
		c := r.child
		r.mu.Unlock()
		if c == nil || !c.wait(ctx) {
			return nil
		}
		r.cfg.Logger.Warn("the reaper died; starting another one")
		if err := r.replace(ctx, c); err != nil {
			return err
		}
	}
}

// replace starts a reaper in the place of old, again and again until it works.
func (r *Reaper) replace(ctx context.Context, old *child) error {
	for {
		r.mu.Lock()
		if r.closed || r.child != old {
			r.mu.Unlock()
			return nil
		}
		next, err := spawn(r.cfg)
		if err == nil {
			old.hold.Close()
			r.child = next
		}
		r.mu.Unlock()
		if err == nil {
			return nil
		}
		r.cfg.Logger.Error("starting a reaper", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// Close lets the reaper do its work and end, and waits for that.
func (r *Reaper) Close() error {
	r.mu.Lock()
	c := r.child
	r.closed, r.child = true, nil
	r.mu.Unlock()
	if c == nil {
		return nil
	}
	c.hold.Close()
	ctx, cancel := context.WithTimeout(context.Background(), reapTimeout)
	defer cancel()
	if !c.wait(ctx) {
		return errors.Join(errors.New("the reaper does not end"), c.cmd.Process.Kill())
	}
	return nil
}

// wait reports whether the process ended before ctx did.
func (c *child) wait(ctx context.Context) bool {
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		return false
	}
}

func spawn(cfg Config) (_ *child, err error) {
	pipe, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer pipe.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		hold.Close()
		return nil, err
	}
	defer out.Close()
	defer stdout.Close()
	cmd := exec.Command(cfg.Executable, Command, "--instance="+cfg.Instance)
	cmd.Args[0] = "lambent"
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdout = stdout
	cmd.ExtraFiles = []*os.File{pipe}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		hold.Close()
		return nil, err
	}
	c := &child{cmd: cmd, hold: hold, done: make(chan struct{})}
	lifecycle.Go("reaper", func() {
		_ = cmd.Wait() // its errors are its own
		close(c.done)
	})
	stdout.Close()
	if err := out.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return nil, errors.Join(err, c.abandon())
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != ready {
		return nil, errors.Join(fmt.Errorf("the reaper said %q: %w", line, err), c.abandon())
	}
	return c, nil
}

func (c *child) abandon() error {
	c.hold.Close()
	err := c.cmd.Process.Kill()
	<-c.done
	return err
}

// Main is the reaper's side: it runs until the pipe ends, reaps, and returns the
// program's exit status.
func Main(args []string) int {
	flags := flag.NewFlagSet(Command, flag.ContinueOnError)
	instance := flags.String("instance", "", "the server instance to reap")
	if err := flags.Parse(args); err != nil || *instance == "" || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "reap is run by the server itself")
		return 2
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	pipe := os.NewFile(pipeFD, "server")
	if _, err := pipe.Stat(); err != nil {
		fmt.Fprintln(os.Stderr, "reap is run by the server itself:", err)
		return 2
	}
	groups, err := cgroup.Open(cgroup.Config{Instance: *instance})
	if err != nil {
		fmt.Fprintln(os.Stderr, "reap:", err)
		return 1
	}
	// A server that has died meanwhile hears nothing; its sandboxes die all the same.
	_, _ = io.WriteString(os.Stdout, ready)
	os.Stdout.Close()
	_, _ = io.Copy(io.Discard, pipe) // ends with the server
	ctx, cancel := context.WithTimeout(context.Background(), reapTimeout)
	defer cancel()
	if err := reap(ctx, groups); err != nil {
		fmt.Fprintln(os.Stderr, "reap:", err)
		return 1
	}
	return 0
}

// reap kills all groups before it removes the first one: the end of the last sandbox
// must not wait for the clearing up after the others.
func reap(ctx context.Context, groups *cgroup.Hierarchy) error {
	names, err := groups.Groups()
	if err != nil {
		return err
	}
	return errors.Join(
		each(names, func(n string) error { return groups.Group(n).Kill(ctx) }),
		each(names, func(n string) error { return groups.Group(n).Delete(ctx) }),
	)
}

func each(names []string, do func(string) error) error {
	var g errgroup.Group
	g.SetLimit(workers)
	errs := make([]error, len(names))
	for i, n := range names {
		g.Go(func() error { errs[i] = do(n); return nil })
	}
	_ = g.Wait()
	return errors.Join(errs...)
}
