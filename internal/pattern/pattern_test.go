package pattern

import (
	"errors"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	const (
		error400 = "[ERROR 400] BAD REQUEST"
		event    = `{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],
			"objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"cluster.name":"c","size":1.5e3,"ok":true,"no":false,"code":"404"}`
		access = `127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534`
	)
	for _, c := range []struct {
		pattern, message string
		want             bool
	}{
		{"", error400, true},
		{" ", "", true},
		{`" "`, error400, true},
		{"ERROR", error400, true},
		{"ERROR", "Exiting with ERRORCODE: -1", true},
		{"error", error400, false},
		{"ERROR REQUEST", error400, true},
		{"ERROR ARGUMENTS", error400, false},
		{"?ERROR ?ARGUMENTS", error400, true},
		{"?ARGUMENTS ?WARN", error400, false},
		{"?ARGUMENTS ?ERROR -BAD", error400, false},
		{"?ARGUMENTS ERROR", error400, true},
		{"ERROR -ARGUMENTS", error400, true},
		{"ERROR -BAD", error400, false},
		{"-BAD", "fine", true},
		{`"BAD REQUEST"`, error400, true},
		{`"REQUEST BAD"`, error400, false},
		{`-"BAD REQUEST"`, error400, false},
		{`"a \"b\" \\c"`, `x a "b" \c`, true},
		{`%ERR.R%`, error400, true},
		{`%^ERROR%`, error400, false},
		{`%REQUEST$%`, error400 + "\n", true},
		{`%[45]00% BAD`, error400, true},
		{`%\d{1,3}\.\d{1,3}%`, "at 10.0", true},

		{`{ $.eventType = "UpdateTrail" }`, event, true},
		{`{ $.eventType = UpdateTrail }`, event, true},
		{`{$.eventType="Update*"}`, event, true},
		{`{ $.eventType = "*Tr*l" }`, event, true},
		{`{ $.eventType = "*Tr*x" }`, event, false},
		{`{ $.eventType = %Trail% }`, event, true},
		{`{ $.eventType != "Update*" }`, event, false},
		{`{ $.sourceIPAddress != 123.123.* }`, event, true},
		{`{ $.missing != "x" }`, event, false},
		{`{ $.missing = "*" }`, event, false},
		{`{ $.arrayKey[0] = "value" }`, event, true},
		{`{ $.arrayKey[2] = "value" }`, event, false},
		{`{ $.arrayKey = "value" }`, event, false},
		{`{ $.objectList[1].id = 2 }`, event, true},
		{`{ $.objectList[1].id > 2 }`, event, false},
		{`{ $.objectList[1].id >= 2 }`, event, true},
		{`{ $.objectList.id = 2 }`, event, false},
		{`{ $.size = 1500 }`, event, true},
		{`{ $.size < 1.6e+3 }`, event, true},
		{`{ $.size > -1 }`, event, true},
		{`{ $.code = 404 }`, event, true},
		{`{ $.code = 4* }`, event, true},
		{`{ $.eventType > 1 }`, event, false},
		{`{ $.['cluster.name'] = "c" }`, event, true},
		{`{ $["cluster.name"] = "c" }`, event, true},
		{`{ $.SomeObject IS NULL }`, event, true},
		{`{ $.missing IS NULL }`, event, false},
		{`{ $.SomeOtherObject NOT EXISTS }`, event, true},
		{`{ $.SomeObject NOT  EXISTS }`, event, false},
		{`{ $.ok IS TRUE && $.no IS FALSE }`, event, true},
		{`{ $.ok IS FALSE }`, event, false},
		{`{ $.ok = true }`, event, true},
		{`{ $.ok IS FALSE || $.no IS FALSE && $.size = 1 }`, event, false},
		{`{ ($.ok IS TRUE || $.no IS FALSE) && ($.size = 1 || ($.code = "404")) }`, event, true},
		{`{ $.ok IS TRUE || $.no IS TRUE && $.size = 1 }`, event, true},
		{`{ $.a = 1 }`, `{"a":1} and more`, false},
		{`{ $.a = 1 }`, `text`, false},
		{`{ $[0].a = 1 }`, `[{"a":1}]`, true},
		{`{ $.a = 9007199254740993 }`, `{"a":9007199254740993}`, true},

		{`[ip, user, username, timestamp, request, status_code, bytes]`, access, true},
		{`[ip, user, username, timestamp, request, status_code]`, access, false},
		{`[ip, user, username, timestamp, request, status_code = 4*, bytes]`, access, true},
		{`[ip, user, username, timestamp, request, status_code = 404, bytes > 1000]`, access, true},
		{`[ip, user, username, timestamp, request, status_code = 404, bytes > 1534]`, access, false},
		{`[ip, user, username, timestamp, request =*.html*, status_code = 4*,]`, access, true},
		{`[..., status_code = 404 || status_code = 410, bytes]`, access, true},
		{`[..., (status_code = 400 || status_code = 410), bytes]`, access, false},
		{`[ip = %127\.0\.0\.[1-9]%, ..., timestamp = "10/Oct/2000*", ...]`, access, true},
		{`[..., user=frank, ...]`, access, true},
		{`[..., x=404, y=1, ...]`, access, false},
		{`[w1=ERROR, w2]`, "ERROR x\n", true},
		{`[w1!=ERROR && w1!=WARN, w2]`, "ERROR x", false},
		{`[w1!=ERROR && w1!=WARN, w2]`, "INFO x", true},
		{`[=ERROR, ...]`, "ERROR x y", true},
		{`[...]`, "", true},
		{`[a]`, "[never closed", false},
		{`[a,b]`, "[never closed", true},
	} {
		p, err := Parse(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := p.Match([]byte(c.message)); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.message, got)
		}
	}
}

