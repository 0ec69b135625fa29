package leak

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Counts are a process's resources by kind.
type Counts map[string]int

// Above lists the kinds of which there are more than in base.
func (c Counts) Above(base Counts) []string {
	var out []string
	for kind, n := range c {
		if n > base[kind] {
			out = append(out, fmt.Sprintf("%s: %d, were %d", kind, n, base[kind]))
		}
	}
	slices.Sort(out)
	return out
}

var (
	numbers = regexp.MustCompile(`[0-9a-f]{8,}(?:-[0-9a-f]+)*|[0-9]+`)
	grows   = regexp.MustCompile(`^/(etcd|logs|ledger)/`)
)

// Server counts the descriptors of the server on a state directory, and its goroutines if it
// serves metrics.
func Server(pid int, state, url string) (Counts, error) {
	c := Counts{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("count descriptors: %w", err)
	}
	for _, n := range names {
		to, err := os.Readlink(filepath.Join(dir, n.Name()))
		if err != nil {
			continue // it was closed meanwhile
		}
		if within, ok := strings.CutPrefix(to, state); ok {
			if grows.MatchString(within) {
				continue
			}
			to = within
		}
		c["descriptor "+numbers.ReplaceAllString(to, "N")]++
	}
	return c, goroutines(c, state, url)
}

// goroutines asks the server itself: a debugger would stop it.
func goroutines(c Counts, state, url string) error {
	token, err := os.ReadFile(filepath.Join(state, "metrics-token"))
	if err != nil {
		return nil // a build without metrics
	}
	req, err := http.NewRequest(http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Close = true // no connection of ours stays
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("count goroutines: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("count goroutines: %s", resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			c["goroutines"], err = strconv.Atoi(v)
			return err
		}
	}
	return fmt.Errorf("count goroutines: /metrics has no go_goroutines (%w)", lines.Err())
}
