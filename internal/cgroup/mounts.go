package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mounts are the host's cgroup mounts.
type mounts struct {
	v1 map[string]string // controller -> mount point
	v2 string
}

// parseMountInfo reads the format of /proc/self/mountinfo (proc(5)).
func parseMountInfo(r io.Reader) (mounts, error) {
	m := mounts{v1: map[string]string{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		lf, rf := strings.Fields(left), strings.Fields(right)
		if !ok || len(lf) < 5 || len(rf) < 3 {
			continue
		}
		point := unescape(lf[4])
		switch rf[0] {
		case "cgroup":
			for _, c := range strings.Split(rf[2], ",") {
				if m.v1[c] == "" {
					m.v1[c] = point
				}
			}
		case "cgroup2":
			if m.v2 == "" {
				m.v2 = point
			}
		}
	}
	return m, sc.Err()
}

// unescape undoes mountinfo's octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

var (
	needV1 = []string{"memory", "cpu", "cpuacct", "pids", "freezer"}
	needV2 = []string{"memory", "cpu", "pids"}
)

// cpuset is the controller that is used where there is one.
const cpuset = "cpuset"

// choose picks version 2 when it has all controllers, else version 1. A hybrid host
// is a version 1 host whose version 2 hierarchy has none that we need.
func choose(m mounts, dir string) (*Hierarchy, error) {
	var missing []string
	if m.v2 != "" {
		b, err := os.ReadFile(filepath.Join(m.v2, "cgroup.controllers"))
		if err != nil {
			return nil, fmt.Errorf("read controllers: %w", err)
		}
		have := strings.Fields(string(b))
		missing = nil
		for _, c := range needV2 {
			if !slices.Contains(have, c) {
				missing = append(missing, c)
			}
		}
		if len(missing) == 0 {
			return &Hierarchy{drv: &v2{root: m.v2, base: dir, cpuset: slices.Contains(have, cpuset)}, version: 2}, nil
		}
	}
	var missingV1 []string
	for _, c := range needV1 {
		if m.v1[c] == "" {
			missingV1 = append(missingV1, c)
		}
	}
	if len(missingV1) == 0 {
		return &Hierarchy{drv: newV1(m.v1, dir), version: 1}, nil
	}
	if m.v2 != "" && len(m.v1) == 0 {
		return nil, fmt.Errorf("%w: version 2 lacks the controllers %s", ErrUnavailable, strings.Join(missing, " "))
	}
	return nil, fmt.Errorf("%w: version 1 lacks the controllers %s", ErrUnavailable, strings.Join(missingV1, " "))
}
