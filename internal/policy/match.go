package policy

import "strings"

// glob reports whether s matches pattern, in which * stands for any run of characters and ? for
// one. It takes at most len(pattern) x len(s) steps: on a mismatch only the last star is retried.
func glob(pattern, s string) bool { return match(pattern, s, false) }

// globFold is glob for a pattern in lower case, whatever the case of s in ASCII.
func globFold(pattern, s string) bool { return match(pattern, s, true) }

func match(pattern, s string, fold bool) bool {
	p, i := 0, 0
	star, retry := -1, 0
	for i < len(s) {
		c := s[i]
		if fold && 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == c):
			p++
			i++
		case star >= 0:
			retry++
			p, i = star+1, retry
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// A resource is one pattern of Resource or NotResource.
type resource struct {
	all   bool      // "*"
	parts [6]string // arn, partition, service, region, account, resource: one glob each
}

// newResource compiles a pattern. ok is false if it is neither "*" nor an ARN.
//
// AWS: an ARN with fewer than six parts is completed with wildcards (IAM user guide, "Resource").
func newResource(pattern string) (r resource, ok bool) {
	if pattern == "*" {
		return resource{all: true}, true
	}
	parts := strings.SplitN(pattern, ":", 6)
	if parts[0] != "arn" || len(parts) < 3 || parts[1] == "" || parts[2] == "" {
		return resource{}, false
	}
	copy(r.parts[:], parts)
	for i := len(parts); i < 6; i++ {
		r.parts[i] = "*"
	}
	return r, true
}

// matches compares part by part: a wildcard does not reach over a colon, except in the last part.
func (r *resource) matches(name string) bool {
	if r.all {
		return true
	}
	for i := range 5 {
		part, rest, found := strings.Cut(name, ":")
		if !found || !glob(r.parts[i], part) {
			return false
		}
		name = rest
	}
	return glob(r.parts[5], name)
}

// isAccount reports whether a principal is written as a bare account number.
func isAccount(name string) bool {
	if len(name) != 12 {
		return false
	}
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return false
		}
	}
	return true
}

// accountRoot is the ARN of an account's root, in the partition of the ARN like.
func accountRoot(like, account string) string {
	partition := "aws"
	if parts := strings.SplitN(like, ":", 3); len(parts) == 3 {
		partition = parts[1]
	}
	return "arn:" + partition + ":iam::" + account + ":root"
}
