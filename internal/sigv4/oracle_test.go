package sigv4

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzOracle signs a request of any shape with the SDK: it must be accepted as it came, and with
// one byte changed it must be refused, unless the change means nothing.
func FuzzOracle(f *testing.F) {
	f.Add("/a/b", "x=1&y", "v", "body", true, false, uint16(7), byte(1))
	f.Add("//a/../b/%20%2F", "a=%2B&a=+&b", "  two  words ", "", false, false, uint16(40), byte(0x20))
	f.Add("/2015-03-31/functions/arn:aws:lambda:r:1:function:f/invocations", "Qualifier=%24LATEST", "Event", `{"a":1}`, false, true, uint16(90), byte(0x80))
	f.Add("/%C3%A4/~-._!$&'()*,;=@", "%C3%A4=%F0%9F%98%80&=&&", "", "\x00\xff\r\n", true, false, uint16(300), byte(4))
	f.Fuzz(func(t *testing.T, path, query, value, body string, claim, presign bool, at uint16, flip byte) {
		u, err := url.ParseRequestURI("http://h" + path + "?" + query)
		if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") || strings.ContainsAny(query, "#") || !sendable(u, value) {
			return // no client sends it
		}
		s := signing{url: u.String(), body: body, claim: claim, presign: presign}
		if value != "" && !presign {
			s.header = http.Header{"X-Amz-Fuzz": {value}}
		}
		raw := s.wire(t)
		got, err := authentic(receive(t, raw), "lambda")
		if err != nil || got != body {
			t.Fatalf("signed by the SDK and refused: body %q, %v\n%s", got, err, raw)
		}
		changed := bytes.Clone(raw)
		changed[int(at)%len(raw)] ^= flip
		before, err := meaning(raw)
		if err != nil {
			t.Fatal(err)
		}
		after, err := meaning(changed)
		if err != nil || before == after {
			return
		}
		r, _ := http.ReadRequest(bufio.NewReader(bytes.NewReader(changed)))
		if body, err := authentic(r, "lambda"); err == nil {
			t.Errorf("accepted with body %q:\n%s\nmeans\n%s\ninstead of\n%s", body, changed, after, before)
		}
	})
}

// sendable tells whether Go's client can send and Go's server can read such a request, and
// whether the SDK signs what it then sends: it signs a query that it has parsed and written anew.
func sendable(u *url.URL, value string) bool {
	if _, err := url.ParseQuery(u.RawQuery); err != nil || strings.Contains(u.RawQuery, "X-Amz-") {
		return false
	}
	for _, c := range u.Path + u.RawQuery + value {
		if c < ' ' || c == 0x7f || c == 0xfffd {
			return false
		}
	}
	return !strings.ContainsAny(u.RawQuery, " ") && u.Host == "h"
}
