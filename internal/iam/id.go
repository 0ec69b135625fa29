package iam

import (
	"crypto/rand"
	"encoding/base32"
)

// The prefixes of AWS's unique ids.
const (
	userPrefix   = "AIDA"
	rolePrefix   = "AROA"
	policyPrefix = "ANPA"
)

// newID makes a unique id: 80 random bits, so one is never given twice.
func newID(prefix string) string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail: it stops the process instead
	return prefix + base32.StdEncoding.EncodeToString(b[:])
}
