package logs

import (
	"context"
	"regexp"
	"strings"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/logstore"
)

var (
	groupPattern      = regexp.MustCompile(`^[\.\-_/#A-Za-z0-9]+$`)
	streamPattern     = regexp.MustCompile(`^[^:*]*$`)
	identifierPattern = regexp.MustCompile(`^[\w#+=/:,.@-]*$`)
	tagPattern        = regexp.MustCompile(`^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$`)
	tagValuePattern   = regexp.MustCompile(`^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`)
)

func checkGroup(c *iam.Check, name *string) {
	c.Required("logGroupName", name, 1, 512)
	c.Pattern("logGroupName", name, groupPattern)
}

func checkStream(c *iam.Check, name *string) {
	c.Required("logStreamName", name, 1, 512)
	c.Pattern("logStreamName", name, streamPattern)
}

// group checks the two members of which one names a group, and returns the group's name.
func (a *API) group(ctx context.Context, c *iam.Check, name, identifier *string) (string, error) {
	if identifier == nil {
		checkGroup(c, name)
		if err := c.Err(); err != nil {
			return "", err
		}
		return *name, nil
	}
	if name != nil {
		c.Alone("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
	}
	c.Optional("logGroupIdentifier", identifier, 1, 2048)
	c.Pattern("logGroupIdentifier", identifier, identifierPattern)
	if err := c.Err(); err != nil {
		return "", err
	}
	return a.identified(ctx, *identifier)
}

// identified is the name of a group of the caller's by its name or ARN.
func (a *API) identified(ctx context.Context, identifier string) (string, error) {
	if !strings.HasPrefix(identifier, "arn:") {
		if !groupPattern.MatchString(identifier) {
			return "", logstore.ErrGroupNotFound
		}
		return identifier, nil
	}
	parsed, err := arn.Parse(identifier)
	name := groupOf(parsed)
	if err != nil || name == "" || strings.HasSuffix(identifier, "*") {
		return "", invalid("The specified ARN is invalid.")
	}
	// The partition too: permissions are asked for the ARN as it was given.
	if parsed.Account != account(ctx) || parsed.Region != a.region || parsed.Partition != arn.Partition(a.region) {
		return "", logstore.ErrGroupNotFound
	}
	return name, nil
}

// groupOf is the name of the group in an ARN, "" if it is none of one.
func groupOf(a arn.ARN) string {
	name, ok := strings.CutPrefix(a.Resource, "log-group:")
	name = strings.TrimSuffix(name, ":*")
	if a.Service != "logs" || !ok || !groupPattern.MatchString(name) {
		return ""
	}
	return name
}

// notNegative checks times.
func notNegative(member string, value *int64) error {
	if value != nil && *value < 0 {
		return invalid("1 validation error detected: Value '%d' at '%s' failed to satisfy constraint: Member must have value greater than or equal to 0", *value, member)
	}
	return nil
}

// checkTags checks tags that a group is to have.
func checkTags(tags map[string]string, required bool) error {
	var c iam.Check
	if tags == nil && required {
		c.Required("tags", nil, 0, 0)
	}
	for k, v := range tags {
		c.Optional("tags.key", &k, 1, 128)
		c.Pattern("tags.key", &k, tagPattern)
		c.Optional("tags.value", &v, 0, 256)
		c.Pattern("tags.value", &v, tagValuePattern)
		if strings.HasPrefix(strings.ToLower(k), "aws:") {
			c.Alone("aws: prefixed tag key names are not allowed for external use.")
		}
	}
	return c.Err()
}
