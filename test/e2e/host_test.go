package e2e

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// hostTargets are addresses no sandbox may reach: each address of the host at a port where
// somebody listens on all of them, the region's port on them, the metadata address.
func hostTargets(t *testing.T, region string) (targets [][2]any) {
	t.Helper()
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	u, err := url.Parse(region)
	if err != nil {
		t.Fatal(err)
	}
	apiPort, _ := strconv.Atoi(u.Port())
	open := l.Addr().(*net.TCPAddr).Port
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip, _, _ := net.ParseCIDR(a.String())
		if ip.IsLinkLocalUnicast() && ip.To4() == nil {
			continue // needs a scope that names a link of the host
		}
		targets = append(targets, [2]any{ip.String(), open}, [2]any{ip.String(), apiPort})
	}
	return append(targets, [2]any{"169.254.169.254", 80}, [2]any{"169.254.100.1", open}, [2]any{"169.254.100.1", 22}, [2]any{"fe80::1", open})
}

// checkProcesses holds every process that serves a sandbox of this state directory against the
// hardened default: user 65534, no effective capability, no new privileges, seccomp, and nothing
// of the host's files in its mount table.
func checkProcesses(t *testing.T, state string) {
	t.Helper()
	found := 0
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		args, _ := os.ReadFile(p + "/cmdline")
		name := filepath.Base(p)
		if !strings.Contains(string(args), "\x00runsc-sandbox\x00") || !strings.Contains(string(args), state) {
			continue
		}
		status, err := os.ReadFile(p + "/status")
		if err != nil {
			continue // it ended meanwhile
		}
		found++
		fields := map[string]string{}
		for line := range strings.Lines(string(status)) {
			k, v, _ := strings.Cut(line, ":")
			fields[k] = strings.Join(strings.Fields(v), " ")
		}
		for k, want := range map[string]string{"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
			if fields[k] != want {
				t.Errorf("%s: %s is %s, want %s", name, k, fields[k], want)
			}
		}
		mounts, _ := os.ReadFile(p + "/mountinfo")
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); f[4] != "/" && f[4] != "/proc" && f[4] != "/etc" {
				t.Errorf("%s sees a mount of the host: %s", name, line)
			}
		}
	}
	if found == 0 {
		t.Error("no sandbox process found")
	}
}

// cpuSeconds is the processor time that the sandboxes of a state directory have used, by their
// control groups of either version.
func cpuSeconds(t *testing.T, state string) float64 {
	t.Helper()
	instance := strings.TrimSpace(readFile(t, filepath.Join(state, "instance")))
	total := 0.0
	v1, _ := filepath.Glob("/sys/fs/cgroup/cpuacct/lambent/" + instance + "/*/cpuacct.usage")
	for _, f := range v1 {
		b, _ := os.ReadFile(f)
		ns, _ := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
		total += ns / 1e9
	}
	v2, _ := filepath.Glob("/sys/fs/cgroup/lambent/" + instance + "/*/cpu.stat")
	for _, f := range v2 {
		b, _ := os.ReadFile(f)
		for line := range strings.Lines(string(b)) {
			if us, ok := strings.CutPrefix(line, "usage_usec "); ok {
				n, _ := strconv.ParseFloat(strings.TrimSpace(us), 64)
				total += n / 1e6
			}
		}
	}
	if len(v1)+len(v2) == 0 {
		t.Fatal("no control group of a sandbox found")
	}
	return total
}
