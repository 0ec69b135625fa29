package attack

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/lifecycle"
)

// args are an attack's arguments.
type args = map[string]any

// An attack is tried from inside, in each language that has it.
type attack struct {
	name    string
	success string // what it would be
	run     string // the function in attacks.py and attacks.mjs
	args    args
	allowed []any  // what it may get
	python  bool   // Node.js has no way to try
	control args   // of the same attack on what it may get: it must get something
	another string // the control's own function, if it is another
}

// world is what the attacks are after.
type world struct {
	secrets []string // the host's and the victim's
	planted string   // a file of the host's that everybody may read, with a secret
	dir     string   // a directory that everybody may write
	visits  atomic.Int64
	targets [][2]any // of the host
	victim  struct{ id, address string }
	state   string // the region's directory
}

func TestAttacks(t *testing.T) {
	r := start(t)
	w := newWorld(t, r)
	end := w.await(t, r)
	attackers := map[string]bool{"python": true, "node": false} // those that can try everything
	r.python("python", "handler", pythonAttacks, 1769, 60, nil)
	node := lambda.CreateFunctionInput{
		FunctionName: aws.String("node"), Role: &r.role, Runtime: types.RuntimeNodejs22x, Handler: aws.String("index.handler"),
		MemorySize: aws.Int32(1769), Timeout: aws.Int32(60),
	}
	r.Create(node, map[string]string{"index.mjs": nodeAttacks})
	for _, a := range w.attacks() {
		for name, all := range attackers {
			if a.python && !all {
				continue
			}
			t.Run(a.name+"/"+name, func(t *testing.T) {
				r := r.with(t)
				type result struct{ Got []any }
				if a.control != nil || a.another != "" {
					run := a.run
					if a.another != "" {
						run = a.another
					}
					if got := want[result](t, r.invoke(name, args{"attack": run, "args": a.control})); len(got.Got) == 0 {
						t.Errorf("the control got nothing: the attack proves nothing")
					}
				}
				got := want[result](t, r.invoke(name, args{"attack": a.run, "args": a.args})).Got
				got = slices.DeleteFunc(got, func(g any) bool { return slices.Contains(a.allowed, g) })
				if len(got) > 0 {
					t.Errorf("%s: %v", a.success, got)
				}
			})
		}
	}
	w.judge(t, end())
}

// newWorld plants secrets on the host, listens on all of its addresses, and starts a victim.
func newWorld(t *testing.T, r *region) *world {
	w := &world{state: r.State, dir: t.TempDir()}
	mark := "secret-" + strings.ToLower(rand.Text())
	w.planted = filepath.Join(w.dir, "planted")
	for dir := w.dir; len(dir) > 5; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil { // the test's own, below /tmp
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(w.planted, []byte(mark+"-on-host"), 0o666); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("sleep", "600")
	process.Args[0] = mark + "-argument"
	process.Env = []string{"X=" + mark + "-variable"}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() })
	w.secrets = append(w.secrets, mark, r.State, filepath.Base(r.State)+"/run/")
	for _, path := range []string{"/proc/sys/kernel/random/boot_id", "/etc/machine-id", "/sys/class/dmi/id/product_uuid", r.State + "/instance", r.State + "/keys/region"} {
		w.secrets = append(w.secrets, secret(path)...)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if a := l.HardwareAddr.String(); len(a) > 0 && strings.Trim(a, "0:") != "" {
			w.secrets = append(w.secrets, a)
		}
	}
	w.listen(t, r.URL)
	r.python("victim", "handler", victimCode, 512, 120, func(in *lambda.CreateFunctionInput) {
		in.Environment = &types.Environment{Variables: map[string]string{"SECRET": mark + "-of-victim"}}
	})
	return w
}

// listen takes TCP connections and datagrams on every address of the host, and counts them.
func (w *world) listen(t *testing.T, region string) {
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	u, err := net.ListenPacket("udp", fmt.Sprintf("[::]:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	var tasks lifecycle.Tasks
	tasks.Go("host's listener", func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.visits.Add(1)
			_ = c.Close()
		}
	})
	tasks.Go("host's datagrams", func() {
		b := make([]byte, 64)
		for {
			n, who, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			w.visits.Add(1)
			_, _ = u.WriteTo(b[:n], who)
		}
	})
	t.Cleanup(func() { _ = l.Close(); _ = u.Close(); tasks.Wait() })
	at, err := url.Parse(region)
	if err != nil {
		t.Fatal(err)
	}
	api, _ := strconv.Atoi(at.Port())
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip, _, _ := net.ParseCIDR(a.String())
		w.targets = append(w.targets, [2]any{ip.String(), port}, [2]any{ip.String(), api})
	}
	w.targets = append(w.targets, [2]any{"169.254.100.1", port}, [2]any{"169.254.100.1", api}, [2]any{"0.0.0.0", port}, [2]any{"::1", port}, [2]any{"::ffff:127.0.0.1", port})
	// The listener does listen: the host reaches it.
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	for w.visits.Load() == 0 {
		<-time.After(time.Millisecond)
	}
	w.visits.Store(0)
}

