package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// An Error is why a document was refused: the message of AWS's MalformedPolicyDocument.
type Error struct{ Message string }

// Error implements error.
func (e *Error) Error() string { return e.Message }

func malformed(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// notEvaluated refuses what AWS would take: better than to store it and not to honour it.
func notEvaluated(element string) error {
	return malformed("%s is not evaluated yet by this region, so a policy that needs it is refused.", element)
}

// The texts of the commonest refusals.
const (
	syntaxErrors = "Syntax errors in policy."
	invalidJSON  = "This policy contains invalid Json"
)

// Parse reads a document. Every error is an [*Error].
func Parse(doc string, kind Kind) (*Policy, error) {
	p := parser{kind: kind, policy: &Policy{Version: "2008-10-17"}, sids: make(map[string]bool)}
	if !json.Valid([]byte(doc)) {
		return nil, malformed(invalidJSON)
	}
	members, err := object([]byte(strings.TrimSpace(doc)))
	if err != nil {
		return nil, malformed(syntaxErrors)
	}
	// The version decides how strings are read, so it comes first wherever it stands.
	var statements json.RawMessage
	for _, m := range members {
		switch m.name {
		case "Version":
			err = p.version(m.value)
		case "Id":
			err = text(m.value, &p.policy.ID)
		case "Statement":
			statements = m.value
		default:
			err = malformed(syntaxErrors)
		}
		if err != nil {
			return nil, err
		}
	}
	if statements == nil {
		return nil, malformed("Missing required field Statement")
	}
	if err := p.statements(statements); err != nil {
		return nil, err
	}
	return p.policy, nil
}

type parser struct {
	kind   Kind
	policy *Policy
	sids   map[string]bool
}

func text(raw json.RawMessage, into *string) error {
	list, err := texts(raw, false)
	if err != nil || raw[0] != '"' {
		return malformed(syntaxErrors)
	}
	*into = list[0]
	return nil
}

func (p *parser) version(raw json.RawMessage) error {
	if err := text(raw, &p.policy.Version); err != nil {
		return err
	}
	if v := p.policy.Version; v != "2012-10-17" && v != "2008-10-17" {
		return malformed(syntaxErrors)
	}
	return nil
}

func (p *parser) statements(raw json.RawMessage) error {
	list, err := array(raw)
	if err != nil || len(list) == 0 {
		return malformed(syntaxErrors)
	}
	for _, raw := range list {
		s, err := p.statement(raw)
		if err != nil {
			return err
		}
		p.policy.statements = append(p.policy.statements, s)
	}
	return nil
}

func (p *parser) statement(raw json.RawMessage) (statement, error) {
	s := statement{hasResources: p.kind == Identity}
	members, err := object(raw)
	if err != nil {
		return s, malformed(syntaxErrors)
	}
	has := make(map[string]bool)
	for _, m := range members {
		has[m.name] = true
		if err := p.element(&s, m); err != nil {
			return s, err
		}
	}
	return s, p.complete(has)
}

// element reads one element of a statement into s.
func (p *parser) element(s *statement, m member) error {
	switch m.name {
	case "Sid":
		return p.sid(s, m.value)
	case "Effect":
		return effect(s, m.value)
	case "Action", "NotAction":
		s.notAction = m.name == "NotAction"
		return p.actions(s, m.value)
	case "Resource", "NotResource":
		if p.kind == Trust {
			return malformed("Has prohibited field %s", m.name)
		}
		s.notResource = m.name == "NotResource"
		return p.resources(s, m.value)
	case "Principal", "NotPrincipal":
		if p.kind == Identity {
			return malformed("Policy document should not specify a principal.")
		}
		if m.name == "NotPrincipal" {
			return notEvaluated("The element NotPrincipal")
		}
		return p.principal(s, m.value)
	case "Condition":
		return p.conditions(s, m.value)
	default:
		return malformed(syntaxErrors)
	}
}

// complete checks which elements a statement has.
func (p *parser) complete(has map[string]bool) error {
	switch {
	case !has["Effect"]:
		return malformed("Missing required field Effect")
	case has["Action"] && has["NotAction"], has["Resource"] && has["NotResource"]:
		return malformed(syntaxErrors)
	case !has["Action"] && !has["NotAction"] && p.kind == Trust:
		return malformed("Missing required field Action")
	case !has["Action"] && !has["NotAction"]:
		return malformed("Policy statement must contain actions.")
	case p.kind == Trust && !has["Principal"]:
		return malformed("Missing required field Principal")
	case p.kind == Identity && !has["Resource"] && !has["NotResource"]:
		return malformed("Policy statement must contain resources.")
	}
	return nil
}

var sidPattern = regexp.MustCompile(`^[0-9A-Za-z]*$`)

func (p *parser) sid(s *statement, raw json.RawMessage) error {
	if err := text(raw, &s.sid); err != nil {
		return err
	}
	// AWS: trust policies take spaces and punctuation in Sids, identity policies do not
	// (IAM user guide, "Sid").
	if p.kind == Identity && !sidPattern.MatchString(s.sid) {
		return malformed("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
	}
	if s.sid != "" && p.sids[s.sid] {
		return malformed("Statement IDs (SID) in a single policy must be unique.")
	}
	p.sids[s.sid] = true
	return nil
}

func effect(s *statement, raw json.RawMessage) error {
	var e string
	if err := text(raw, &e); err != nil {
		return err
	}
	s.deny = e == "Deny"
	if !s.deny && e != "Allow" {
		return malformed("Invalid effect: %s", e)
	}
	return nil
}

var (
	vendorPattern = regexp.MustCompile(`^[a-z0-9-]+$`)
	actionPattern = regexp.MustCompile(`^[a-z0-9*?_-]+$`)
)

// trustActions are the actions a trust policy may allow.
var trustActions = map[string]bool{
	"sts:assumerole": true, "sts:tagsession": true, "sts:setsourceidentity": true,
}

func (p *parser) actions(s *statement, raw json.RawMessage) error {
	list, err := texts(raw, false)
	if err != nil {
		return malformed(syntaxErrors)
	}
	if len(list) == 0 {
		return malformed("Policy statement must contain actions.")
	}
	if s.notAction && p.kind == Trust {
		return notEvaluated("The element NotAction in a trust policy")
	}
	for _, a := range list {
		a, err := p.action(a)
		if err != nil {
			return err
		}
		s.actions = append(s.actions, a)
	}
	return nil
}

// action checks one action and returns it in lower case.
func (p *parser) action(written string) (string, error) {
	a := strings.ToLower(written)
	if p.kind == Trust {
		switch {
		case strings.HasPrefix(a, "sts:assumerolewith"):
			return "", notEvaluated("The action " + written)
		case !trustActions[a]:
			return "", malformed("AssumeRole policy may only specify STS AssumeRole actions.")
		}
		return a, nil
	}
	if a == "*" {
		return a, nil
	}
	vendor, name, found := strings.Cut(a, ":")
	switch {
	case !found || vendor == "":
		return "", malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	case !vendorPattern.MatchString(vendor):
		return "", malformed("Vendor %s is not valid", vendor)
	case !actionPattern.MatchString(name):
		return "", malformed("The policy failed legacy parsing")
	}
	return a, nil
}

func (p *parser) resources(s *statement, raw json.RawMessage) error {
	list, err := texts(raw, false)
	if err != nil {
		return malformed(syntaxErrors)
	}
	if len(list) == 0 {
		return malformed("Policy statement must contain resources.")
	}
	for _, name := range list {
		if err := p.variables(name); err != nil {
			return err
		}
		r, ok := newResource(name)
		if !ok {
			return malformed(`Resource %s must be in ARN format or "*".`, name)
		}
		s.resources = append(s.resources, r)
	}
	return nil
}

// variables refuses policy variables, which documents of 2008 do not have.
func (p *parser) variables(s string) error {
	if p.policy.Version == "2012-10-17" && strings.Contains(s, "${") {
		return notEvaluated("A policy variable, as in " + s + ",")
	}
	return nil
}

// operatorOf finds an operator and whether its name ends in IfExists.
func operatorOf(name string) (o *operator, ifExists bool, err error) {
	lower := strings.ToLower(name)
	base, ifExists := strings.CutSuffix(lower, "ifexists")
	switch o := operators[base]; {
	case o != nil && !(ifExists && o.match == nil):
		return o, ifExists, nil
	case strings.HasPrefix(lower, "forallvalues:"), strings.HasPrefix(lower, "foranyvalue:"),
		strings.HasPrefix(lower, "numeric"), lower == "binaryequals":
		return nil, false, notEvaluated("The condition operator " + name)
	}
	return nil, false, malformed("Invalid Condition type : %s.", name)
}

func (p *parser) conditions(s *statement, raw json.RawMessage) error {
	ops, err := object(raw)
	if err != nil {
		return malformed(syntaxErrors)
	}
	for _, m := range ops {
		o, ifExists, err := operatorOf(m.name)
		if err != nil {
			return err
		}
		entries, err := object(m.value)
		if err != nil {
			return malformed(syntaxErrors)
		}
		for _, entry := range entries {
			c := condition{op: o, ifExists: ifExists, key: strings.ToLower(entry.name)}
			if err := p.condition(&c, entry); err != nil {
				return err
			}
			s.conditions = append(s.conditions, c)
		}
	}
	return nil
}

// condition checks the key of a condition and compiles its values.
func (p *parser) condition(c *condition, entry member) error {
	if !strings.Contains(c.key, ":") {
		return malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	}
	typ, known := keys[p.kind][c.key]
	if !known || typ&c.op.types == 0 {
		return notEvaluated("The condition key " + entry.name + " with the operator " + c.op.name)
	}
	list, err := texts(entry.value, true)
	if err != nil || len(list) == 0 {
		return malformed(syntaxErrors)
	}
	for _, written := range list {
		if err := p.variables(written); err != nil {
			return err
		}
		v, ok := c.op.compile(written)
		if !ok {
			return malformed("The value %q is not valid for the condition operator %s.", written, c.op.name)
		}
		c.values = append(c.values, v)
	}
	return nil
}
