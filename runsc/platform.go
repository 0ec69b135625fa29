package main

import (
	"gvisor.dev/gvisor/pkg/sentry/platform"
	_ "gvisor.dev/gvisor/runsc/boot" // registers the platforms
)

// systrap is the platform that runs the code, for sandbox processes without any
// capability: its user namespace is its own, where tracing its children needs none.
// Upstream would leave CAP_SYS_PTRACE to a sandbox process that drops its
// capabilities in place (see bootArgs).
type systrap struct{ platform.Constructor }

func (s systrap) Requirements() platform.Requirements {
	r := s.Constructor.Requirements()
	r.RequiresCapSysPtrace = false
	return r
}

func dropPtrace() error {
	p, err := platform.Lookup("systrap")
	if err != nil {
		return err
	}
	platform.Register("systrap", systrap{p})
	return nil
}
