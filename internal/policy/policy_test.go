package policy

import (
	"errors"
	"testing"
)

func must(t *testing.T, doc string, kind Kind) *Policy {
	t.Helper()
	p, err := Parse(doc, kind)
	if err != nil {
		t.Fatalf("Parse(%s): %v", doc, err)
	}
	return p
}

func identity(statements string) string {
	return `{"Version":"2012-10-17","Statement":` + statements + `}`
}

func TestIdentity(t *testing.T) {
	const fn = "arn:aws:lambda:us-east-1:123456789012:function:f"
	context := map[string]string{
		"iam:passedtoservice": "lambda.amazonaws.com",
		"aws:sourceip":        "10.1.2.3",
		"aws:securetransport": "false",
		"aws:principalarn":    "arn:aws:iam::123456789012:role/a/b",
		"aws:currenttime":     "2026-05-01T10:00:00.5Z",
	}
	for _, tt := range []struct {
		name, statements, action, resource string
		want                               Decision
	}{
		{"object", `{"Effect":"Allow","Action":"lambda:*","Resource":"*"}`, "lambda:Invoke", fn, Allow},
		{"action case", `{"Effect":"Allow","Action":"LAMBDA:invoke*","Resource":"*"}`, "lambda:InvokeFunction", fn, Allow},
		{"resource case", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-1:123456789012:function:F"}`, "lambda:GetFunction", fn, ImplicitDeny},
		{"question mark", `{"Effect":"Allow","Action":"lambda:Get?unction","Resource":"arn:aws:lambda:*:123456789012:function:?"}`, "lambda:GetFunction", fn, Allow},
		{"other service", `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`, "lambda:GetFunction", fn, ImplicitDeny},
		{"deny wins", `[{"Effect":"Deny","Action":"lambda:Delete*","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}]`, "lambda:DeleteFunction", fn, ExplicitDeny},
		{"deny wins last", `[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"lambda:Delete*","Resource":"*"}]`, "lambda:DeleteFunction", fn, ExplicitDeny},
		{"deny elsewhere", `[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::x"}]`, "lambda:GetFunction", fn, Allow},
		{"NotAction", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, "lambda:GetFunction", fn, Allow},
		{"NotAction itself", `{"Effect":"Allow","NotAction":["iam:*","lambda:Get*"],"Resource":"*"}`, "lambda:GetFunction", fn, ImplicitDeny},
		{"NotResource", `{"Effect":"Deny","Action":"*","NotResource":"` + fn + `"}`, "lambda:GetFunction", fn, ImplicitDeny},
		{"NotResource other", `{"Effect":"Allow","Action":"*","NotResource":"` + fn + `"}`, "lambda:GetFunction", fn + "2", Allow},
		{"star does not reach over a colon", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:*:function:f"}`, "lambda:GetFunction", fn, ImplicitDeny},
		{"star in the last part does", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-1:123456789012:*"}`, "lambda:GetFunction", fn + ":1", Allow},
		{"short ARN", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-1"}`, "lambda:GetFunction", fn, Allow},
		{"ARN against no resource", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:*:*:*"}`, "lambda:ListFunctions", "*", ImplicitDeny},
		{"all against no resource", `{"Effect":"Allow","Action":"*","Resource":["arn:aws:s3:::b","*"]}`, "lambda:ListFunctions", "*", Allow},
		{"StringEquals", `{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":["ecs.amazonaws.com","lambda.amazonaws.com"]}}}`, "iam:PassRole", fn, Allow},
		{"StringEquals differs", `{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"ecs.amazonaws.com"}}}`, "iam:PassRole", fn, ImplicitDeny},
		{"absent key", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"bob"}}}`, "a:B", fn, ImplicitDeny},
		{"absent key negated", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:username":"bob"}}}`, "a:B", fn, Allow},
		{"absent key IfExists", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"aws:username":"bob"}}}`, "a:B", fn, Allow},
		{"negated with several values", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotLike":{"iam:PassedToService":["x*","lambda*"]}}}`, "a:B", fn, ImplicitDeny},
		{"conditions all hold", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":["192.168.0.0/16","10.0.0.0/8"]},"Bool":{"aws:SecureTransport":"false"}}}`, "a:B", fn, Allow},
		{"one condition fails", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"Bool":{"aws:SecureTransport":true}}}`, "a:B", fn, ImplicitDeny},
		{"NotIpAddress", `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"10.1.2.3"}}}`, "a:B", fn, ImplicitDeny},
		{"ArnLike", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/a/*"}}}`, "a:B", fn, Allow},
		{"ArnNotLike", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/a/*"}}}`, "a:B", fn, ImplicitDeny},
		{"Null of an absent key", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"aws:username":"true"}}}`, "a:B", fn, Allow},
		{"Null of a present key", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"aws:SourceIp":"true"}}}`, "a:B", fn, ImplicitDeny},
		{"date before", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-05-02"}}}`, "a:B", fn, Allow},
		{"date after", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-05-01T12:00:00+01:00"}}}`, "a:B", fn, ImplicitDeny},
		{"2008 has no variables", `{"Effect":"Allow","Action":"*","Resource":"*"}`, "a:B", fn, Allow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := must(t, identity(tt.statements), Identity)
			got := Evaluate([]*Policy{p}, Request{Action: tt.action, Resource: tt.resource, Context: func(k string) (string, bool) {
				v, ok := context[k]
				return v, ok
			}})
			if got != tt.want {
				t.Errorf("%s on %s is %v, want %v", tt.action, tt.resource, got, tt.want)
			}
		})
	}
}

func TestDenyInAnotherPolicyWins(t *testing.T) {
	allow := must(t, identity(`{"Effect":"Allow","Action":"*","Resource":"*"}`), Identity)
	deny := must(t, identity(`{"Effect":"Deny","Action":"a:B","Resource":"*"}`), Identity)
	req := Request{Action: "a:B", Resource: "*"}
	for _, policies := range [][]*Policy{{allow, deny}, {deny, allow}} {
		if got := Evaluate(policies, req); got != ExplicitDeny {
			t.Errorf("got %v", got)
		}
	}
	if got := Evaluate(nil, req); got != ImplicitDeny {
		t.Errorf("no policy: %v", got)
	}
}

func TestTrust(t *testing.T) {
	trust := func(principal, rest string) string {
		return identity(`[{"Effect":"Allow","Principal":` + principal + `,"Action":"sts:AssumeRole"` + rest + `}]`)
	}
	const user = "arn:aws:iam::123456789012:user/bob"
	bob := Principal{AWS: []string{user, "arn:aws:iam::123456789012:root"}}
	for _, tt := range []struct {
		name, doc string
		who       Principal
		want      Decision
	}{
		{"service", trust(`{"Service":"lambda.amazonaws.com"}`, ""), Principal{Service: "lambda.amazonaws.com"}, Allow},
		{"services", trust(`{"Service":["edgelambda.amazonaws.com","lambda.amazonaws.com"]}`, ""), Principal{Service: "lambda.amazonaws.com"}, Allow},
		{"other service", trust(`{"Service":"ecs-tasks.amazonaws.com"}`, ""), Principal{Service: "lambda.amazonaws.com"}, ImplicitDeny},
		{"service is no user", trust(`{"Service":"lambda.amazonaws.com"}`, ""), bob, ImplicitDeny},
		{"user", trust(`{"AWS":"`+user+`"}`, ""), bob, Allow},
		{"account", trust(`{"AWS":"123456789012"}`, ""), bob, Allow},
		{"root", trust(`{"AWS":["arn:aws:iam::123456789012:root"]}`, ""), bob, Allow},
		{"other account", trust(`{"AWS":"210987654321"}`, ""), bob, ImplicitDeny},
		{"anyone", trust(`"*"`, ""), bob, Allow},
		{"any AWS", trust(`{"AWS":"*"}`, ""), bob, Allow},
		{"condition", trust(`{"Service":"lambda.amazonaws.com"}`, `,"Condition":{"StringEquals":{"aws:SourceAccount":"1"}}`), Principal{Service: "lambda.amazonaws.com"}, ImplicitDeny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Evaluate([]*Policy{must(t, tt.doc, Trust)}, Request{Action: "sts:AssumeRole", Principal: tt.who})
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	ok := `"Effect":"Allow","Action":"a:B","Resource":"*"`
	for _, tt := range []struct {
		kind      Kind
		doc, text string
	}{
		{Identity, `{`, "This policy contains invalid Json"},
		{Identity, `[]`, "Syntax errors in policy."},
		{Identity, `{"Version":"2012-10-17"}`, "Missing required field Statement"},
		{Identity, `{"Version":"2020-01-01","Statement":{` + ok + `}}`, "Syntax errors in policy."},
		{Identity, `{"statement":{` + ok + `}}`, "Syntax errors in policy."},
		{Identity, identity(`{` + ok + `,"Effect":"Deny"}`), "Syntax errors in policy."},
		{Identity, identity(`{"Effect":"allow","Action":"a:B","Resource":"*"}`), "Invalid effect: allow"},
		{Identity, identity(`{"Action":"a:B","Resource":"*"}`), "Missing required field Effect"},
		{Identity, identity(`{"Effect":"Allow","Resource":"*"}`), "Policy statement must contain actions."},
		{Identity, identity(`{"Effect":"Allow","Action":[],"Resource":"*"}`), "Policy statement must contain actions."},
		{Identity, identity(`{"Effect":"Allow","Action":"a:B"}`), "Policy statement must contain resources."},
		{Identity, identity(`{` + ok + `,"Principal":"*"}`), "Policy document should not specify a principal."},
		{Identity, identity(`{"Effect":"Allow","Action":"lambda","Resource":"*"}`), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."},
		{Identity, identity(`{"Effect":"Allow","Action":"l*:Get","Resource":"*"}`), "Vendor l* is not valid"},
		{Identity, identity(`{"Effect":"Allow","Action":"a:B","Resource":"function/f"}`), `Resource function/f must be in ARN format or "*".`},
		{Identity, identity(`[{` + ok + `,"Sid":"x"},{` + ok + `,"Sid":"x"}]`), "Statement IDs (SID) in a single policy must be unique."},
		{Identity, identity(`{"Effect":"Allow","Action":"a:B","Resource":"arn:aws:s3:::b/${aws:username}"}`), "A policy variable, as in arn:aws:s3:::b/${aws:username}, is not evaluated yet by this region, so a policy that needs it is refused."},
		{Identity, identity(`{` + ok + `,"Condition":{"StringEquals":{"s3:prefix":"x"}}}`), "The condition key s3:prefix with the operator StringEquals is not evaluated yet by this region, so a policy that needs it is refused."},
		{Identity, identity(`{` + ok + `,"Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":"x"}}}`), "The condition operator ForAnyValue:StringEquals is not evaluated yet by this region, so a policy that needs it is refused."},
		{Identity, identity(`{` + ok + `,"Condition":{"Like":{"aws:username":"x"}}}`), "Invalid Condition type : Like."},
		{Identity, identity(`{` + ok + `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0"}}}`), `The value "10.0.0" is not valid for the condition operator IpAddress.`},
		{Identity, identity(`{` + ok + `,"Conditions":{}}`), "Syntax errors in policy."},
		{Trust, identity(`{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}`), "Has prohibited field Resource"},
		{Trust, identity(`{"Effect":"Allow","Action":"sts:AssumeRole"}`), "Missing required field Principal"},
		{Trust, identity(`{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunction"}`), "AssumeRole policy may only specify STS AssumeRole actions."},
		{Trust, identity(`{"Effect":"Allow","Principal":{"AWS":"bob"},"Action":"sts:AssumeRole"}`), `Invalid principal in policy: "AWS":"bob"`},
		{Trust, identity(`{"Effect":"Allow","Principal":{"Service":"lambda"},"Action":"sts:AssumeRole"}`), `Invalid principal in policy: "SERVICE":"lambda"`},
		{Trust, identity(`{"Effect":"Allow","NotPrincipal":{"AWS":"*"},"Action":"sts:AssumeRole"}`), "The element NotPrincipal is not evaluated yet by this region, so a policy that needs it is refused."},
		{Trust, identity(`{"Effect":"Allow","Principal":{"Federated":"x"},"Action":"sts:AssumeRoleWithSAML"}`), "The principal type Federated is not evaluated yet by this region, so a policy that needs it is refused."},
	} {
		_, err := Parse(tt.doc, tt.kind)
		var e *Error
		if !errors.As(err, &e) || e.Message != tt.text {
			t.Errorf("Parse(%s)\n got %v\nwant %s", tt.doc, err, tt.text)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"?", "", false}, {"a*c", "abbc", true}, {"a*c", "abbcd", false},
		{"*a*b", "xaxbxab", true}, {"**", "x", true}, {"a?", "a", false}, {"*?", "", false}, {"ab", "abc", false},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) = %v", tt.pattern, tt.s, got)
		}
	}
}
