package bootstrap

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestMain is the function's own bootstrap when the program under test starts this binary as one.
func TestMain(m *testing.M) {
	if strings.HasSuffix(os.Args[0], "/bootstrap") {
		home, ok := os.LookupEnv("HOME")
		fmt.Println(os.Args, os.Getenv("FIRST"), os.Getenv("LAST"), home, ok, len(os.Environ()))
		os.Exit(7)
	}
	os.Exit(m.Run())
}

func TestProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for its own root directory; make test has it")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	me, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	const home = "HOME=/home/sbx_user1051"
	for _, c := range []struct {
		name   string
		files  map[string]string // by path; a name that ends in ! cannot be executed
		env    []string
		status int
		output string
	}{
		{"from the package", map[string]string{"var/task/bootstrap": string(me), "opt/bootstrap": "x"}, []string{"FIRST=1", home, "LAST=2"}, 7, "[/var/task/bootstrap] 1 2  false 2\n"},
		{"from a layer", map[string]string{"opt/bootstrap": string(me)}, []string{"FIRST=1", "LAST=2", home}, 7, "[/opt/bootstrap] 1 2  false 2\n"},
		{"the function's own HOME", map[string]string{"opt/bootstrap": string(me)}, []string{"HOME=/home/sbx_user10511"}, 7, "[/opt/bootstrap]   /home/sbx_user10511 true 1\n"},
		{"a shorter HOME", map[string]string{"opt/bootstrap": string(me)}, []string{"HOME=/home"}, 7, "[/opt/bootstrap]   /home true 1\n"},
		{"no variables", map[string]string{"opt/bootstrap": string(me)}, []string{}, 7, "[/opt/bootstrap]    false 0\n"},
		{"none", nil, nil, ExitNone, ""},
		{"not executable", map[string]string{"var/task/bootstrap!": string(me), "opt/bootstrap": string(me)}, nil, ExitPermission, ""},
		{"no program", map[string]string{"var/task/bootstrap": "echo no"}, nil, ExitFormat, ""},
		{"no interpreter", map[string]string{"var/task/bootstrap": "#!/bin/sh\r\n"}, nil, ExitNotFound, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				file, locked := strings.CutSuffix(filepath.Join(root, name), "!")
				mode := os.FileMode(0o755)
				if locked {
					mode = 0o644
				}
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), mode)); err != nil {
					t.Fatal(err)
				}
			}
			program, err := Program(runtime.GOARCH)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "start"), program, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Cmd{Path: "/start", Args: []string{"/var/runtime/bootstrap"}, Env: c.env, Dir: "/", SysProcAttr: &syscall.SysProcAttr{Chroot: root}}
			if c.env == nil {
				cmd.Env = []string{home}
			}
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != c.status || string(out) != c.output {
				t.Errorf("status %d, output %q; want %d, %q", got, out, c.status, c.output)
			}
		})
	}
}

// TestProcessors: the files are what a kernel of their processor loads.
func TestProcessors(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := Program(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(strings.NewReader(string(program)))
		if err != nil {
			t.Fatal(err)
		}
		p := f.Progs[0]
		if f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 || p.Filesz != uint64(len(program)) || f.Entry <= p.Vaddr || f.Entry >= p.Vaddr+p.Filesz {
			t.Errorf("%s: %v %v entry %#x, %+v", arch, f.Machine, f.Type, f.Entry, p)
		}
	}
	if _, err := Program("riscv64"); err == nil {
		t.Error("a program for a processor that there is none for")
	}
}