// victimReport is what the victim has seen.
type victimReport struct {
	ID, Address, Secret string
	Visitors, Tmp       []string
}

// await keeps the victim up and awake until the function that it gives is called.
func (w *world) await(t *testing.T, r *region) (end func() victimReport) {
	first := want[victimReport](t, r.invoke("victim", args{"seconds": 0}))
	w.victim.id, w.victim.address = first.ID, first.Address
	var got answer
	var err error
	var over atomic.Bool
	wait := lifecycle.Go("victim", func() {
		for err == nil && !over.Load() {
			got, err = r.try("victim", args{"seconds": 3})
		}
	})
	return func() victimReport {
		over.Store(true)
		wait()
		if err != nil {
			t.Fatal(err)
		}
		return want[victimReport](t, got)
	}
}

// judge says what the host and the victim saw.
func (w *world) judge(t *testing.T, v victimReport) {
	if n := w.visits.Load(); n > 0 {
		t.Errorf("%d connections and datagrams reached the host", n)
	}
	if b, err := os.ReadFile(w.planted); err != nil || strings.HasSuffix(string(b), "x") {
		t.Errorf("the host's file was written: %q, %v", b, err)
	}
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 1 {
		t.Errorf("files appeared on the host: %v, %v", entries, err)
	}
	if len(v.Visitors) > 0 || !slices.Equal(v.Tmp, []string{"secret", "socket"}) || !strings.HasSuffix(v.Secret, "-of-victim-in-tmp") || v.Address != w.victim.address {
		t.Errorf("the victim saw %+v", v)
	}
}

