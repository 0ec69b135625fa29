//go:build lambent_embed

package embedded

import _ "embed" // for go:embed

// binary is the runtime, copied here by `make build`.
//
//go:embed lambent-runsc
var binary []byte

// digest is its SHA-256 in hexadecimal.
//
//go:embed lambent-runsc.sha256
var digest string
