package erofs

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

const (
	maxName   = 255  // bytes of one path element, as Linux has it
	maxPath   = 4095 // bytes of a path or link target
	maxFollow = 40   // links followed on the way to one entry, as Linux has it
)

// node is an entry in the tree; offset says where its data lies in the spool.
type node struct {
	entry    Entry
	offset   int64
	children map[string]*node // of a directory
}

// size counts n and all below it.
func (n *node) size() int {
	total := 1
	for _, c := range n.children {
		total += c.size()
	}
	return total
}

// put hangs n under parent, replacing what has its name.
func (b *Builder) put(parent *node, name string, n *node) error {
	if name == "" { // the root: only its attributes can be given
		if n.entry.Mode.IsDir() {
			n.entry.Path = ""
			b.root.entry = n.entry
			return nil
		}
		return fmt.Errorf("%q names the root: %w", n.entry.Path, ErrBadEntry)
	}
	old, replaces := parent.children[name]
	if replaces && old.entry.Mode.IsDir() && n.entry.Mode.IsDir() {
		old.entry = n.entry
		return nil
	}
	if replaces {
		b.entries -= old.size()
	}
	if b.entries++; b.limits.Entries > 0 && b.entries > b.limits.Entries {
		return fmt.Errorf("%s: %w", n.entry.Path, ErrTooManyEntries)
	}
	if n.entry.Mode.IsDir() {
		n.children = map[string]*node{}
	}
	parent.children[name] = n
	return nil
}

// parent finds the directory that name's last element lives in, making what is missing.
// An empty base means that name is the root itself.
func (b *Builder) parent(name string) (dir *node, base string, err error) {
	clean, err := clean(name)
	if err != nil {
		return nil, "", err
	}
	parts := strings.Split(clean, "/")
	if clean == "" {
		return b.root, "", nil
	}
	dir, err = b.walk(parts[:len(parts)-1], true)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	return dir, parts[len(parts)-1], nil
}

// find returns the node at name with every link followed, the last element's too.
func (b *Builder) find(name string) (*node, error) {
	clean, err := clean(name)
	if err != nil {
		return nil, err
	}
	if clean == "" {
		return b.root, nil
	}
	n, err := b.walk(strings.Split(clean, "/"), false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// walk goes down from the root and follows links as a process chrooted into the image would.
// With create, missing directories are made and the result is a directory.
func (b *Builder) walk(parts []string, create bool) (*node, error) {
	stack := []*node{b.root} // the directories above, for ".."
	followed := 0
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		at := stack[len(stack)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		next, err := b.step(at, part, create)
		if err != nil {
			return nil, err
		}
		if next.entry.Mode.Type() == fs.ModeSymlink {
			if followed++; followed > maxFollow {
				return nil, fmt.Errorf("too many levels of links: %w", ErrBadEntry)
			}
			if strings.HasPrefix(next.entry.Target, "/") {
				stack = stack[:1]
			}
			parts = append(strings.Split(next.entry.Target, "/"), parts...)
			continue
		}
		if !next.entry.Mode.IsDir() && (create || len(parts) > 0) {
			return nil, fmt.Errorf("%s is no directory: %w", part, ErrBadEntry)
		}
		stack = append(stack, next)
	}
	return stack[len(stack)-1], nil
}

func (b *Builder) step(at *node, name string, create bool) (*node, error) {
	if at.children == nil {
		return nil, fmt.Errorf("parent of %s is no directory: %w", name, ErrBadEntry)
	}
	if next, ok := at.children[name]; ok {
		return next, nil
	}
	if !create {
		return nil, fs.ErrNotExist
	}
	made := &node{entry: Entry{Path: name, Mode: fs.ModeDir | 0o755, MTime: time.Unix(0, 0)}}
	return made, b.put(at, name, made)
}

// clean makes a name relative to the root of the image. "" is the root.
func clean(name string) (string, error) {
	if strings.ContainsRune(name, 0) || len(name) > maxPath {
		return "", fmt.Errorf("name %.64q: %w", name, ErrBadEntry)
	}
	c := strings.TrimPrefix(path.Clean("/"+name), "/")
	for part := range strings.SplitSeq(c, "/") {
		if len(part) > maxName {
			return "", fmt.Errorf("name %.64q: %w", part, ErrBadEntry)
		}
	}
	return c, nil
}

func checkTarget(target string) error {
	if target == "" || len(target) > maxPath || strings.ContainsRune(target, 0) {
		return fmt.Errorf("target %.64q: %w", target, ErrBadEntry)
	}
	return nil
}
