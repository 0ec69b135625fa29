package lambda

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"lambent.dev/lambent/internal/wire"
)

// A check collects what breaks the constraints of AWS's model, in AWS's words. Nil values are
// members that the request lacks; they break nothing.
type check struct{ found []string }

// err is what was found, nil if nothing.
func (c *check) err() error {
	switch len(c.found) {
	case 0:
		return nil
	case 1:
		return validation("1 validation error detected: " + c.found[0])
	}
	return validation(fmt.Sprintf("%d validation errors detected: %s", len(c.found), strings.Join(c.found, "; ")))
}

// validation is an error that AWS's model lacks. AWS: it has no Type.
func validation(message string) error {
	return &wire.Error{Code: "ValidationException", Message: message}
}

func (c *check) fail(member, value, must string) {
	c.found = append(c.found, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, member, must))
}

func quoted[T any](v T) string { return fmt.Sprintf("'%v'", v) }

// required wants a member.
func (c *check) required(member string, given bool) bool {
	if !given {
		c.fail(member, "null", "Member must not be null")
	}
	return given
}

// length wants a text of between low and high characters.
func (c *check) length(member string, v *string, low, high int) bool {
	if v == nil {
		return true
	}
	switch n := utf8.RuneCountInString(*v); {
	case n < low:
		c.fail(member, quoted(*v), fmt.Sprintf("Member must have length greater than or equal to %d", low))
	case n > high:
		c.fail(member, quoted(*v), fmt.Sprintf("Member must have length less than or equal to %d", high))
	default:
		return true
	}
	return false
}

// pattern wants a text that re matches; shown is how AWS writes it.
func (c *check) pattern(member string, v *string, re *regexp.Regexp, shown string) bool {
	if v == nil || re.MatchString(*v) {
		return true
	}
	c.fail(member, quoted(*v), "Member must satisfy regular expression pattern: "+shown)
	return false
}

// between wants a number from low to high.
func (c *check) between(member string, v *int32, low, high int32) {
	switch {
	case v == nil:
	case *v < low:
		c.fail(member, quoted(*v), fmt.Sprintf("Member must have value greater than or equal to %d", low))
	case *v > high:
		c.fail(member, quoted(*v), fmt.Sprintf("Member must have value less than or equal to %d", high))
	}
}

// enum wants one of some values, "" if the request lacks it.
func enum[T ~string](c *check, member string, v T, of ...T) {
	if v != "" && !slices.Contains(of, v) {
		c.fail(member, quoted(v), "Member must satisfy enum value set: "+list(of))
	}
}

// each wants that every element of a list is allowed; AWS reports the list.
func each[T ~string](c *check, member string, v []T, ok func(T) bool, must string) {
	if slices.ContainsFunc(v, func(e T) bool { return !ok(e) }) {
		c.fail(member, quoted(list(v)), "Member must satisfy constraint: ["+must+"]")
	}
}

// list is a list as Java prints it.
func list[T ~string](v []T) string {
	s := make([]string, len(v))
	for i := range v {
		s[i] = string(v[i])
	}
	return "[" + strings.Join(s, ", ") + "]"
}

// name wants the name of a function where AWS's model has the plain pattern.
func (c *check) name(v *string) {
	if c.length("functionName", v, 1, 140) {
		c.pattern("functionName", v, plainName, plainPattern)
	}
}

// namespaced wants the name of a function where AWS's model has the pattern with namespaces.
func (c *check) namespaced(v *string) {
	if c.length("functionName", v, 1, 256) {
		c.pattern("functionName", v, nameParts, namespacedPattern)
	}
}

// qualifier wants a version or an alias.
func (c *check) qualifier(v *string) {
	if c.length("qualifier", v, 1, 128) {
		c.pattern("qualifier", v, wholeVersion, qualifierPattern)
	}
}

// alias wants an alias: no version is allowed.
func (c *check) alias(v *string) {
	if v != nil && c.length("qualifier", v, 1, 128) && (wholeNumber.MatchString(*v) || !wholeAlias.MatchString(*v)) {
		c.fail("qualifier", quoted(*v), "Member must satisfy regular expression pattern: "+aliasPattern)
	}
}

var tagText = whole(`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`)

// tags wants tags that AWS allows.
func (c *check) tags(v map[string]string) {
	const shape = `([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`
	for _, k := range slices.Sorted(maps.Keys(v)) {
		if n := utf8.RuneCountInString(k); n < 1 || n > 128 || !tagText.MatchString(k) {
			c.fail("tags", quoted(javaMap(v)), "Map keys must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: "+shape+"]")
			return
		}
		if utf8.RuneCountInString(v[k]) > 256 || !tagText.MatchString(v[k]) {
			c.fail("tags", quoted(javaMap(v)), "Map value must satisfy constraint: [Member must have length less than or equal to 256, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: "+shape+"]")
			return
		}
	}
}

// javaMap is a map as Java prints it.
func javaMap(m map[string]string) string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s = append(s, k+"="+m[k])
	}
	return "{" + strings.Join(s, ", ") + "}"
}
