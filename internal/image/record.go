package image

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// record is what a file beside the images remembers of a digest, so that a reference by digest
// needs no registry: the digest of an index leads to the image it stood for here.
type record struct {
	Digest   string
	Settings Settings
}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (s *Store) recordPath(digest string) (string, bool) {
	if !digestPattern.MatchString(digest) {
		return "", false
	}
	return filepath.Join(s.config.Dir, strings.TrimPrefix(digest, "sha256:")+".json"), true
}

// known returns the image of a digest that was flattened before.
func (s *Store) known(digest string) (*Image, bool) {
	name, ok := s.recordPath(digest)
	if !ok {
		return nil, false
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, false
	}
	var r record
	if json.Unmarshal(b, &r) != nil {
		return nil, false
	}
	path, ok := s.cache.Find(s.key(r.Digest))
	if !ok {
		return nil, false
	}
	return &Image{Digest: r.Digest, RootFS: path, Config: r.Settings}, true
}

// remember writes what digest led to, unless the same was written before.
func (s *Store) remember(digest string, img *Image) error {
	name, ok := s.recordPath(digest)
	if !ok {
		return nil
	}
	now := time.Now()
	if os.Chtimes(name, now, now) == nil {
		return nil
	}
	b, err := json.Marshal(record{Digest: img.Digest, Settings: img.Config})
	if err != nil {
		return err
	}
	if err := writeFile(name, b); err != nil {
		return fmt.Errorf("remember image %s: %w", digest, err)
	}
	return nil
}

// forget removes the records whose image is gone and that nobody used for olderThan.
func (s *Store) forget(olderThan time.Duration) error {
	names, err := filepath.Glob(filepath.Join(s.config.Dir, "*.json"))
	if err != nil {
		return err
	}
	before := time.Now().Add(-olderThan)
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || info.ModTime().After(before) {
			continue
		}
		digest := "sha256:" + strings.TrimSuffix(filepath.Base(name), ".json")
		if _, ok := s.known(digest); ok {
			continue
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("forget image %s: %w", digest, err)
		}
	}
	return nil
}
