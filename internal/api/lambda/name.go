package lambda

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

// The patterns of names, as AWS's model and its errors have them.
const (
	regionPattern     = `(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`
	plainPattern      = `(arn:(aws[a-zA-Z-]*)?:lambda:)?(` + regionPattern + `:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?`
	namespacedPattern = `(arn:(aws[a-zA-Z-]*)?:lambda:)?(` + regionPattern + `:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?`
	qualifierPattern  = `\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+`
	aliasPattern      = `((?!^\d+$)^[0-9a-zA-Z-_]+$)`
	resourcePattern   = `arn:(aws[a-zA-Z-]*):lambda:` + regionPattern + `:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)`
)

// whole compiles a pattern that must match all of a value.
func whole(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }

var (
	nameParts     = whole(namespacedPattern)
	plainName     = whole(plainPattern)
	wholeAlias    = whole(`[0-9a-zA-Z-_]+`) // and not a number
	wholeNumber   = whole(`\d+`)
	wholeResource = whole(resourcePattern)
	wholeVersion  = whole(qualifierPattern)
)

// name is a function as a request names it: by name, partial ARN or ARN, with or without a
// qualifier.
type name struct{ region, account, name, qualifier string }

// splitName takes apart what is given as FunctionName; ok is false when it has no such form.
func splitName(s string) (n name, ok bool) {
	m := nameParts.FindStringSubmatch(s)
	if m == nil {
		return name{name: s}, false
	}
	return name{
		region: strings.TrimSuffix(m[3], ":"), account: strings.TrimSuffix(m[9], ":"),
		name: m[11], qualifier: m[13],
	}, true
}

// resource is the ARN that a name and a qualifier mean, for permissions.
func resource(s wire.Scope, text, qualifier string) string {
	n, _ := splitName(text)
	if n.region != "" {
		s.Region = n.region
	}
	if n.account != "" {
		s.Account = n.account
	}
	r := "function:" + n.name
	if n.qualifier != "" {
		qualifier = n.qualifier
	}
	if qualifier != "" {
		r += ":" + qualifier
	}
	return s.ARN("lambda", r)
}

// A target is a function that a request is about; it may not exist.
type target struct {
	account, name string
	qualifier     string // "" if none was given
	arn           string // without a qualifier
}

// qualified is the ARN with the qualifier, if one was given.
func (t target) qualified() string {
	if t.qualifier == "" {
		return t.arn
	}
	return t.arn + ":" + t.qualifier
}

// latest reports whether the target is the version that there is.
func (t target) latest() bool { return t.qualifier == "" || t.qualifier == function.Latest }

// target finds which function a valid name and a valid qualifier mean.
func (a *API) target(ctx context.Context, text string, qualifier *string) (target, error) {
	n, _ := splitName(text)
	p, _ := iam.PrincipalFrom(ctx)
	t := target{account: p.Account, name: n.name, qualifier: n.qualifier, arn: function.ARN(a.cfg.Region, p.Account, n.name)}
	if q := wire.Value(qualifier); q != "" {
		if n.qualifier != "" && n.qualifier != q {
			return t, invalid("The derived qualifier from the function name does not match the specified qualifier.")
		}
		t.qualifier = q
	}
	if n.region != "" && n.region != a.cfg.Region {
		return t, missing("Functions from '%s' are not reachable in this region ('%s')", n.region, a.cfg.Region)
	}
	if n.account != "" && n.account != p.Account {
		return t, foreign(p, a.cfg.Region, n)
	}
	return t, nil
}

// foreign is the error of a function in another account, which only a policy of the function
// itself could open, and no function has one.
func foreign(p iam.Principal, region string, n name) error {
	return &wire.Error{
		Code: "AccessDeniedException", Status: http.StatusForbidden, UpperMessage: true,
		Message: "User: " + p.ARN + " is not authorized to perform this operation on resource: " +
			arn.ARN{Partition: arn.Partition(region), Service: "lambda", Region: region, Account: n.account, Resource: "function:" + n.name}.String() +
			" because no resource-based policy allows the action",
	}
}

// find is the function that a target means, as it is described.
func (a *API) find(t target) (function.Function, error) {
	f, err := a.cfg.Functions.Get(t.account, t.name)
	if err != nil {
		return f, apiError(err, t.qualified())
	}
	if !t.latest() {
		return f, missing("Function not found: %s", t.qualified())
	}
	return f, nil
}
