package leak

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestHost leaves one thing of every kind and sees that it is found; what bears another instance's
// name is not.
func TestHost(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("not root")
		}
		t.Skip("needs root to leave something")
	}
	if err := Adopt(); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state")
	write(t, state+"/instance", "0a0a0a0a\n")
	before, err := Host(state)
	if err != nil {
		t.Fatal(err)
	}
	for name, leave := range map[string]func(t *testing.T, instance string){
		"process": orphan, "mount": mount, "link": link, "table": table, "cgroup": group, "file": file,
	} {
		t.Run(name, func(t *testing.T) {
			leave(t, "0b0b0b0b")
			if after, err := Host(state); err != nil || len(after.Since(before)) != 0 {
				t.Errorf("another instance's: %q, %v", after.Since(before), err)
			}
			leave(t, "0a0a0a0a")
			after, err := Host(state)
			found := after.Since(before)
			if err != nil || !slices.ContainsFunc(found, func(item string) bool { return strings.HasPrefix(item, name+" ") }) {
				t.Errorf("found %q, %v", found, err)
			}
			if own, err := Owned(state); err != nil || len(own) == 0 {
				t.Errorf("owned %v, %v", own, err)
			}
		})
	}
	if after, err := Host(state); err != nil || len(after.Since(before)) != 0 {
		t.Errorf("in the end: %q, %v", after.Since(before), err)
	}
}

// orphan leaves a process whose parent is gone. It ends with the pipe that it reads.
func orphan(t *testing.T, instance string) {
	in, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c := exec.Command("sh", "-c", `sh -c 'read x <&3; :' lambent --instance=`+instance+` >/dev/null 2>&1 & echo $!`)
	c.ExtraFiles = []*os.File{in}
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close(); gone(t, strings.TrimSpace(string(out))) })
}

func gone(t *testing.T, pid string) {
	for deadline := time.Now().Add(5 * time.Second); ; {
		s, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(s), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s does not end", pid)
		}
	}
}

func mount(t *testing.T, instance string) {
	name := "/var/tmp/lambent-net-" + instance
	write(t, name, "")
	if err := unix.Mount("/proc/self/ns/net", name, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(name, 0); os.Remove(name) })
}

func link(t *testing.T, instance string) {
	l := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "lmbt" + instance[:4]}}
	if err := netlink.LinkAdd(l); err != nil {
		t.Skip("no dummy links here: ", err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(l) })
	if err := netlink.LinkSetAlias(l, "lambent "+instance); err != nil {
		t.Fatal(err)
	}
}

func table(t *testing.T, instance string) {
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	own := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "lambent_" + instance})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.DelTable(own); _ = conn.Flush() })
}

func group(t *testing.T, instance string) {
	parent := "/sys/fs/cgroup"
	if _, err := os.Stat(parent + "/cgroup.procs"); err != nil {
		parent += "/pids"
	}
	name := parent + "/lambent/" + instance + "/box"
	if err := os.MkdirAll(name, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Rmdir(name); _ = unix.Rmdir(filepath.Dir(name)) })
}

func file(t *testing.T, instance string) {
	name := "/dev/shm/lambent_" + instance
	write(t, name, "")
	t.Cleanup(func() { os.Remove(name) })
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestServer counts what this process has, before and after one more descriptor and goroutine.
func TestServer(t *testing.T) {
	state := t.TempDir()
	write(t, state+"/metrics-token", "secret\n")
	goroutines := "7"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" || r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte("# HELP go_goroutines x\ngo_goroutines " + goroutines + "\n"))
	}))
	defer srv.Close()
	base, err := Server(os.Getpid(), state, srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	goroutines = "8"
	write(t, state+"/run/6f0a9d2c", "")
	write(t, state+"/logs/1", "")
	for _, name := range []string{"/run/6f0a9d2c", "/logs/1"} {
		f, err := os.Open(state + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	now, err := Server(os.Getpid(), state, srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	above := strings.Join(now.Above(base), "\n")
	if !strings.Contains(above, "descriptor /run/N: 1, were 0") || !strings.Contains(above, "goroutines: 8, were 7") || strings.Contains(above, "logs") {
		t.Errorf("found:\n%s", above)
	}
}
