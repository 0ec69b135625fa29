package erofs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const suffix = ".erofs"

// Cache keeps images in one directory under keys of the caller's choice. An image is built by
// one caller while others who want the same wait for it.
type Cache struct {
	dir string

	mu     sync.Mutex
	leases map[string]int
	turns  map[string]*turn
}

// turn lets one caller at a time build a key. waiting counts who holds or wants it.
type turn struct {
	token   chan struct{}
	waiting int
}

// OpenCache returns the cache in dir, made if it is absent. What a crash left unfinished is removed.
func OpenCache(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open image cache: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*-*"))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("open image cache: %w", err)
		}
	}
	return &Cache{dir: dir, leases: map[string]int{}, turns: map[string]*turn{}}, nil
}

// Get returns the image of key, leased, and has build fill a Builder when there is none yet.
// The caller must call release once when nothing uses the path any more.
func (c *Cache) Get(ctx context.Context, key string, limits Limits, build func(context.Context, *Builder) error) (path string, release func(), err error) {
	path = c.path(key)
	lease := c.Acquire(key) // first: no sweep may come between
	defer func() {
		if err != nil {
			lease()
		}
	}()
	if c.touch(path) {
		return path, lease, nil
	}
	leave, err := c.enter(ctx, key)
	if err != nil {
		return "", nil, err
	}
	defer leave()
	if c.touch(path) {
		return path, lease, nil
	}
	b, err := New(c.dir, limits)
	if err != nil {
		return "", nil, err
	}
	defer b.Close()
	if err := build(ctx, b); err != nil {
		return "", nil, err
	}
	if err := b.WriteFile(path); err != nil {
		return "", nil, err
	}
	return path, lease, nil
}

// Acquire keeps the image of key from being swept until release is called; release may be
// called more than once.
func (c *Cache) Acquire(key string) (release func()) {
	c.mu.Lock()
	c.leases[key]++
	c.mu.Unlock()
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.leases[key]--; c.leases[key] == 0 {
			delete(c.leases, key)
		}
	})
}

// Find returns the image of key if it was built before, marked as just used.
func (c *Cache) Find(key string) (path string, ok bool) {
	path = c.path(key)
	return path, c.touch(path)
}

// Sweep removes the images that nobody leases, keep does not want, and that were last asked
// for longer ago than olderThan.
func (c *Cache) Sweep(ctx context.Context, keep func(key string) bool, olderThan time.Duration) (removed int, err error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return 0, fmt.Errorf("sweep image cache: %w", err)
	}
	before := time.Now().Add(-olderThan)
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || strings.HasPrefix(key, ".") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if keep(key) {
			continue
		}
		gone, err := c.drop(key, before)
		if err != nil {
			return removed, fmt.Errorf("sweep image %s: %w", key, err)
		}
		if gone {
			removed++
		}
	}
	return removed, nil
}

// drop removes the image of key under the lock, so that no lease can begin meanwhile.
func (c *Cache) drop(key string, before time.Time) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leases[key] > 0 {
		return false, nil
	}
	info, err := os.Lstat(c.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || info.ModTime().After(before) {
		return false, err
	}
	return true, os.Remove(c.path(key))
}

func (c *Cache) path(key string) string { return filepath.Join(c.dir, key+suffix) }

// touch says whether the image is there, and marks it as just used: Sweep goes by the mtime.
func (c *Cache) touch(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// enter waits for key's turn to build, or for ctx.
func (c *Cache) enter(ctx context.Context, key string) (leave func(), err error) {
	c.mu.Lock()
	t := c.turns[key]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		c.turns[key] = t
	}
	t.waiting++
	c.mu.Unlock()
	done := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(c.turns, key)
		}
	}
	select {
	case t.token <- struct{}{}:
		return func() { <-t.token; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}
