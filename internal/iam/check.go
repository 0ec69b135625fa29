package iam

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A ValidationError is a request whose members break the constraints of their shapes.
type ValidationError struct{ Message string }

// Error implements error.
func (e *ValidationError) Error() string { return e.Message }

// A Check collects what is wrong with the members of a request, in AWS's words. A nil value is a
// member that the request lacks.
type Check struct {
	constraints []string // of shapes: AWS reports all of them together
	other       string   // the first that AWS reports alone
}

// Err is what was wrong, nil if nothing.
func (c *Check) Err() error {
	switch n := len(c.constraints); {
	case n == 1:
		return &ValidationError{"1 validation error detected: " + c.constraints[0]}
	case n > 1:
		return &ValidationError{fmt.Sprintf("%d validation errors detected: %s", n, strings.Join(c.constraints, "; "))}
	case c.other != "":
		return &ValidationError{c.other}
	}
	return nil
}

func (c *Check) constraint(member, value, must string) {
	c.constraints = append(c.constraints, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: Member must %s", value, member, must))
}

// Alone notes an error that AWS reports in words of its own.
func (c *Check) Alone(format string, args ...any) {
	if c.other == "" {
		c.other = fmt.Sprintf(format, args...)
	}
}

// Required wants a member that has between low and high characters.
func (c *Check) Required(member string, value *string, low, high int) bool {
	if value == nil {
		c.constraint(member, "null", "not be null")
		return false
	}
	return c.Optional(member, value, low, high)
}

// Optional wants a member, if it is there, to have between low and high characters.
func (c *Check) Optional(member string, value *string, low, high int) bool {
	if value == nil {
		return true
	}
	switch n := utf8.RuneCountInString(*value); {
	case n < low:
		c.constraint(member, "'"+*value+"'", fmt.Sprintf("have length greater than or equal to %d", low))
	case n > high:
		c.constraint(member, "'"+*value+"'", fmt.Sprintf("have length less than or equal to %d", high))
	default:
		return true
	}
	return false
}

var (
	namePattern = regexp.MustCompile(`^[\w+=,.@-]+$`)
	pathPattern = regexp.MustCompile(`^(/|/[!-~]+/)$`)
	textPattern = regexp.MustCompile(`^[\t\n\r -ÿ]*$`)
	tagPattern  = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// Name wants the name of a user, role or policy.
func (c *Check) Name(member string, value *string, high int) {
	if c.Required(member, value, 1, high) && !namePattern.MatchString(*value) {
		c.Alone("The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", member)
	}
}

// Path wants a path, or a prefix of paths, if there is one.
func (c *Check) Path(member string, value *string, prefix bool) {
	if !c.Optional(member, value, 1, 512) || value == nil {
		return
	}
	path := *value
	if prefix && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	if !pathPattern.MatchString(path) {
		c.Alone("The specified value for %s is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.", member)
	}
}

// Document wants a policy document of at most high characters.
func (c *Check) Document(member string, value *string, high int) {
	if c.Required(member, value, 1, high) && !textPattern.MatchString(*value) {
		c.Alone("The specified value for %s is invalid. It must contain only printable ASCII characters.", member)
	}
}

// Description wants a description, if there is one.
func (c *Check) Description(member string, value *string) {
	if c.Optional(member, value, 0, 1000) && value != nil && !textPattern.MatchString(*value) {
		c.Alone("The specified value for %s is invalid. It must contain only printable characters.", member)
	}
}

// ARN wants an ARN.
func (c *Check) ARN(member string, value *string) { c.Required(member, value, 20, 2048) }

// Range wants a number, if there is one, between low and high.
func (c *Check) Range(member string, value *int32, low, high int32) {
	switch {
	case value == nil:
	case *value < low:
		c.constraint(member, fmt.Sprintf("'%d'", *value), fmt.Sprintf("have value greater than or equal to %d", low))
	case *value > high:
		c.constraint(member, fmt.Sprintf("'%d'", *value), fmt.Sprintf("have value less than or equal to %d", high))
	}
}

// SessionDuration wants the longest duration of a role's sessions.
func (c *Check) SessionDuration(member string, value *int32) {
	c.Range(member, value, minSessionSeconds, maxSessionSeconds)
}

// OneOf wants one of some values. "" is a member that the request lacks.
func (c *Check) OneOf(member, value string, required bool, allowed ...string) {
	if value == "" && !required {
		return
	}
	if value == "" {
		c.constraint(member, "null", "not be null")
		return
	}
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	c.constraint(member, "'"+value+"'", "satisfy enum value set: ["+strings.Join(allowed, ", ")+"]")
}

// Pattern wants a member that is there to match an anchored pattern, which AWS prints bare.
func (c *Check) Pattern(member string, value *string, pattern *regexp.Regexp) {
	if value != nil && !pattern.MatchString(*value) {
		bare := strings.TrimSuffix(strings.TrimPrefix(pattern.String(), "^"), "$")
		c.constraint(member, "'"+*value+"'", "satisfy regular expression pattern: "+bare)
	}
}

// TagKeys wants keys of tags.
func (c *Check) TagKeys(keys []string) {
	if len(keys) > maxTags {
		c.constraint("tagKeys", "'[]'", fmt.Sprintf("have length less than or equal to %d", maxTags))
	}
	for i, k := range keys {
		member := fmt.Sprintf("tagKeys.%d.member", i+1)
		c.Required(member, &k, 1, 128)
		c.Pattern(member, &k, tagPattern)
	}
}

// Tags wants tags.
func (c *Check) Tags(tags []Tag) {
	for i, t := range tags {
		member := fmt.Sprintf("tags.%d.member.", i+1)
		c.Required(member+"key", &t.Key, 1, 128)
		c.Pattern(member+"key", &t.Key, tagPattern)
		c.Required(member+"value", &t.Value, 0, 256)
		c.Pattern(member+"value", &t.Value, tagPattern)
	}
}
