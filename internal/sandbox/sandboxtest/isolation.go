package sandboxtest

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent/internal/sandbox"
)

// isolation tests what the code sees and what the host sees of it.
func (s suite) isolation() []test {
	return []test{
		{"Machine", s.machine},
		{"Privileges", s.privileges},
		{"HostIdentity", s.hostIdentity},
		{"ImageMount", s.imageMount},
		{"ScratchFull", s.scratchFull},
		{"NoFile", s.noFile},
		{"NProc", s.nProc},
	}
}

// machine: memory and CPU count are those of the specification.
func (s suite) machine(t *testing.T) {
	for _, c := range []struct {
		memory int64
		cpus   int
	}{{128 << 20, 2}, {3008 << 20, 3}} {
		r := s.reported(t, func(spec *sandbox.Spec) {
			spec.ID = fmt.Sprintf("%s-%d", spec.ID, c.cpus)
			spec.Memory, spec.CPUs = c.memory, c.cpus
		})
		if r.MemTotal < c.memory || r.MemTotal > c.memory*11/10 {
			t.Errorf("MemTotal %d, want %d", r.MemTotal, c.memory)
		}
		// The process may run on no more CPUs than the host has.
		if r.CPUs != c.cpus {
			t.Errorf("%d CPUs, want %d", r.CPUs, c.cpus)
		}
	}
}

func (s suite) privileges(t *testing.T) {
	r := s.reported(t, nil)
	if r.UID != 993 || r.GID != 990 || len(r.Groups) > 0 || r.PID != 1 {
		t.Errorf("uid %d, gid %d, groups %v, pid %d", r.UID, r.GID, r.Groups, r.PID)
	}
	for _, c := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if strings.Trim(r.Status[c], "0") != "" {
			t.Errorf("%s %s", c, r.Status[c])
		}
	}
	if r.Status["NoNewPrivs"] != "1" {
		t.Errorf("NoNewPrivs %s", r.Status["NoNewPrivs"])
	}
	if !strings.Contains(r.RootWrite, "read-only") {
		t.Errorf("writing to the root file system: %q", r.RootWrite)
	}
	for _, m := range r.Mounts {
		if !slices.Contains([]string{"erofs", "dev", "sysfs", "proc", "devpts", "tmpfs"}, strings.Fields(m)[2]) {
			t.Errorf("mount %s", m)
		}
	}
}

// hostIdentity: every host process of a sandbox is nobody, without capabilities or a
// way to new ones, behind a seccomp filter, in namespaces of its own, and sees no
// mount of the host.
func (s suite) hostIdentity(t *testing.T) {
	if s.Processes == nil {
		t.Skip("the processes of this runtime cannot be listed")
	}
	spec := s.spec(t, "sleep")
	spec.Containers[0].Mounts = []sandbox.Mount{
		{Destination: "/tmp", Scratch: 16 << 20}, {Destination: "/opt", Image: s.Files.Extra},
	}
	b := s.start(t, spec)
	b.expect("ready")
	pids, err := s.Processes(b.ID())
	if err != nil || len(pids) == 0 {
		t.Fatalf("processes %v, %v", pids, err)
	}
	for _, pid := range pids {
		status := keyed(t, fmt.Sprintf("/proc/%d/status", pid))
		for _, id := range append(strings.Fields(status["Uid"]), strings.Fields(status["Gid"])...) {
			if id != "65534" {
				t.Errorf("%d: uid %s, gid %s", pid, status["Uid"], status["Gid"])
			}
		}
		for _, c := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			if strings.Trim(status[c], "0") != "" {
				t.Errorf("%d: %s %s", pid, c, status[c])
			}
		}
		if status["NoNewPrivs"] != "1" || status["Seccomp"] != "2" || status["Groups"] != "" {
			t.Errorf("%d: NoNewPrivs %s, Seccomp %s, Groups %q", pid, status["NoNewPrivs"], status["Seccomp"], status["Groups"])
		}
		for _, ns := range []string{"user", "pid", "net", "mnt", "ipc", "uts"} {
			mine, err1 := os.Readlink("/proc/self/ns/" + ns)
			its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
			if mine == its || err1 != nil || err2 != nil {
				t.Errorf("%d: %s namespace of the host (%v, %v)", pid, ns, err1, err2)
			}
		}
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", pid))
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); f[2] != "tmpfs" && f[2] != "proc" || strings.HasPrefix(f[0], "/") {
				t.Errorf("%d: mount %s", pid, line)
			}
		}
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || strings.Contains(string(env), "PATH=") {
			t.Errorf("%d: environment %q, %v", pid, env, err)
		}
	}
}

func keyed(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := map[string]string{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		k, v, _ := strings.Cut(sc.Text(), ":")
		m[k] = strings.TrimSpace(v)
	}
	return m
}

func (s suite) imageMount(t *testing.T) {
	spec := s.spec(t, "descend", "/opt/hello")
	spec.Containers[0].Mounts = []sandbox.Mount{{Destination: "/opt", Image: s.Files.Extra}}
	// The command is not the file's owner; that it is told so first is fine.
	s.start(t, spec).expect("from an image open /opt/hello: permission denied")
	spec.Containers[0].UID, spec.ID = 0, spec.ID+"-root"
	s.start(t, spec).expect("from an image open /opt/hello: read-only file system")
}

// scratchFull: exactly the size fits, then ENOSPC.
func (s suite) scratchFull(t *testing.T) {
	spec := s.spec(t, "fill", "/tmp/big", "100")
	spec.Containers[0].Mounts = []sandbox.Mount{
		{Destination: "/tmp", Scratch: 48 << 20}, {Destination: "/scratch", Scratch: 16 << 20},
	}
	s.start(t, spec).expect("48 true 48")
}

func (s suite) noFile(t *testing.T) {
	spec := s.spec(t, "files")
	spec.Containers[0].Rlimits = []sandbox.Rlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1024}}
	b := s.start(t, spec)
	var n int
	var emfile bool
	if _, err := fmt.Sscan(b.line(), &n, &emfile); err != nil || !emfile || n < 1000 || n >= 1024 {
		t.Errorf("%d files, EMFILE %v, %v", n, emfile, err)
	}
}

// nProc: a fork bomb gets EAGAIN and the sandbox lives on.
func (s suite) nProc(t *testing.T) {
	spec := s.spec(t, "forks", "100")
	spec.Memory = 1 << 30
	spec.Containers[0].Rlimits = []sandbox.Rlimit{{Type: "RLIMIT_NPROC", Soft: 60, Hard: 60}}
	b := s.start(t, spec)
	var n int
	var eagain bool
	if line := b.line(); !eagain {
		if _, err := fmt.Sscan(line, &n, &eagain); err != nil || !eagain || n >= 60 {
			t.Errorf("%q: %d processes, EAGAIN %v, %v", line, n, eagain, err)
		}
	}
	if e := b.wait(); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
}
