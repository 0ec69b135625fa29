package wire

// Ptr is a pointer to a copy of v: the SDK's structs hold optional members so.
func Ptr[T any](v T) *T { return &v }

// Value is what p points to, or the zero value.
func Value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
