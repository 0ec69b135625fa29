package main

import (
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/sentry/platform"
	_ "gvisor.dev/gvisor/pkg/sentry/platform/systrap"
	_ "gvisor.dev/gvisor/runsc/boot" // registers the platforms
)

// systrap is the platform that runs the code, with two changes.
type systrap struct{ platform.Constructor }

// Requirements leaves out CAP_SYS_PTRACE, which upstream would leave to a sandbox
// process that drops its capabilities in place (see bootArgs). In the user namespace
// of its own, tracing its children needs none.
func (s systrap) Requirements() platform.Requirements {
	r := s.Constructor.Requirements()
	r.RequiresCapSysPtrace = false
	return r
}

// New makes a platform that stands being frozen. Upstream talks to the threads that
// make host calls for it by seccomp notifications; freezing interrupts one that was
// not yet received, the kernel reports ENOENT, and upstream takes the process for
// dead and kills the code. Where there are no notifications it uses futexes, which
// are restarted.
func (s systrap) New(o platform.Options) (platform.Platform, error) {
	p, err := s.Constructor.New(o) // finds out what the kernel supports
	seccompNotifyIsSupported = false
	return p, err
}

//go:linkname seccompNotifyIsSupported gvisor.dev/gvisor/pkg/sentry/platform/systrap.seccompNotifyIsSupported
var seccompNotifyIsSupported bool

func wrapPlatform() error {
	p, err := platform.Lookup("systrap")
	if err != nil {
		return err
	}
	platform.Register("systrap", systrap{p})
	return nil
}
