package iam

import (
	"encoding/base64"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

const defaultItems = 100

// page cuts a page out of items, which are in the order of by. The marker is the last item of the
// page before, so that items that come or go between two requests shift nothing.
func page[T any](items []T, by func(T) string, marker *string, maxItems *int32) (cut []T, truncated bool, next *string, err error) {
	if err := check(func(c *iam.Check) {
		c.Range("maxItems", maxItems, 1, 1000)
		c.Optional("marker", marker, 1, 1<<20)
	}); err != nil {
		return nil, false, nil, err
	}
	if marker != nil {
		after, err := base64.RawURLEncoding.DecodeString(*marker)
		if err != nil {
			return nil, false, nil, &iam.ValidationError{Message: "Invalid Marker."}
		}
		skip := 0
		for skip < len(items) && by(items[skip]) <= string(after) {
			skip++
		}
		items = items[skip:]
	}
	limit := defaultItems
	if maxItems != nil {
		limit = int(*maxItems)
	}
	if len(items) <= limit {
		return append([]T{}, items...), false, nil, nil
	}
	cut = items[:limit:limit]
	return cut, true, wire.Ptr(base64.RawURLEncoding.EncodeToString([]byte(by(cut[limit-1])))), nil
}

// each translates a page.
func each[T, U any](items []T, fn func(T) U) []U {
	out := make([]U, len(items))
	for i, item := range items {
		out[i] = fn(item)
	}
	return out
}
