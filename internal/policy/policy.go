// Package policy parses and evaluates IAM policy documents: identity policies, which hang on
// users and roles, and trust policies, which say who may assume a role.
//
// It promises that nothing in a document is ignored: [Parse] refuses, with AWS's error text where
// AWS has one, every element, operator and condition key that [Evaluate] does not honour. It is
// pure: no clock, no I/O, no state. A parsed [Policy] is immutable and may be used by any number
// of goroutines.
package policy

// A Kind says what a document is for, and so which elements it may have.
type Kind int

// The kinds of documents.
const (
	Identity Kind = iota // on a user or role: resources, no principal
	Trust                // on a role: principals, no resource
)

// A Decision is the outcome of an evaluation.
type Decision int

// The decisions. The zero value denies.
const (
	ImplicitDeny Decision = iota // no statement applies
	Allow                        // a statement allows it, none denies it
	ExplicitDeny                 // a statement denies it
)

// String is the decision in words.
func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case ExplicitDeny:
		return "explicit deny"
	default:
		return "implicit deny"
	}
}

// A Policy is a parsed document.
type Policy struct {
	Version    string // "2012-10-17" or "2008-10-17"
	ID         string
	statements []statement
}

// A Request is what a caller wants to do. Identity policies look at action, resource and context;
// trust policies at action, principal and context.
type Request struct {
	Action    string // "lambda:CreateFunction"
	Resource  string // an ARN, or "*" for actions without resources
	Principal Principal
	// Context looks up a condition key, which is in lower case. Nil means that there are none.
	Context func(key string) (value string, ok bool)
}

// A Principal is by which names a trust policy may mean the caller.
type Principal struct {
	Service string   // "lambda.amazonaws.com", for a service
	AWS     []string // ARNs: of the caller itself, of its role, of its account's root
}

// Evaluate decides a request: any statement that denies wins, then any that allows; without
// either the answer is no.
func Evaluate(policies []*Policy, req Request) Decision {
	decision := ImplicitDeny
	for _, p := range policies {
		for i := range p.statements {
			s := &p.statements[i]
			if !s.deny && decision == Allow || !s.applies(&req) {
				continue
			}
			if s.deny {
				return ExplicitDeny
			}
			decision = Allow
		}
	}
	return decision
}

// Principals are the AWS principals a trust policy names, as it writes them, in order.
func (p *Policy) Principals() []string {
	var names []string
	for i := range p.statements {
		names = append(names, p.statements[i].principals.aws...)
	}
	return names
}

type statement struct {
	sid          string
	deny         bool
	notAction    bool
	actions      []string // in lower case
	notResource  bool
	resources    []resource
	principals   principals
	conditions   []condition
	hasResources bool // identity policies always, trust policies never
}

type principals struct {
	anyone   bool
	services []string
	aws      []string
}

func (s *statement) applies(req *Request) bool {
	return s.matchesAction(req.Action) && s.matchesResource(req.Resource) &&
		s.matchesPrincipal(&req.Principal) && s.matchesConditions(req)
}

func (s *statement) matchesAction(action string) bool {
	for _, pattern := range s.actions {
		if globFold(pattern, action) {
			return !s.notAction
		}
	}
	return s.notAction
}

func (s *statement) matchesResource(name string) bool {
	if !s.hasResources {
		return true
	}
	for i := range s.resources {
		if s.resources[i].matches(name) {
			return !s.notResource
		}
	}
	return s.notResource
}

func (s *statement) matchesPrincipal(p *Principal) bool {
	if s.hasResources || s.principals.anyone {
		return true
	}
	for _, service := range s.principals.services {
		if p.Service != "" && service == p.Service {
			return true
		}
	}
	for _, name := range s.principals.aws {
		for _, own := range p.AWS {
			if name == own || isAccount(name) && own == accountRoot(own, name) {
				return true
			}
		}
	}
	return false
}

func (s *statement) matchesConditions(req *Request) bool {
	for i := range s.conditions {
		if !s.conditions[i].holds(req.Context) {
			return false
		}
	}
	return true
}
