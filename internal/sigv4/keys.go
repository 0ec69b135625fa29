package sigv4

import "sync"

// keyCache remembers derived signing keys: deriving one takes four HMACs, and a client uses the
// same one all day. It forgets by generations, so that a flood of session keys cannot fill the
// memory.
type keyCache struct {
	mu       sync.Mutex
	current  map[keyID][]byte
	previous map[keyID][]byte
}

// keyID holds the secret itself: an entry must not outlive a rotation.
type keyID struct{ secret, date, region, service string }

const generation = 2048 // entries

func (c *keyCache) derive(s *Signature, secret string) []byte {
	id := keyID{secret, s.Date, s.Region, s.Service}
	c.mu.Lock()
	key, ok := c.current[id]
	if !ok {
		if key, ok = c.previous[id]; ok {
			c.store(id, key)
		}
	}
	c.mu.Unlock()
	if ok {
		return key
	}
	key = hmacSHA256([]byte("AWS4"+secret), []byte(id.date))
	for _, part := range []string{id.region, id.service, terminator} {
		key = hmacSHA256(key, []byte(part))
	}
	c.mu.Lock()
	c.store(id, key)
	c.mu.Unlock()
	return key
}

// store needs mu.
func (c *keyCache) store(id keyID, key []byte) {
	if c.current == nil || len(c.current) >= generation {
		c.previous, c.current = c.current, make(map[keyID][]byte)
	}
	c.current[id] = key
}