func TestInvalid(t *testing.T) {
	for _, p := range []string{
		`"open`, `?`, `a -`, `a"b`, `%open`, `%a!%`, `%(a)%`, `%[a%`, `%ä%`, `%a% %b% %c%`,
		`{`, `{}`, `{ $.a }`, `{ $.a = }`, `{ $.a = 1`, `{ $.a = 1 } x`, `{ $ = 1 }`, `{ a = 1 }`, `{ $.a[x] = 1 }`, `{ $.a['b = 1 }`,
		`{ ($.a = 1 }`, `{ $.a = 1 && }`, `{ $.a > b }`, `{ $.a IS WRONG }`, `{ $.a = "b }`, `{ $.a = 1 $.b = 2 }`,
		`[`, `[a`, `[a] b`, `[a=]`, `[a=1 || b=2]`, `[a > x]`, `[(a=1]`,
		"{" + strings.Repeat("(", 1000) + "$.a=1" + strings.Repeat(")", 1000) + "}",
	} {
		if _, err := Parse(p); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.60s: %v", p, err)
		}
	}
}

// FuzzPattern looks for panics, for what a pattern and its negation disagree on, and for a
// newline that makes a difference.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{"a b", `?a ?"b c" -d`, `%a.*[b]{2}%`, `{ $.a[0].['b'] = "x*" && ($.c NOT EXISTS || $.d >= 1e3) }`, `[a, b=1* || b!=%x%, ..., "c"]`, `[...,...,a=1,...]`} {
		f.Add(p, `{"a":[{"b":"xy"}],"d":1000}`)
		f.Add(p, `1 [2 3] "a b" c`)
	}
	f.Fuzz(func(t *testing.T, pattern, message string) {
		p, err := Parse(pattern)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		got := p.Match([]byte(message))
		if !strings.HasSuffix(message, "\n") && p.Match([]byte(message+"\n")) != got {
			t.Error("a newline at the end makes a difference")
		}
		term := strings.TrimSpace(pattern)
		if term == "" || strings.ContainsAny(term[:1], "{[?-") || strings.ContainsAny(term, " \t\r\n\"%") {
			return
		}
		if got != strings.Contains(message, term) {
			t.Error("a term fits where it is not, or does not where it is")
		}
		not, err := Parse("-" + term)
		if err != nil || not.Match([]byte(message)) == got {
			t.Errorf("a pattern and its negation agree: %v", err)
		}
	})
}
