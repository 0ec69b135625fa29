// Package doctor finds out whether this machine can run a server, by doing what the server will
// do: it makes a network and connects out of it, makes a control group, writes to the disk.
// Nothing of what it makes remains.
//
// Check is for people: every finding that is not ok comes with the command that mends it.
// Require is for the start of a server: what it cannot do without, one line each. The findings
// are plain data; Table and JSON write them. Nothing here is kept between calls, and calls may
// run at the same time.
package doctor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/cgroup"
	"lambent.dev/lambent/internal/network"
	"lambent.dev/lambent/internal/statedir"
)

// Status is how a finding bears on a server.
type Status string

// The statuses, from good to bad: as it should be; runs, but not as well or not all; does not
// run.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Finding is the answer to one question about this machine.
type Finding struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	// Fix is a command that mends it; empty when the status is OK.
	Fix string `json:"fix,omitempty"`
}

// An Examination answers some questions. Other packages bring theirs through Config.Extra.
type Examination func(ctx context.Context) []Finding

// Config is what there is to know about the server that is to run here.
type Config struct {
	StateDir string
	// Listen is the address of the region's port.
	Listen string
	// EgressAllow and DNS are as in network.Config.
	EgressAllow, DNS []string
	// Probe is the host:port that a sandbox must be able to connect to; default DefaultProbe.
	Probe string
	// Runtimes lists the managed runtimes whose images are at hand; nil leaves the question out.
	Runtimes func(ctx context.Context) ([]string, error)
	// Extra are more examinations, made last.
	Extra []Examination
}

// DefaultProbe is where images of managed runtimes and functions come from.
const DefaultProbe = "public.ecr.aws:443"

// Check examines the machine. It takes a few seconds where something does not answer.
func Check(ctx context.Context, cfg Config) []Finding {
	var out []Finding
	for _, examine := range append([]Examination{
		func(context.Context) []Finding { return privileges(effective()) },
		func(context.Context) []Finding { return []Finding{kernel(release())} },
		controlGroups,
		func(ctx context.Context) []Finding { return networks(ctx, cfg) },
		func(context.Context) []Finding { return stateDir(cfg.StateDir) },
		func(context.Context) []Finding {
			return []Finding{memory("/proc/meminfo"), sharedMemory(statedir.MemoryFS), descriptors()}
		},
		func(context.Context) []Finding { return []Finding{port(cfg)} },
		func(ctx context.Context) []Finding { return runtimes(ctx, cfg.Runtimes) },
	}, cfg.Extra...) {
		out = append(out, examine(ctx)...)
	}
	return out
}

// Require says what a server cannot run without and this machine does not give, one line for
// each thing, or nil.
func Require() error {
	var missing []error
	must := func(findings ...Finding) {
		for _, f := range findings {
			if f.Status == Fail {
				missing = append(missing, fmt.Errorf("%s: %s (try: %s)", f.Name, f.Detail, f.Fix))
			}
		}
	}
	must(privileges(effective())...)
	if len(missing) > 0 {
		return errors.Join(missing...) // whatever else fails does so for want of these
	}
	must(kernel(release()))
	must(controlGroups(context.Background())...)
	must(features())
	return errors.Join(missing...)
}

// Worst is the worst status of findings.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		if f.Status == Fail || worst == OK {
			worst = f.Status
		}
	}
	return worst
}

// Table writes findings for people.
func Table(w io.Writer, findings []Finding) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", f.Status, f.Name, oneLine(f.Detail))
		if f.Fix != "" {
			fmt.Fprintf(tw, "\t\ttry: %s\n", oneLine(f.Fix))
		}
	}
	return tw.Flush()
}

// JSON writes findings for programs.
func JSON(w io.Writer, findings []Finding) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(findings)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func ok(name, format string, args ...any) Finding {
	return Finding{Name: name, Status: OK, Detail: fmt.Sprintf(format, args...)}
}

// bad is a finding that is not ok; its detail is the error.
func bad(name string, status Status, err error, fix string) Finding {
	return Finding{Name: name, Status: status, Detail: oneLine(err.Error()), Fix: fix}
}

const visitorPrefix = "doctor-"

// visitor is a name for what an examination makes, so that it meets no server's. It says whose it
// is: see sweepVisitors.
func visitor() string {
	return fmt.Sprintf("%s%d-%s", visitorPrefix, os.Getpid(), strings.ToLower(rand.Text()[:6]))
}

// sweepVisitors removes the control groups of examinations whose process was killed.
func sweepVisitors(ctx context.Context, h *cgroup.Hierarchy) error {
	names, err := h.Instances()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, visitorPrefix), "-")
		pid, err := strconv.Atoi(number)
		if !strings.HasPrefix(name, visitorPrefix) || err != nil || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		left, err := cgroup.Open(cgroup.Config{Instance: name})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, left.Sweep(ctx, nil), left.Close())
	}
	return errors.Join(errs...)
}

// controlGroups makes one with every limit and removes it.
func controlGroups(ctx context.Context) []Finding {
	const name = "control groups"
	const fix = "mount -t cgroup2 none /sys/fs/cgroup  # in a container: run it with --privileged --cgroupns=host"
	h, err := cgroup.Open(cgroup.Config{Instance: visitor()})
	if err != nil {
		return []Finding{bad(name, Fail, err, fix)}
	}
	_ = sweepVisitors(ctx, h) // says nothing about this host; the next one tries again
	g, err := h.Create("probe", cgroup.Limits{Memory: 64 << 20, CPU: 100, PIDs: 16})
	if err == nil {
		err = errors.Join(g.Freeze(ctx), g.Thaw(ctx), g.Delete(ctx))
	}
	if err = errors.Join(err, h.Close()); err != nil {
		return []Finding{bad(name, Fail, err, fix)}
	}
	return []Finding{ok(name, "version %d: limits and freezing work", h.Version())}
}

// features makes a network in a namespace that goes away with it.
func features() Finding {
	const name = "network features"
	if err := network.Try(); err != nil {
		return bad(name, Fail, err, "modprobe -a veth nf_tables nft_ct nft_fib_inet nft_masq nft_chain_nat nft_connlimit nfnetlink_cttimeout")
	}
	return ok(name, "namespaces, veth and nftables work")
}
