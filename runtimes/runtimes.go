// Package runtimes carries what a managed runtime is made of: the table that maps a runtime's
// identifier to the images that serve it, in order of preference ("oci:NAME" is in the local
// layout), and the files of our own runtime clients, which the recipes put into /var/runtime.
package runtimes

import "embed"

// Table is table.json: a list of {id, family, images}.
//
//go:embed table.json
var Table []byte

// Clients holds node/ and python/ (each becomes /var/runtime in an image of that family) and
// wrapper, which every image has at /var/runtime/wrapper. That of custom runtimes is package
// bootstrap.
//
//go:embed node python wrapper
var Clients embed.FS
