// Command probe is what the contract suite runs inside sandboxes: it reports what it
// sees, uses what it is told to use, and nothing else. The suite builds it statically.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	commands := map[string]func(args []string) error{
		"print":   func(a []string) error { fmt.Println(strings.Join(a, " ")); return nil },
		"stderr":  func(a []string) error { fmt.Fprintln(os.Stderr, strings.Join(a, " ")); return nil },
		"cat":     cat,
		"reopen":  reopen,
		"exit":    func(a []string) error { os.Exit(number(a)); return nil },
		"sleep":   func([]string) error { fmt.Println("ready"); select {} },
		"crash":   crash,
		"tick":    tick,
		"spin":    spin,
		"report":  report,
		"alloc":   alloc,
		"forks":   forks,
		"files":   files,
		"fill":    fill,
		"descend": descend,
		"churn":   churn,
	}
	run, ok := commands[os.Args[1]]
	if !ok {
		fmt.Println("unknown command", os.Args[1])
		os.Exit(100)
	}
	// A Go program without goroutines that could run would be called a deadlock.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1)
	if err := run(os.Args[2:]); err != nil {
		fmt.Println("error:", err)
		os.Exit(101)
	}
}

func number(a []string) int {
	n, err := strconv.Atoi(a[0])
	if err != nil {
		panic(err)
	}
	return n
}

// cat copies descriptor a[0] to descriptor a[1].
func cat(a []string) error {
	in := os.NewFile(uintptr(number(a)), "in")
	out := os.NewFile(uintptr(number(a[1:])), "out")
	_, err := out.ReadFrom(in)
	return err
}

// reopen writes to the streams through their names, as shell scripts do.
func reopen([]string) error {
	for _, name := range []string{"/dev/stdout", "/dev/stderr", "/proc/self/fd/1"} {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		fmt.Fprintln(f, name)
		f.Close()
	}
	return nil
}

// crash ends the program by SIGABRT.
func crash([]string) error {
	debug.SetTraceback("crash")
	panic("on purpose")
}

// tick prints a growing number every millisecond or so.
func tick([]string) error {
	for n := 0; ; n++ {
		if _, err := fmt.Println(n); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// spin keeps one CPU busy, and with an argument prints how many rounds it did in that
// many milliseconds of wall clock.
func spin(a []string) error {
	fmt.Println("ready")
	runtime.LockOSThread()
	for len(a) == 0 {
	}
	rounds := 0
	for end := time.Now().Add(time.Duration(number(a)) * time.Millisecond); time.Now().Before(end); {
		rounds++
	}
	fmt.Println(rounds)
	select {}
}

// Report is what the probe sees of its sandbox.
type Report struct {
	Args, Env        []string
	Cwd, Hostname    string
	PID, UID, GID    int
	Groups           []int
	MemTotal         int64
	CPUs             int
	NoFile, NProc    syscall.Rlimit
	Status           map[string]string // of /proc/self/status
	Mounts           []string
	FDs              []int
	RootWrite        string // the error
	Proc1Environment string
}

func report(a []string) error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	groups, _ := os.Getgroups()
	r := Report{
		Args: os.Args, Env: os.Environ(), Cwd: cwd, Hostname: host,
		PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Groups: groups,
		CPUs: runtime.NumCPU(), Status: keyed("/proc/self/status"),
		MemTotal: int64(kilobytes(keyed("/proc/meminfo")["MemTotal"])) << 10,
	}
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r.NoFile)
	const rlimitNProc = 6
	syscall.Getrlimit(rlimitNProc, &r.NProc)
	if b, err := os.ReadFile("/proc/self/mounts"); err == nil {
		r.Mounts = strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		// Leave out what the Go runtime opens.
		if n, _ := strconv.Atoi(e.Name()); err == nil && !strings.Contains(link, "anon_inode") && !strings.HasPrefix(link, "/proc") {
			r.FDs = append(r.FDs, n)
		}
	}
	if err := os.WriteFile("/written", nil, 0o600); err != nil {
		r.RootWrite = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func keyed(path string) map[string]string {
	b, _ := os.ReadFile(path)
	m := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		m[k] = strings.TrimSpace(v)
	}
	return m
}

func kilobytes(s string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(s, " kB"))
	return n
}

// alloc touches a[0] MiB of memory, prints the sum after each 8 MiB, and keeps it.
func alloc(a []string) error {
	const step = 8 << 20
	var keep [][]byte
	for n := 0; n < number(a)<<20; n += step {
		b, err := syscall.Mmap(-1, 0, step, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			return err
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		keep = append(keep, b)
		fmt.Println((n + step) >> 20)
	}
	fmt.Println("ready")
	runtime.KeepAlive(keep)
	select {}
}

// forks starts processes that sleep until one cannot be started, at most a[0].
func forks(a []string) error {
	for n := range number(a) {
		c := exec.Command(os.Args[0], "sleep")
		if err := c.Start(); err != nil {
			fmt.Println(n, errors.Is(err, syscall.EAGAIN))
			return nil
		}
	}
	fmt.Println(number(a), false)
	return nil
}

// files opens /dev/null until that fails.
func files([]string) error {
	for n := 0; ; n++ {
		if _, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0); err != nil {
			fmt.Println(n, errors.Is(err, syscall.EMFILE))
			return nil
		}
	}
}

// fill writes a[1] MiB to the file a[0], as much as fits, prints how much did and the
// size of the file system, and stays.
func fill(a []string) error {
	f, err := os.OpenFile(a[0], os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = byte(i)
	}
	n, full := 0, false
	for range number(a[1:]) {
		m, err := f.Write(chunk)
		n += m
		if err != nil {
			full = errors.Is(err, syscall.ENOSPC)
			break
		}
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(a[0]), &st); err != nil {
		return err
	}
	fmt.Println(n>>20, full, int64(st.Blocks)*st.Bsize>>20)
	fmt.Println("ready")
	select {}
}

// descend opens a file that came with a mounted image.
func descend(a []string) error {
	b, err := os.ReadFile(a[0])
	if err != nil {
		return err
	}
	fmt.Printf("%s %v\n", strings.TrimSpace(string(b)), os.WriteFile(a[0], nil, 0o600))
	return nil
}

// churn starts processes and threads and maps and unmaps memory, a[0] times.
func churn(a []string) error {
	for range number(a) {
		if out, err := exec.Command(os.Args[0], "print", "x").Output(); err != nil || string(out) != "x\n" {
			return fmt.Errorf("child: %q, %w", out, err)
		}
		for range 20 {
			b, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
			if err != nil {
				return err
			}
			b[0], b[len(b)-1] = 1, 1
			if err := syscall.Munmap(b); err != nil {
				return err
			}
		}
	}
	fmt.Println("done")
	return nil
}
