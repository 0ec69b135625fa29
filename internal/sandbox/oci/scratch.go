package oci

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// scratch is the files that the scratch mounts of a sandbox are kept in, without names. The box
// holds them too, to see how much of the disk they take, so their room is free when the sandbox
// is deleted, not when its process ends.
type scratch []*os.File

// add makes one more file.
func (s *scratch) add(dir string) (*os.File, error) {
	f, err := scratchFile(dir)
	if err != nil {
		return nil, err
	}
	*s = append(*s, f)
	return f, nil
}

// size is how many bytes of the disk they take. Closed files take none.
func (s scratch) size() (n int64) {
	for _, f := range s {
		info, err := f.Stat()
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			n += st.Blocks * 512
		}
	}
	return n
}

func (s scratch) close() {
	for _, f := range s {
		f.Close()
	}
}

// scratchFile returns a file without a name in dir: it vanishes with the last
// process that has it open, whatever happens.
func scratchFile(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), "scratch"), nil
	}
	// Not every file system has O_TMPFILE.
	f, err := os.CreateTemp(dir, "scratch-")
	if err != nil {
		return nil, fmt.Errorf("create scratch file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("create scratch file: %w", err)
	}
	return f, nil
}
