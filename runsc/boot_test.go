package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// specFile returns the descriptor of a specification, as "boot" gets it.
func specFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return strconv.Itoa(int(f.Fd()))
}

func TestBootArgs(t *testing.T) {
	fd := specFile(t, `{"annotations":{"dev.lambent.memory":"1234","dev.lambent.cpus":"3"}}`)
	// runsc's own streams, numbers far above anything open here: they get closed.
	args := []string{
		"runsc-sandbox", "--network=none", "boot", "--bundle=/b", "--spec-fd=" + fd,
		"--stdio-fds=5001", "--stdio-fds=5002", "--stdio-fds=5003",
		"--total-memory=999999", "--pass-fd=21:1048577", "--pass-fd=20:1048576", "--pass-fd=22:1048578",
		"--pass-fd=23:3", "--pass-fd=25:1048593", "--pass-fd=24:1048592", "id",
	}
	want := "runsc-sandbox --network=none boot --bundle=/b --spec-fd=" + fd +
		" --total-memory=999999 --pass-fd=23:3 --apply-caps=true --stdio-fds=20,21,22" +
		" --gofer-filestore-fds=24,25 --total-memory=1234 --cpu-num=3 id"
	got, err := bootArgs(args)
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

// TestBootArgsPlain: without anything of ours, upstream's own streams stay.
func TestBootArgsPlain(t *testing.T) {
	fd := specFile(t, `{}`)
	got, err := bootArgs([]string{"runsc-sandbox", "boot", "--spec-fd=" + fd, "--stdio-fds=7,8,9", "--pass-fd=30:3,31:4", "id"})
	want := []string{"runsc-sandbox", "boot", "--spec-fd=" + fd, "--pass-fd=30:3,31:4", "--apply-caps=true", "--stdio-fds=7,8,9", "id"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q, %v", got, want, err)
	}
}

func TestBootArgsRefused(t *testing.T) {
	fd := specFile(t, `{}`)
	for name, pass := range map[string]string{
		"out of range":    "--pass-fd=20:1048640",
		"missing streams": "--pass-fd=20:1048576",
	} {
		if got, err := bootArgs([]string{"x", "boot", "--spec-fd=" + fd, pass, "id"}); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestSeccompIsCurrent: the committed programs are those of the gVisor version in
// go.mod. A program of another version would be found by its name and be wrong.
func TestSeccompIsCurrent(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	p, err := decodeSeccomp(seccompGob)
	if err != nil {
		t.Fatal(err)
	}
	if p.Version == "" || !strings.Contains(string(mod), "gvisor.dev/gvisor "+p.Version+"\n") {
		t.Errorf("seccomp.gob was made for gVisor %s; run go generate", p.Version)
	}
	for _, network := range []string{"HostNetwork=false", "HostFilesystem=false"} {
		if !slices.ContainsFunc(p.Programs, func(p program) bool { return strings.Contains(p.Name, network) }) {
			t.Errorf("no program with %s", network)
		}
	}
}
