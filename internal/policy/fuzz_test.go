package policy

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// FuzzParse checks that no document makes the parser or the evaluator panic, and that what the
// parser takes, it takes again.
func FuzzParse(f *testing.F) {
	f.Add(identity(`{"Effect":"Allow","Action":"a:*","Resource":["arn:aws:s3:::x*","*"]}`), "a:B", "arn:aws:s3:::xy")
	f.Add(identity(`[{"Sid":"x","Effect":"Deny","NotAction":["a:B"],"NotResource":"*","Condition":{"StringLike":{"aws:username":"?"}}}]`), "a:B", "*")
	f.Add(identity(`{"Effect":"Allow","Principal":{"AWS":["123456789012","*"],"Service":"x.amazonaws.com"},"Action":"sts:AssumeRole"}`), "sts:AssumeRole", "")
	f.Add(` {"Statement": [ {} ] } `, "", "")
	f.Add(`{"Statement":[null,1,""]}`, "", "")
	deny := map[Kind]*Policy{}
	for kind, doc := range map[Kind]string{
		Identity: `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`,
		Trust:    `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}`,
	} {
		p, err := Parse(doc, kind)
		if err != nil {
			f.Fatal(err)
		}
		deny[kind] = p
	}
	f.Fuzz(func(t *testing.T, doc, action, resource string) {
		for _, kind := range []Kind{Identity, Trust} {
			p, err := Parse(doc, kind)
			if err != nil {
				if _, ok := err.(*Error); !ok {
					t.Fatalf("error of type %T", err)
				}
				continue
			}
			req := Request{Action: action, Resource: resource, Principal: Principal{Service: action, AWS: []string{resource}},
				Context: func(key string) (string, bool) { return resource, len(key)%2 == 0 }}
			first := Evaluate([]*Policy{p}, req)
			denied := req
			if kind == Trust {
				denied.Action = "sts:AssumeRole" // the only one that a trust policy can deny
			}
			if got := Evaluate([]*Policy{p, deny[kind]}, denied); got != ExplicitDeny {
				t.Fatalf("%v beside a statement that denies all of it", got)
			}
			again, err := Parse(doc, kind)
			if err != nil || Evaluate([]*Policy{again, p}, req) != first {
				t.Fatalf("parsed twice, decided twice: %v", err)
			}
		}
	})
}

// A plain evaluator of the documents that TestAgainstPlain makes: regular expressions, no
// shortcuts.
type plainStatement struct {
	Effect    string
	Action    []string `json:",omitempty"`
	NotAction []string `json:",omitempty"`
	Resource  []string `json:",omitempty"`
	Condition map[string]map[string]string
}

func plainMatch(patterns []string, s, anyChar string) bool {
	for _, p := range patterns {
		e := regexp.QuoteMeta(p)
		e = strings.ReplaceAll(strings.ReplaceAll(e, `\*`, anyChar+"*"), `\?`, anyChar)
		if regexp.MustCompile("^" + e + "$").MatchString(s) {
			return true
		}
	}
	return false
}

func (s plainStatement) applies(action, resource, user string) bool {
	lower := func(list []string) (out []string) {
		for _, a := range list {
			out = append(out, strings.ToLower(a))
		}
		return out
	}
	if s.Action != nil && !plainMatch(lower(s.Action), strings.ToLower(action), ".") ||
		s.NotAction != nil && plainMatch(lower(s.NotAction), strings.ToLower(action), ".") {
		return false
	}
	for op, keys := range s.Condition {
		if (keys["aws:username"] == user) == (op == "StringNotEquals") {
			return false
		}
	}
	for _, r := range s.Resource {
		if r == "*" || plainMatch([]string{r}, resource, "[^:]") {
			return true
		}
	}
	return false
}

// A plainCase is a request with the policies of its caller, and what the plain evaluator says.
type plainCase struct {
	action, resource, user string
	docs                   []string
	want                   Decision
}

