package policy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A condition is one operator on one key with its values.
type condition struct {
	op       *operator
	ifExists bool
	key      string // in lower case
	values   []value
}

// A value is what a condition compares with, in the form its operator needs.
type value struct {
	text   string
	arn    resource
	prefix netip.Prefix
	time   time.Time
}

// An operator compares a request's value with a condition's.
type operator struct {
	name    string
	negated bool // holds if no value matches, and if the key is absent
	types   keyType
	compile func(text string) (value, bool)
	match   func(got string, want *value) bool
}

// A keyType is what a condition key's values are.
type keyType int

const (
	textKey keyType = 1 << iota
	arnKey
	boolKey
	addressKey
	dateKey
	anyKey = textKey | arnKey | boolKey | addressKey | dateKey
)

// keys are the condition keys that requests carry, by the kind of document that may use them.
// A key that is not here is refused: it would never match, which is not what its author meant.
var keys = map[Kind]map[string]keyType{
	Identity: {
		"aws:principalarn":     arnKey,
		"aws:principalaccount": textKey,
		"aws:principaltype":    textKey,
		"aws:userid":           textKey,
		"aws:username":         textKey,
		"aws:useragent":        textKey,
		"aws:requestedregion":  textKey,
		"aws:sourceip":         addressKey,
		"aws:securetransport":  boolKey,
		"aws:currenttime":      dateKey,
		"aws:tokenissuetime":   dateKey,
		"iam:passedtoservice":  textKey,
		"iam:awsservicename":   textKey, // of CreateServiceLinkedRole alone, so absent from all that is served
	},
	Trust: {
		"aws:principalarn":     arnKey,
		"aws:principalaccount": textKey,
		"aws:principaltype":    textKey,
		"aws:userid":           textKey,
		"aws:username":         textKey,
		"aws:useragent":        textKey,
		"aws:sourceip":         addressKey,
		"aws:securetransport":  boolKey,
		"aws:currenttime":      dateKey,
		"aws:tokenissuetime":   dateKey,
		"aws:sourceaccount":    textKey,
		"sts:rolesessionname":  textKey,
		"sts:externalid":       textKey,
	},
}

// operators are those evaluated, by name in lower case.
var operators = makeOperators()

func makeOperators() map[string]*operator {
	named := make(map[string]*operator)
	text := func(s string) (value, bool) { return value{text: s}, true }
	for _, o := range []*operator{
		{name: "StringEquals", types: anyKey &^ dateKey, compile: text, match: func(got string, want *value) bool { return got == want.text }},
		{name: "StringNotEquals", negated: true, types: anyKey &^ dateKey, compile: text, match: func(got string, want *value) bool { return got == want.text }},
		{name: "StringEqualsIgnoreCase", types: anyKey &^ dateKey, compile: text, match: func(got string, want *value) bool { return strings.EqualFold(got, want.text) }},
		{name: "StringNotEqualsIgnoreCase", negated: true, types: anyKey &^ dateKey, compile: text, match: func(got string, want *value) bool { return strings.EqualFold(got, want.text) }},
		{name: "StringLike", types: anyKey &^ dateKey, compile: text, match: func(got string, want *value) bool { return glob(want.text, got) }},
		{name: "StringNotLike", negated: true, types: anyKey &^ dateKey, compile: text, match: func(got string, want *value) bool { return glob(want.text, got) }},
		{name: "ArnEquals", types: arnKey, compile: compileARN, match: matchARN},
		{name: "ArnLike", types: arnKey, compile: compileARN, match: matchARN},
		{name: "ArnNotEquals", negated: true, types: arnKey, compile: compileARN, match: matchARN},
		{name: "ArnNotLike", negated: true, types: arnKey, compile: compileARN, match: matchARN},
		{name: "Bool", types: boolKey, compile: compileBool, match: func(got string, want *value) bool { return strings.EqualFold(got, want.text) }},
		{name: "IpAddress", types: addressKey, compile: compileAddress, match: matchAddress},
		{name: "NotIpAddress", negated: true, types: addressKey, compile: compileAddress, match: matchAddress},
		{name: "DateEquals", types: dateKey, compile: compileDate, match: matchDate(func(c int) bool { return c == 0 })},
		{name: "DateNotEquals", negated: true, types: dateKey, compile: compileDate, match: matchDate(func(c int) bool { return c == 0 })},
		{name: "DateLessThan", types: dateKey, compile: compileDate, match: matchDate(func(c int) bool { return c < 0 })},
		{name: "DateLessThanEquals", types: dateKey, compile: compileDate, match: matchDate(func(c int) bool { return c <= 0 })},
		{name: "DateGreaterThan", types: dateKey, compile: compileDate, match: matchDate(func(c int) bool { return c > 0 })},
		{name: "DateGreaterThanEquals", types: dateKey, compile: compileDate, match: matchDate(func(c int) bool { return c >= 0 })},
		{name: "Null", types: anyKey, compile: compileBool},
	} {
		named[strings.ToLower(o.name)] = o
	}
	return named
}

// holds decides a condition. A key that the request lacks fails an operator, unless it is negated
// or ends in IfExists; Null asks for just that.
func (c *condition) holds(context func(string) (string, bool)) bool {
	var got string
	var present bool
	if context != nil {
		got, present = context(c.key)
	}
	if c.op.match == nil { // Null
		for i := range c.values {
			if (c.values[i].text == "true") != present {
				return true
			}
		}
		return false
	}
	if !present {
		return c.op.negated || c.ifExists
	}
	for i := range c.values {
		if c.op.match(got, &c.values[i]) {
			return !c.op.negated
		}
	}
	return c.op.negated
}

func compileARN(text string) (value, bool) {
	if strings.Count(text, ":") < 5 {
		return value{}, false
	}
	r, ok := newResource(text)
	return value{arn: r}, ok
}

func matchARN(got string, want *value) bool { return want.arn.matches(got) }

func compileBool(text string) (value, bool) {
	text = strings.ToLower(text)
	return value{text: text}, text == "true" || text == "false"
}

// compileAddress takes an address, which means itself alone, or a CIDR prefix.
func compileAddress(text string) (value, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return value{prefix: netip.PrefixFrom(a, a.BitLen())}, true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return value{}, false
	}
	return value{prefix: p.Masked()}, true
}

func matchAddress(got string, want *value) bool {
	a, err := netip.ParseAddr(got)
	return err == nil && want.prefix.Contains(a.Unmap().WithZone(""))
}

// dateLayouts are the forms of ISO 8601 that IAM's documentation shows.
var dateLayouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15Z07:00", "2006-01-02Z07:00", "2006-01-02", "2006-01", "2006",
}

func compileDate(text string) (value, bool) {
	t, ok := parseDate(text)
	return value{time: t}, ok
}

// parseDate reads ISO 8601 or seconds since the epoch. Four digits are a year.
func parseDate(text string) (time.Time, bool) {
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 && n < 1<<36 {
		return time.Unix(n, 0), true
	}
	return time.Time{}, false
}

func matchDate(holds func(order int) bool) func(string, *value) bool {
	return func(got string, want *value) bool {
		t, ok := parseDate(got)
		return ok && holds(t.Compare(want.time))
	}
}
