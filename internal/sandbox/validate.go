package sandbox

import (
	"fmt"
	"path"
	"regexp"
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// Validate reports the first rule that the specification breaks, wrapping
// ErrInvalid.
func (s Spec) Validate() error {
	switch {
	case !idPattern.MatchString(s.ID):
		return fmt.Errorf("%w: id %q", ErrInvalid, s.ID)
	case s.Memory < 0 || s.CPUs < 0 || s.CPU < 0 || s.Weight < 0 || s.Spare < 0:
		return fmt.Errorf("%w: negative limit", ErrInvalid)
	case len(s.Containers) == 0:
		return fmt.Errorf("%w: no container", ErrInvalid)
	}
	for i, c := range s.Containers {
		if err := c.validate(); err != nil {
			return fmt.Errorf("container %d: %w", i, err)
		}
	}
	return nil
}

func (c Container) validate() error {
	switch {
	case c.RootFS == "":
		return fmt.Errorf("%w: no root file system", ErrInvalid)
	case len(c.Args) == 0 || c.Args[0] == "":
		return fmt.Errorf("%w: no command", ErrInvalid)
	case c.Cwd != "" && !path.IsAbs(c.Cwd):
		return fmt.Errorf("%w: working directory %q is not absolute", ErrInvalid, c.Cwd)
	}
	for _, m := range c.Mounts {
		if !path.IsAbs(m.Destination) || path.Clean(m.Destination) == "/" {
			return fmt.Errorf("%w: mount destination %q", ErrInvalid, m.Destination)
		}
		if (m.Image == "") == (m.Scratch <= 0) {
			return fmt.Errorf("%w: mount %s needs either an image or a scratch size", ErrInvalid, m.Destination)
		}
	}
	for _, r := range c.Rlimits {
		if r.Soft > r.Hard {
			return fmt.Errorf("%w: %s: soft limit above hard limit", ErrInvalid, r.Type)
		}
	}
	return nil
}
