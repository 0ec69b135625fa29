// Package leak is the one check for what servers leave: tests compare what there is on the host,
// and in the server's process, before and after.
//
// On the host: processes (every descendant of the test, which adopts the orphans), mounts,
// namespaces that have a name, links, nftables tables, control groups, forwarding switches, files
// in the places where programs leave them. In the server: descriptors by kind, goroutines by
// /metrics. Whatever bears the name of another server instance is left out, so that tests can
// run beside other servers. Two things are shared by all instances of a host and stay: the file
// /run/lambent-network.lock and the control group "lambent" that holds those of the instances.
// Descriptors of etcd, logs and ledger are not compared: a region has as many as it has segments.
//
// All functions may be called from any goroutine.
package leak

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Items is what there is: "kind name".
type Items map[string]bool

// Since lists what is there now and was not before.
func (now Items) Since(before Items) []string {
	var out []string
	for _, item := range slices.Sorted(maps.Keys(now)) {
		if !before[item] {
			out = append(out, item)
		}
	}
	return out
}

// Adopt makes orphans of this process's descendants its own children, so that no process that a
// server has started can hide from Host.
func Adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Host lists what a server on a state directory could leave on this host, and everything else of
// these kinds but what other instances own.
func Host(state string) (Items, error) {
	s := scan{state: state, items: Items{}}
	if b, err := os.ReadFile(filepath.Join(state, "instance")); err == nil {
		s.instance = strings.TrimSpace(string(b))
	}
	for _, step := range []func() error{s.processes, s.mounts, s.links, s.tables, s.groups, s.files} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("look for leaks: %w", err)
		}
	}
	return s.items, nil
}

// Owned is the part of Host that bears the name of the state directory's instance.
func Owned(state string) (Items, error) {
	all, err := Host(state)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(state, "instance"))
	if err != nil {
		return nil, err
	}
	instance := strings.TrimSpace(string(b))
	maps.DeleteFunc(all, func(item string, _ bool) bool {
		return !strings.Contains(item, instance) && !strings.Contains(item, state)
	})
	return all, nil
}

type scan struct {
	state, instance string
	items           Items
}

// marks are the forms in which an instance's name stands in the names of its things.
var marks = regexp.MustCompile(`(?:lambent-net-|lambent_|/lambent/|\(lambent |--instance=|/run/)([0-9a-f]{8})\b`)

// add notes an item, unless it is another instance's.
func (s *scan) add(kind, name string) {
	for _, m := range marks.FindAllStringSubmatch(name, -1) {
		if m[1] != s.instance {
			return
		}
	}
	s.items[kind+" "+name] = true
}

// processes are the descendants of this process that live, this one's helpers included.
func (s *scan) processes() error {
	parents, lines := map[int]int{}, map[int]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(rest) < 2 || rest[0] == "Z" || rest[0] == "X" {
			continue
		}
		parents[pid], _ = strconv.Atoi(rest[1])
		line, _ := os.ReadFile(dir + "/cmdline")
		lines[pid] = string(bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '}))
	}
	self := os.Getpid()
	for pid := range parents {
		for up := parents[pid]; up > 1; up = parents[up] {
			if up == self {
				s.process(pid, lines[pid])
				break
			}
		}
	}
	return nil
}

func (s *scan) process(pid int, line string) {
	if _, after, ok := strings.Cut(line, "--state-dir "); ok && !strings.HasPrefix(after+" ", s.state+" ") {
		return // another region's server
	}
	s.add("process", fmt.Sprintf("%d %s", pid, line))
}

func (s *scan) mounts() error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		left, right, _ := strings.Cut(lines.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 2 {
			continue
		}
		if strings.HasPrefix(l[4], os.TempDir()) && !strings.HasPrefix(l[4], s.state) {
			continue // another test's
		}
		s.add("mount", l[4]+" "+r[0]+" "+r[1])
	}
	return lines.Err()
}

func (s *scan) links() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		s.add("link", fmt.Sprintf("%s (%s)", l.Attrs().Name, l.Attrs().Alias))
	}
	return nil
}

// tables are nftables', and the switches for forwarding unless another instance needs them, too.
func (s *scan) tables() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := conn.ListTables()
	if err != nil {
		return err
	}
	others := false
	for _, t := range tables {
		s.add("table", fmt.Sprintf("%d %s", t.Family, t.Name))
		others = others || strings.HasPrefix(t.Name, "lambent_") && t.Name != "lambent_"+s.instance
	}
	if others {
		return nil
	}
	switches, err := filepath.Glob("/proc/sys/net/ipv4/conf/*/forwarding")
	if err != nil {
		return err
	}
	for _, name := range append(switches, "/proc/sys/net/ipv4/ip_forward") {
		if b, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(b)) != "0" {
			s.add("forwarding", name)
		}
	}
	return nil
}

// groups are the control groups of every hierarchy, of either version.
func (s *scan) groups() error {
	for _, pattern := range []string{"/sys/fs/cgroup/lambent/*", "/sys/fs/cgroup/lambent/*/*", "/sys/fs/cgroup/*/lambent/*", "/sys/fs/cgroup/*/lambent/*/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				s.add("cgroup", name)
			}
		}
	}
	return nil
}

// ours is what the names of our programs' files in a shared directory have in common.
var ours = regexp.MustCompile(`(?i)lambent|runsc|gvisor|erofs|etcd|^tmp-|^scratch-`)

// daemons are directories in which others come and go.
var daemons = regexp.MustCompile(`^/run/(systemd|udev|user|log|dbus|lock)$`)

// files looks where programs leave files: names of any kind in directories that few use, names
// that look like ours in those that all use. Host's TMPDIR is checked by regiontest.
func (s *scan) files() error {
	for _, root := range []string{"/run", "/dev/shm", "/var/tmp"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // it went meanwhile
			}
			if d.IsDir() && (strings.Count(name, "/") > 5 || daemons.MatchString(name)) {
				return fs.SkipDir
			}
			s.add("file", name)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/lib", "/"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if ours.MatchString(e.Name()) {
				s.add("file", filepath.Join(dir, e.Name()))
			}
		}
	}
	delete(s.items, "file /run/lambent-network.lock")
	return nil
}
