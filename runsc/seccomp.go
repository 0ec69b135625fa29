package main

import (
	"bytes"
	_ "embed"
	"encoding/gob"
	"sync"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	_ "gvisor.dev/gvisor/runsc/boot/filter"
)

//go:generate go run ./gen seccomp.gob

// seccompGob is the list of seccomp programs that upstream's build compiles ahead of
// time and a module build does not: 11 ms of every boot. gen writes it, and a test
// ties it to the version of gVisor. A configuration that is not in it is compiled at
// boot, as without it.
//
//go:embed seccomp.gob
var seccompGob []byte

type program = precompiledseccomp.Program

// seccompPrograms is what seccompGob holds; see gen.
type seccompPrograms struct {
	Version  string // of gvisor.dev/gvisor
	Programs []program
}

func decodeSeccomp(data []byte) (seccompPrograms, error) {
	var p seccompPrograms
	err := gob.NewDecoder(bytes.NewReader(data)).Decode(&p)
	return p, err
}

//go:linkname precompiledPrograms gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
var precompiledPrograms map[string]program

//go:linkname registerPrecompiledProgramsOnce gvisor.dev/gvisor/runsc/boot/filter.registerPrecompiledProgramsOnce
var registerPrecompiledProgramsOnce sync.Once

func installSeccomp() {
	registerPrecompiledProgramsOnce.Do(func() {
		p, err := decodeSeccomp(seccompGob)
		if err != nil {
			return
		}
		precompiledPrograms = make(map[string]program, len(p.Programs))
		for _, p := range p.Programs {
			precompiledPrograms[p.Name] = p
		}
	})
}
