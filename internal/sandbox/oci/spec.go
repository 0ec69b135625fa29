package oci

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"

	"lambent.dev/lambent/internal/sandbox"
)

// The parts of the OCI runtime specification that we use.
type (
	ociSpec struct {
		Version     string            `json:"ociVersion"`
		Process     ociProcess        `json:"process"`
		Root        ociRoot           `json:"root"`
		Hostname    string            `json:"hostname"`
		Mounts      []ociMount        `json:"mounts"`
		Linux       ociLinux          `json:"linux"`
		Annotations map[string]string `json:"annotations"`
	}
	ociProcess struct {
		User            ociUser             `json:"user"`
		Args            []string            `json:"args"`
		Env             []string            `json:"env"`
		Cwd             string              `json:"cwd"`
		Capabilities    map[string][]string `json:"capabilities"`
		Rlimits         []ociRlimit         `json:"rlimits,omitempty"`
		NoNewPrivileges bool                `json:"noNewPrivileges"`
		OOMScoreAdj     int                 `json:"oomScoreAdj"`
	}
	ociUser struct {
		UID uint32 `json:"uid"`
		GID uint32 `json:"gid"`
	}
	ociRlimit struct {
		Type string `json:"type"`
		Hard uint64 `json:"hard"`
		Soft uint64 `json:"soft"`
	}
	ociRoot struct {
		Path     string `json:"path"`
		Readonly bool   `json:"readonly"`
	}
	ociMount struct {
		Destination string   `json:"destination"`
		Type        string   `json:"type"`
		Source      string   `json:"source"`
		Options     []string `json:"options,omitempty"`
	}
	ociLinux struct {
		Namespaces []ociNamespace `json:"namespaces"`
	}
	ociNamespace struct {
		Type string `json:"type"`
		Path string `json:"path,omitempty"`
	}
)

// What lambent-runsc reads from the specification (runsc/boot.go).
const (
	memoryAnnotation = "dev.lambent.memory"
	cpusAnnotation   = "dev.lambent.cpus"
)

// oomScore makes the kernel prefer a sandbox to any other process of the host when
// the host is out of memory. lambent-runsc has it from its first moment (runsc/place.go).
const oomScore = 500

// minCPUs: with one CPU, programs drop locks that a sandbox of several threads needs.
const minCPUs = 2

// config writes a sandbox's first container as an OCI specification. dir is the
// sandbox's directory; the empty directory in it stands for the root file system and
// the scratch mounts, whose contents come from elsewhere.
func config(s sandbox.Spec, dir string) ociSpec {
	c := s.Containers[0]
	empty := filepath.Join(dir, emptyDir)
	env := c.Env
	if env == nil {
		env = []string{}
	}
	spec := ociSpec{
		Version: "1.1.0",
		Process: ociProcess{
			User: ociUser{UID: c.UID, GID: c.GID},
			Args: c.Args, Env: env, Cwd: cmp.Or(c.Cwd, "/"),
			Capabilities:    map[string][]string{},
			NoNewPrivileges: true,
			OOMScoreAdj:     oomScore,
		},
		Root:     ociRoot{Path: empty, Readonly: true},
		Hostname: cmp.Or(s.Hostname, s.ID),
		Linux:    ociLinux{Namespaces: namespaces(s.NetNS)},
		Annotations: map[string]string{
			"dev.gvisor.spec.rootfs.source": c.RootFS,
			"dev.gvisor.spec.rootfs.type":   "erofs",
		},
	}
	for _, l := range c.Rlimits {
		spec.Process.Rlimits = append(spec.Process.Rlimits, ociRlimit{Type: l.Type, Soft: l.Soft, Hard: l.Hard})
	}
	spec.addMounts(c.Mounts, empty)
	if s.Memory > 0 {
		spec.Annotations[memoryAnnotation] = strconv.FormatInt(s.Memory, 10)
	}
	if s.CPUs > 0 {
		spec.Annotations[cpusAnnotation] = strconv.Itoa(max(s.CPUs, minCPUs))
	}
	return spec
}

// addMounts adds the system's mounts and the container's own.
//
// A scratch mount is a tmpfs inside the sandbox whose pages are those of a host file.
// gVisor makes one of a bind mount with the hint "tmpfs, private to the container".
func (s *ociSpec) addMounts(mounts []sandbox.Mount, empty string) {
	s.Mounts = []ociMount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	}
	n := 0
	for _, m := range mounts {
		if m.Image != "" {
			s.Mounts = append(s.Mounts, ociMount{
				Destination: m.Destination, Type: "erofs", Source: m.Image,
				Options: []string{"ro", "nosuid", "nodev"},
			})
			continue
		}
		source := filepath.Join(empty, strconv.Itoa(n))
		s.Mounts = append(s.Mounts, ociMount{
			Destination: m.Destination, Type: "bind", Source: source,
			Options: []string{"rw", "rbind", "nosuid", "nodev"},
		})
		hint := fmt.Sprintf("dev.gvisor.spec.mount.scratch%d.", n)
		s.Annotations[hint+"source"] = source
		s.Annotations[hint+"type"] = "tmpfs"
		s.Annotations[hint+"share"] = "container"
		s.Annotations[hint+"options"] = fmt.Sprintf("rw,mode=1777,size=%d", m.Scratch)
		n++
	}
}

func namespaces(netns string) []ociNamespace {
	out := []ociNamespace{{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}}
	if netns != "" {
		out = append(out, ociNamespace{Type: "network", Path: netns})
	}
	return out
}

// scratches counts the scratch mounts of a container.
func scratches(c sandbox.Container) int {
	n := 0
	for _, m := range c.Mounts {
		if m.Image == "" {
			n++
		}
	}
	return n
}
