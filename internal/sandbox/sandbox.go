// Package sandbox is the contract between what wants code run and what runs it:
// a sandbox is a pod of containers with one memory, CPU and network boundary.
//
// Runtime starts sandboxes and Sandbox controls one; oci implements both with any
// runtime that follows the OCI command line (gVisor's runsc by default), fake with
// plain host processes for tests, and sandboxtest is the contract both pass.
//
// Promises every implementation keeps: Run returns with the code started or with
// nothing left behind; Done is closed exactly once, after which Exit is final;
// Delete removes every process, file, mount and cgroup, may be repeated, and works
// on a frozen sandbox. All methods may be called concurrently.
package sandbox

import (
	"context"
	"errors"
	"os"
	"time"
)

var (
	// ErrExited is returned by operations that need a live sandbox.
	ErrExited = errors.New("sandbox has exited")

	// ErrUnsupported is returned for a Spec that asks for something the runtime's
	// Capabilities exclude.
	ErrUnsupported = errors.New("not supported by this sandbox runtime")

	// ErrInvalid is wrapped by the errors of Spec.Validate.
	ErrInvalid = errors.New("invalid sandbox specification")
)

// Spec describes a sandbox.
type Spec struct {
	// ID names the sandbox; unique per Runtime while the sandbox exists.
	// Letters, digits, '-', '_' and '.', at most 64.
	ID string
	// Hostname is what the code sees; the empty string means ID.
	Hostname string
	// NetNS is the path of the network namespace to join; the empty string gives
	// the sandbox no network but a loopback device.
	NetNS string
	// Memory is what the code sees and may use, in bytes. The runtime adds its own
	// overhead to the host's limit. 0 means unlimited.
	Memory int64
	// CPUs is how many CPUs the code sees; 0 means as many as the host has.
	CPUs int
	// CPU is the quota in thousandths of a CPU; 0 means unlimited.
	CPU int
	// Weight is the sandbox's part of the CPUs against other sandboxes when there are not enough
	// for all, in thousandths of the usual; 0 is the usual.
	Weight int
	// Spare is how many of the host's CPUs, the first ones, the sandbox leaves to others. It may use
	// all if it would have none otherwise, or where the host cannot do that.
	Spare int
	// Containers has at least one member; the first one is the app.
	Containers []Container
}

// Container is one container of a sandbox.
type Container struct {
	// Name is unique in the sandbox; it may be empty for the first container.
	Name string
	// RootFS is the path of an EROFS image file; it is always mounted read-only.
	RootFS string
	// Mounts are added in order. Their destinations must exist in the images.
	Mounts []Mount
	// Args is the command; Args[0] is a path inside the container.
	Args []string
	// Env is the whole environment.
	Env []string
	// Cwd is an absolute path; the empty string means "/".
	Cwd string
	// UID and GID the command runs as inside the container.
	UID, GID uint32
	// Rlimits are set for the command.
	Rlimits []Rlimit

	// Stdin, Stdout and Stderr are given to the command; nil means /dev/null. The
	// caller keeps ownership and may close its copies when Run has returned.
	Stdin, Stdout, Stderr *os.File
	// Files become the descriptors 3, 4, ... of the command. Ownership as above.
	Files []*os.File
}

// Mount is an EROFS image (read-only) or a scratch directory at a destination.
// Exactly one of Image and Scratch is set.
type Mount struct {
	// Destination is an absolute path inside the container.
	Destination string
	// Image is the path of an EROFS image file.
	Image string
	// Scratch is the size in bytes of an empty, writable, world-writable directory
	// on disk. Its contents do not count as memory and vanish with the sandbox.
	Scratch int64
}

// Rlimit is one resource limit of a container's command.
type Rlimit struct {
	// Type is the name as in setrlimit(2), for example RLIMIT_NOFILE.
	Type       string
	Soft, Hard uint64
}

// Runtime starts sandboxes.
type Runtime interface {
	// Run starts a sandbox; its code is running when Run returns. When ctx ends
	// first, everything is undone.
	Run(ctx context.Context, spec Spec) (Sandbox, error)
	// Capabilities says what this runtime can do.
	Capabilities() Capabilities
	// Sweep removes what earlier runs of this instance left behind, and nothing
	// that this Runtime has started.
	Sweep(ctx context.Context) error
}

// Sandbox is a running (or ended) sandbox.
type Sandbox interface {
	// ID returns Spec.ID.
	ID() string
	// Done is closed when the first container's command or the sandbox has ended.
	Done() <-chan struct{}
	// Exit says how; valid once Done is closed.
	Exit() Exit
	// Freeze stops every thread; it returns when all are stopped.
	Freeze(ctx context.Context) error
	// Thaw undoes Freeze. Thawing what is not frozen, or has ended, does nothing.
	Thaw(ctx context.Context) error
	// SetCPU changes the CPU quota, in thousandths of a CPU; 0 means unlimited.
	SetCPU(ctx context.Context, milli int) error
	// SetWeight changes Spec.Weight.
	SetWeight(ctx context.Context, thousandths int) error
	// SetSpare changes Spec.Spare.
	SetSpare(ctx context.Context, cores int) error
	// Stats measures the sandbox, frozen or not.
	Stats(ctx context.Context) (Stats, error)
	// Kill ends the sandbox at once, thawing it first if need be, and returns when
	// Done is closed. Killing an ended sandbox does nothing.
	Kill(ctx context.Context) error
	// Delete kills the sandbox if it is alive and removes every trace of it.
	Delete(ctx context.Context) error
}

// Exit is how a sandbox ended.
type Exit struct {
	// Code is the exit status of the command, 128+Signal if a signal ended it.
	Code int
	// Signal is the number of the signal that ended the command, or 0.
	Signal int
	// OOM is set when the sandbox was killed because it needed more memory.
	OOM bool
}

// Stats are measurements of one sandbox.
type Stats struct {
	// MemoryBytes is the code's own use: anonymous, shared and unreclaimable
	// kernel memory less the sandbox's own base. Never above Spec.Memory.
	MemoryBytes int64
	// CPUTime is the CPU time used so far by code and sandbox together.
	CPUTime time.Duration
	// ScratchBytes is what the scratch directories take of the host's disk.
	ScratchBytes int64
}

// Capabilities are what a Runtime can do; the contract suite skips what it cannot.
type Capabilities struct {
	// Isolated: own file systems, processes and kernel surface; RootFS and Mounts
	// of Spec are honoured.
	Isolated bool
	// MemoryLimit: Spec.Memory is enforced and Exit.OOM is reported.
	MemoryLimit bool
	// CPUQuota: Spec.CPU and SetCPU are enforced.
	CPUQuota bool
	// Network: Spec.NetNS is honoured.
	Network bool
	// MultiContainer: more than one container per sandbox.
	MultiContainer bool
	// Checkpoint: sandboxes can be saved and restored.
	Checkpoint bool
}
