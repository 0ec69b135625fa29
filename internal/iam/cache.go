package iam

import (
	"sync"

	"lambent.dev/lambent/internal/policy"
)

// A cache keeps parsed documents by their text, so that a row that changed, or a policy whose
// default version moved, needs no invalidation.
type cache struct {
	mu     sync.RWMutex
	parsed map[cacheKey]*policy.Policy
}

type cacheKey struct {
	kind policy.Kind
	doc  string
}

// cacheSize bounds the cache; at the bound it starts anew.
const cacheSize = 4096

func newCache() *cache { return &cache{parsed: make(map[cacheKey]*policy.Policy)} }

func (c *cache) parse(doc string, kind policy.Kind) (*policy.Policy, error) {
	k := cacheKey{kind, doc}
	c.mu.RLock()
	p := c.parsed[k]
	c.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	p, err := policy.Parse(doc, kind)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.parsed) >= cacheSize {
		clear(c.parsed)
	}
	c.parsed[k] = p
	return p, nil
}
