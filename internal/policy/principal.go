package policy

import (
	"encoding/json"
	"regexp"
)

var (
	servicePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*\.amazonaws\.com(\.cn)?$`)
	principalPattern = regexp.MustCompile(`^arn:aws[a-z-]*:(iam::\d{12}:(root|user/[\w+=,.@/-]+|role/[\w+=,.@/-]+)|sts::\d{12}:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+)$`)
)

// principal reads the element Principal: "*", or lists of names by kind.
func (p *parser) principal(s *statement, raw json.RawMessage) error {
	if raw[0] == '"' {
		var name string
		if err := text(raw, &name); err != nil {
			return err
		}
		if name != "*" {
			return malformed(`Invalid principal in policy: "STAR":"%s"`, name)
		}
		s.principals.anyone = true
		return nil
	}
	kinds, err := object(raw)
	if err != nil {
		return malformed(syntaxErrors)
	}
	if len(kinds) == 0 {
		return malformed("Missing required field Principal cannot be empty!")
	}
	for _, kind := range kinds {
		names, err := texts(kind.value, false)
		if err != nil {
			return malformed(syntaxErrors)
		}
		for _, name := range names {
			if err := s.principals.add(kind.name, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *principals) add(kind, name string) error {
	switch kind {
	case "AWS":
		switch {
		case name == "*":
			p.anyone = true
		case isAccount(name), principalPattern.MatchString(name):
			p.aws = append(p.aws, name)
		default:
			return malformed(`Invalid principal in policy: "AWS":"%s"`, name)
		}
	case "Service":
		if !servicePattern.MatchString(name) {
			return malformed(`Invalid principal in policy: "SERVICE":"%s"`, name)
		}
		p.services = append(p.services, name)
	case "Federated", "CanonicalUser":
		return notEvaluated("The principal type " + kind)
	default:
		return malformed(syntaxErrors)
	}
	return nil
}
