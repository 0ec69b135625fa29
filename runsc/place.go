package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cgroupFlag precedes upstream's flags: a ':'-separated list of cgroup directories
// of version 1 hierarchies.
const cgroupFlag = "--lambent-cgroups="

// place moves the calling thread into the cgroups named by the first argument, if it
// is cgroupFlag, and returns the arguments without it.
//
// Only the calling thread is moved (the file "tasks"): moving a whole process takes
// a lock that waits for every CPU, and what matters is what this thread forks.
func place(args []string) ([]string, error) {
	if len(args) < 2 || !strings.HasPrefix(args[1], cgroupFlag) {
		return args, nil
	}
	for _, dir := range strings.Split(strings.TrimPrefix(args[1], cgroupFlag), ":") {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte("0"), 0); err != nil {
			return nil, fmt.Errorf("join cgroup: %w", err)
		}
	}
	return append(args[:1:1], args[2:]...), nil
}
