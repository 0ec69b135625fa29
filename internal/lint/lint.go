// Package lint holds the rules of this repository that a machine can check: layers, package
// docs, sizes, bare go statements, clocks in pure packages. It has tests only; `go test ./...`
// runs them. Exceptions stand in exceptions.txt, one a line with its reason, and an exception
// nothing needs any more fails too.
package lint