// randomCase makes a case: policies of the names of which there are few, so that they meet.
func randomCase(rnd *rand.Rand) plainCase {
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	some := func(list ...string) (out []string) {
		for range 1 + rnd.IntN(2) {
			out = append(out, pick(list...))
		}
		return out
	}
	c := plainCase{action: pick("a:Get", "a:Put", "b:Get"), resource: pick("arn:p:a:r:1:x", "arn:p:b:r:2:y", "arn:p:a:q:1:xx"), user: pick("u", "v")}
	for range 1 + rnd.IntN(3) {
		var statements []plainStatement
		for range 1 + rnd.IntN(3) {
			s := plainStatement{Effect: pick("Allow", "Allow", "Deny")}
			actions := some("a:Get", "a:G*", "A:?et", "b:*", "*", "a:Put", "a:*t")
			if rnd.IntN(4) == 0 {
				s.NotAction = actions
			} else {
				s.Action = actions
			}
			s.Resource = some("*", "arn:p:a:r:1:x", "arn:p:a:*:1:x*", "arn:p:?:r:*:y", "arn:*:a:r:1:?")
			if rnd.IntN(3) == 0 {
				s.Condition = map[string]map[string]string{pick("StringEquals", "StringNotEquals"): {"aws:username": pick("u", "v")}}
			}
			statements = append(statements, s)
			if !s.applies(c.action, c.resource, c.user) || c.want == ExplicitDeny {
				continue
			}
			c.want = Allow
			if s.Effect == "Deny" {
				c.want = ExplicitDeny
			}
		}
		doc, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
		c.docs = append(c.docs, strings.ReplaceAll(string(doc), `,"Condition":null`, ""))
	}
	return c
}

// check holds the evaluator against the plain one; a statement that denies everything then wins
// from any place.
func (c plainCase) check(t *testing.T) {
	t.Helper()
	var policies []*Policy
	for _, doc := range c.docs {
		policies = append(policies, must(t, doc, Identity))
	}
	req := Request{Action: c.action, Resource: c.resource, Context: func(k string) (string, bool) { return c.user, k == "aws:username" }}
	if got := Evaluate(policies, req); got != c.want {
		t.Fatalf("%s on %s by %s: got %v, want %v\n%s", c.action, c.resource, c.user, got, c.want, strings.Join(c.docs, "\n"))
	}
	deny := must(t, identity(`{"Effect":"Deny","Action":"*","Resource":"*"}`), Identity)
	for i := range len(policies) + 1 {
		if got := Evaluate(slices.Insert(slices.Clone(policies), i, deny), req); got != ExplicitDeny {
			t.Fatalf("denied by statement %d: %v", i, got)
		}
	}
}

func TestAgainstPlain(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	counts := map[Decision]int{}
	for range 4000 {
		c := randomCase(rnd)
		c.check(t)
		counts[c.want]++
	}
	for d, n := range map[Decision]int{Allow: 200, ExplicitDeny: 200, ImplicitDeny: 200} {
		if counts[d] < n {
			t.Errorf("only %d cases of %v: the generator says nothing", counts[d], d)
		}
	}
}

// FuzzAgainstPlain is TestAgainstPlain for as long as one likes.
func FuzzAgainstPlain(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { randomCase(rand.New(rand.NewPCG(a, b))).check(t) })
}

func BenchmarkEvaluate(b *testing.B) {
	p, err := Parse(identity(`[{"Effect":"Allow","Action":["logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"},{"Effect":"Allow","Action":"lambda:*","Resource":"arn:aws:lambda:*:*:function:*"}]`), Identity)
	if err != nil {
		b.Fatal(err)
	}
	policies := []*Policy{p}
	req := Request{Action: "lambda:InvokeFunction", Resource: "arn:aws:lambda:us-east-1:123456789012:function:some-function"}
	for b.Loop() {
		if Evaluate(policies, req) != Allow {
			b.Fatal("denied")
		}
	}
}
