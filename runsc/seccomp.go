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
// time and a module build does not: 11 ms of every boot. gen writes it; a program
// that does not fit the sandbox's configuration is not found by name and compiled
// as before, so a stale file costs time and nothing else.
//
//go:embed seccomp.gob
var seccompGob []byte

//go:linkname precompiledPrograms gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
var precompiledPrograms map[string]precompiledseccomp.Program

//go:linkname registerPrecompiledProgramsOnce gvisor.dev/gvisor/runsc/boot/filter.registerPrecompiledProgramsOnce
var registerPrecompiledProgramsOnce sync.Once

func installSeccomp() {
	registerPrecompiledProgramsOnce.Do(func() {
		var programs []precompiledseccomp.Program
		if err := gob.NewDecoder(bytes.NewReader(seccompGob)).Decode(&programs); err != nil {
			return // compiled at boot, as upstream does without them
		}
		precompiledPrograms = make(map[string]precompiledseccomp.Program, len(programs))
		for _, p := range programs {
			precompiledPrograms[p.Name] = p
		}
	})
}
