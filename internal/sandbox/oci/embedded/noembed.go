//go:build !lambent_embed

package embedded

// binary is empty: the runtime is a file of its own.
var (
	binary []byte
	digest string
)
