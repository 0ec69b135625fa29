package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Descriptors that the caller of "run" passes with --pass-fd to guest numbers from
// reservedFD on are not for the code but for the sandbox process itself.
const (
	reservedFD   = 1 << 20
	stdioFD      = reservedFD      // 3: the code's standard streams
	filestoreFD  = reservedFD + 16 // 16: files behind scratch mounts, in mount order
	reservedEnd  = reservedFD + 32
	numStdio     = 3
	maxFilestore = reservedEnd - filestoreFD
)

// Annotations of the specification that set what the code sees of the machine.
// Upstream takes both from the runtime's cgroup, which we do not let it manage.
const (
	memoryAnnotation = "dev.lambent.memory" // bytes
	cpusAnnotation   = "dev.lambent.cpus"
)

// bootArgs rewrites the arguments of the internal "boot" command. It runs again when
// boot re-executes itself, and then changes nothing.
func bootArgs(args []string) ([]string, error) {
	var (
		out    []string
		stdio  []string        // runsc's own streams
		given  = map[int]int{} // reserved guest number -> descriptor here
		specFD = -1
	)
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "--pass-fd":
			kept, err := splitPassFDs(value, given)
			if err != nil {
				return nil, err
			}
			if kept != "" {
				out = append(out, "--pass-fd="+kept)
			}
			continue
		case "--stdio-fds":
			stdio = append(stdio, strings.Split(value, ",")...)
			continue
		case "--spec-fd":
			n, err := strconv.Atoi(value)
			if err != nil {
				return nil, fmt.Errorf("parse %s: %w", a, err)
			}
			specFD = n
		}
		out = append(out, a)
	}
	stdio, err := replaceStdio(stdio, given)
	if err != nil {
		return nil, err
	}
	machine, err := machineArgs(specFD)
	if err != nil {
		return nil, err
	}
	id := out[len(out)-1]
	// Drop all capabilities in place, as upstream does for directfs. Otherwise boot
	// executes itself a second time to be rid of them: 12 ms. It is nobody already.
	out = append(out[:len(out)-1], "--apply-caps=true", "--stdio-fds="+strings.Join(stdio, ","))
	out = append(out, filestoreArgs(given)...)
	return append(append(out, machine...), id), nil
}

// splitPassFDs records the reserved mappings of one --pass-fd value ("M:N,...") in
// given and returns the rest.
func splitPassFDs(value string, given map[int]int) (string, error) {
	var kept []string
	for _, m := range strings.Split(value, ",") {
		host, guest, ok := strings.Cut(m, ":")
		h, err1 := strconv.Atoi(host)
		g, err2 := strconv.Atoi(guest)
		if !ok || err1 != nil || err2 != nil {
			kept = append(kept, m)
			continue
		}
		switch {
		case g < reservedFD:
			kept = append(kept, m)
		case g < reservedEnd:
			given[g] = h
		default:
			return "", fmt.Errorf("descriptor %d is out of range", g)
		}
	}
	return strings.Join(kept, ","), nil
}

// replaceStdio puts the caller's standard streams, if it gave any, in the place of
// runsc's own, which only carry runsc's errors, and closes those.
func replaceStdio(old []string, given map[int]int) ([]string, error) {
	if len(given) == 0 {
		return old, nil
	}
	streams := make([]string, numStdio)
	for i := range streams {
		fd, ok := given[stdioFD+i]
		if !ok {
			return nil, fmt.Errorf("standard stream %d is missing", i)
		}
		streams[i] = strconv.Itoa(fd)
	}
	for _, s := range old {
		if fd, err := strconv.Atoi(s); err == nil {
			unix.Close(fd)
		}
	}
	return streams, nil
}

// filestoreArgs hands the sandbox the files behind its scratch mounts. Upstream opens
// them through the gofer; nothing else would need one.
func filestoreArgs(given map[int]int) []string {
	var fds []string
	for i := range maxFilestore {
		if fd, ok := given[filestoreFD+i]; ok {
			fds = append(fds, strconv.Itoa(fd))
		}
	}
	if len(fds) == 0 {
		return nil
	}
	return []string{"--gofer-filestore-fds=" + strings.Join(fds, ",")}
}

// machineArgs reads memory and CPU count from the specification. Later flags win.
func machineArgs(specFD int) ([]string, error) {
	if specFD < 0 {
		return nil, nil
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	// Upstream seeks to the start before it reads.
	f := os.NewFile(uintptr(dup(specFD)), "spec")
	defer f.Close()
	if err := json.NewDecoder(io.NewSectionReader(f, 0, 1<<26)).Decode(&spec); err != nil {
		return nil, fmt.Errorf("read specification: %w", err)
	}
	var out []string
	if v := spec.Annotations[memoryAnnotation]; v != "" {
		out = append(out, "--total-memory="+v)
	}
	if v := spec.Annotations[cpusAnnotation]; v != "" {
		out = append(out, "--cpu-num="+v)
	}
	return out, nil
}

func dup(fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1
	}
	return n
}
