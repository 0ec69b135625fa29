// Package runtime knows Lambda's managed runtimes: which images serve an identifier, how the
// runtime's process is started, and the environment AWS gives it. It is pure and holds no state;
// a Table is safe for concurrent use.
//
// Source: the environments recorded on AWS and the bootstrap scripts AWS publishes.
package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent/runtimes"
)

// ErrUnknown is returned for an identifier that the table does not have.
var ErrUnknown = errors.New("unknown runtime")

// Family is a language's way of starting and its environment.
type Family string

// The families of managed runtimes.
const (
	Node     Family = "node"
	Python   Family = "python"
	Provided Family = "provided"
)

// Runtime is one row of the table.
type Runtime struct {
	ID     string   `json:"id"`     // python3.13
	Family Family   `json:"family"` // which client and environment
	Images []string `json:"images"` // references, the first that can be had serves
}

// Table is the runtimes that functions may have. It does not change once made.
type Table struct{ rows map[string]Runtime }

// Load makes the table: the rows that are built in, then those of the JSON list extra (none if
// it is empty), which replace or add to them by identifier.
func Load(extra []byte) (*Table, error) {
	t := &Table{rows: map[string]Runtime{}}
	if err := t.add(runtimes.Table); err != nil {
		return nil, fmt.Errorf("read the runtimes that are built in: %w", err)
	}
	if len(extra) == 0 {
		return t, nil
	}
	return t, t.add(extra)
}

func (t *Table) add(list []byte) error {
	var rows []Runtime
	d := json.NewDecoder(bytes.NewReader(list))
	d.DisallowUnknownFields()
	if err := d.Decode(&rows); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, r := range rows {
		switch {
		case r.ID == "":
			return fmt.Errorf("row %d has no id", i+1)
		case seen[r.ID]:
			return fmt.Errorf("%s is there twice", r.ID)
		case !slices.Contains([]Family{Node, Python, Provided}, r.Family):
			return fmt.Errorf("%s: family %q is none of node, python, provided", r.ID, r.Family)
		case len(r.Images) == 0 || slices.Contains(r.Images, ""):
			return fmt.Errorf("%s: images must name at least one image", r.ID)
		}
		seen[r.ID] = true
		t.rows[r.ID] = r
	}
	return nil
}

// Lookup finds a runtime by its identifier.
func (t *Table) Lookup(id string) (Runtime, error) {
	if r, ok := t.rows[id]; ok {
		return r, nil
	}
	return Runtime{}, fmt.Errorf("%w: %s", ErrUnknown, id)
}

// All lists the table, by identifier.
func (t *Table) All() []Runtime {
	return slices.SortedFunc(maps.Values(t.rows), func(a, b Runtime) int { return strings.Compare(a.ID, b.ID) })
}

// Version is the runtime's name in an INIT_START line: "python:3.13".
func (r Runtime) Version() string {
	for _, name := range []string{"nodejs", "python", "provided"} {
		if v, ok := strings.CutPrefix(r.ID, name); ok {
			return name + ":" + strings.TrimSuffix(strings.TrimPrefix(v, "."), ".x")
		}
	}
	return r.ID
}

// Start says how a runtime's process is started in an image.
type Start struct {
	Reference  string   // the image that was taken, one of Runtime.Images
	Entrypoint []string // of that image's configuration
	Handler    string   // the function's
	MemoryMB   int      // the function's
	Wrapped    bool     // the function sets AWS_LAMBDA_EXEC_WRAPPER
}

// Command is the runtime's command line. Images of our own (oci:) start their client directly,
// which saves a cold start the shell; others are started by their own entry point, with the
// handler as argument, as AWS's base images want it.
func (r Runtime) Command(s Start) []string {
	if !strings.HasPrefix(s.Reference, "oci:") || len(s.Entrypoint) > 0 {
		return append(slices.Clone(s.Entrypoint), s.Handler)
	}
	var cmd []string
	switch r.Family {
	case Node:
		// AWS: the heap's flags follow the memory size. The first is --expose-gc, which the client
		// stands in for.
		cmd = []string{"/var/lang/bin/node",
			"--max-http-header-size", "81920",
			"--max-semi-space-size=" + strconv.Itoa(max(1, s.MemoryMB/10/2)),
			"--max-old-space-size=" + strconv.Itoa(s.MemoryMB-s.MemoryMB/10),
			"/var/runtime/bootstrap.js"}
	case Python:
		cmd = []string{"/var/lang/bin/" + r.ID, "/var/runtime/bootstrap.py"}
	default:
		return []string{"/var/runtime/bootstrap"}
	}
	if s.Wrapped {
		cmd = append([]string{"/var/runtime/wrapper"}, cmd...)
	}
	return cmd
}
