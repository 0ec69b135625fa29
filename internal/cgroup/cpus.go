package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// without takes the first n CPUs from a list in the kernel's format ("0-3,8"). A list that would
// be empty then stays as it is.
func without(list string, n int) (string, error) {
	var left []string
	for _, part := range strings.Split(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			return "", fmt.Errorf("list of CPUs %q: %w", list, err)
		}
		to, err := strconv.Atoi(last)
		if err != nil || to < from {
			return "", fmt.Errorf("list of CPUs %q", list)
		}
		skip := min(n, to-from+1)
		n -= skip
		switch from += skip; {
		case from < to:
			left = append(left, fmt.Sprintf("%d-%d", from, to))
		case from == to:
			left = append(left, strconv.Itoa(from))
		}
	}
	if len(left) == 0 {
		return list, nil
	}
	return strings.Join(left, ","), nil
}