// attacks is the list. got is what the attack says it got.
func (w *world) attacks() []attack {
	own := "/tmp/own"
	up := strings.Repeat("../", 12)
	everywhere := []string{"/tmp", "/var/task", "/opt", "/mnt", "/media", "/home", "/root", "/run", "/srv", "/dev", "/sys", "/var/tmp", "/var/lib"}
	neighbour := func(last byte) string {
		ip := net.ParseIP(w.victim.address).To4()
		return fmt.Sprintf("%d.%d.%d.%d", ip[0], ip[1], ip[2], last)
	}
	var near [][2]any
	for i := range 255 {
		near = append(near, [2]any{neighbour(byte(i)), 5000})
	}
	return []attack{
		{name: "host files by path", success: "a file of the host or of the state directory is read", run: "read",
			args: args{"paths": []string{w.planted, up + w.planted, "/proc/1/root" + w.planted, "/proc/self/root/" + up + w.planted, "/proc/self/cwd/" + up + w.planted,
				w.state, w.state + "/credentials", w.state + "/keys/region", w.state + "/run", "/etc/shadow", "/root/.ssh", "/var/run/docker.sock"}},
			control: args{"paths": []string{"/var/task"}}},
		{name: "host files by search", success: "a secret of the host or of the victim is in a file", run: "search",
			args: args{"roots": everywhere, "secrets": w.secrets}, control: args{"roots": []string{"/var/task"}, "secrets": []string{"attack"}}},
		{name: "proc and sys", success: "they tell of the host, its processes or the victim", run: "search",
			args: args{"roots": []string{"/proc", "/sys"}, "secrets": w.secrets}, control: args{"roots": []string{"/proc/self"}, "secrets": []string{"AWS_LAMBDA_RUNTIME_API"}}},
		{name: "devices", success: "a device of the host is read", run: "read",
			args:    args{"paths": []string{"/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/loop-control", "/dev/loop0", "/proc/kcore", "/proc/kmsg", "/proc/sysrq-trigger", "/sys/kernel/debug", "/sys/firmware"}},
			control: args{"paths": []string{"/dev/zero"}}},
		{name: "kernel's switches", success: "one can be turned", run: "write",
			args: args{"paths": []string{w.planted, w.dir + "/new", "/proc/1/root" + w.planted, "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger",
				"/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/1/oom_score_adj", "/proc/1/mem", "/dev/mem", "/var/task/x", "/var/runtime/x", "/etc/passwd", "/etc/hosts", "/opt/x"}},
			control: args{"paths": []string{own}}},
		{name: "processes of others", success: "a signal reaches one", run: "signals", another: "child_signal"},
		{name: "privileges", success: "root's work is done", run: "privileges", python: true,
			args:    args{"names": []string{"mount", "umount2", "pivot_root", "init_module", "bpf", "kexec_load", "reboot", "ptrace", "sethostname", "settimeofday", "setns", "perf_event_open", "swapon", "open_by_handle_at", "setuid", "mknod", "chroot"}},
			control: args{"names": []string{"getpid"}}},
		{name: "host's addresses and ports", success: "somebody on the host answers", run: "reach",
			args: args{"targets": w.targets}, control: args{"targets": [][2]any{{"169.254.100.1", 9001}}}},
		{name: "metadata address", success: "it answers", run: "reach",
			args: args{"targets": [][2]any{{"169.254.169.254", 80}, {"169.254.170.2", 80}, {"fd00:ec2::254", 80}, {"100.100.100.200", 80}}}, control: args{"targets": [][2]any{{"169.254.100.1", 9001}}}},
		{name: "node's ports", success: "one is open beside DNS, the region's and the Runtime API's", run: "scan",
			args: args{"host": "169.254.100.1", "ports": [2]int{1, 1024}}, allowed: []any{53.0}, control: args{"host": "169.254.100.1", "ports": [2]int{9001, 9001}}},
		{name: "node's high ports", success: "one is open beside DNS, the region's and the Runtime API's", run: "scan",
			args: args{"host": "169.254.100.1", "ports": [2]int{4000, 4800}}, allowed: []any{4566.0}, control: args{"host": "169.254.100.1", "ports": [2]int{4566, 4566}}},
		{name: "other sandboxes", success: "the victim answers", run: "reach",
			args: args{"targets": [][2]any{{w.victim.address, 5000}, {w.victim.address, 22}, {w.victim.address, 9001}}}, control: args{"targets": [][2]any{{"169.254.100.1", 4566}}}},
		{name: "the neighbourhood", success: "a sandbox answers", run: "scan",
			args: args{"host": neighbour(1), "ports": [2]int{4990, 5010}}, another: "own_port"},
		{name: "every neighbour", success: "a sandbox answers", run: "reach", args: args{"targets": near}, another: "own_port"},
		{name: "loopback", success: "the host's or the victim's loopback is mine", run: "reach",
			args: args{"targets": [][2]any{{"127.0.0.1", 5000}, {"127.0.0.1", 4566}, {"127.0.0.1", 9001}, {"localhost", 22}, {"0.0.0.0", 5000}, {"::1", 5000}}}, another: "own_port"},
		{name: "unix sockets", success: "the host's or the victim's takes a connection", run: "unix",
			args: args{"paths": []string{"/tmp/socket", "@victim", "/run/docker.sock", "/run/systemd/private", "/run/dbus/system_bus_socket", "@/org/kernel/linux/storage/multipathd"}}, another: "own_unix", control: args{"path": "@own"}},
		{name: "raw sockets and IPv6", success: "one is made, or has a way out", run: "sockets", python: true,
			args: args{"kinds": []string{"raw icmp", "raw tcp", "packet", "vsock", "ipv6", "ipv6 multicast", "netfilter"}}, control: args{"kinds": []string{"tcp"}}},
		{name: "credentials", success: "a role without a policy may do it", run: "aws", python: true,
			args: args{"calls": [][2]any{
				{"lambda.get_function", args{"FunctionName": "victim"}}, {"lambda.list_functions", args{}}, {"lambda.invoke", args{"FunctionName": "victim"}},
				{"lambda.update_function_code", args{"FunctionName": "victim", "ZipFile": "x"}}, {"iam.list_users", args{}}, {"iam.list_roles", args{}},
				{"sts.assume_role", args{"RoleArn": "arn:aws:iam::000000000000:role/powerless", "RoleSessionName": "x"}},
				{"logs.describe_log_groups", args{}}, {"logs.filter_log_events", args{"logGroupName": "/aws/lambda/victim"}},
			}},
			control: args{"calls": [][2]any{{"sts.get_caller_identity", args{}}}}},
		{name: "another's request", success: "an answer to it is taken", run: "forge", args: args{"ids": []string{w.victim.id, "", "x", "00000000-0000-0000-0000-000000000000"}}},
		{name: "smuggled requests", success: "one for another's request is taken", run: "smuggle", python: true, args: args{"id": w.victim.id}},
	}
}
