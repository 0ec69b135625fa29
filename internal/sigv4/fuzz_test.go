package sigv4

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// FuzzVerify changes a byte of a signed request as it stands on the wire. Unless the change means
// nothing (another spelling of the same header or parameter, a header that is not signed), it
// must be refused.
func FuzzVerify(f *testing.F) {
	samples := [][]byte{
		signing{method: "GET", url: "http://h/2015-03-31/functions/f%3A1?a=b%20c&a=%2B&d"}.wire(f),
		signing{body: `{"hello":"world"}`, token: "token", header: http.Header{"X-Amz-Invocation-Type": {"Event"}}}.wire(f),
		signing{body: `{"hello":"world"}`, claim: true}.wire(f),
		signing{method: "GET", presign: true, token: "t/+="}.wire(f),
	}
	for i, raw := range samples {
		for at := 0; at < len(raw); at += 7 {
			f.Add(uint8(i), uint16(at), byte(1))
			f.Add(uint8(i), uint16(at), byte(0x20))
		}
	}
	f.Fuzz(func(t *testing.T, sample uint8, at uint16, flip byte) {
		raw := samples[int(sample)%len(samples)]
		changed := bytes.Clone(raw)
		changed[int(at)%len(raw)] ^= flip
		before, err := meaning(raw)
		if err != nil {
			t.Fatal(err)
		}
		after, err := meaning(changed)
		if err != nil {
			return // net/http refuses it
		}
		r, _ := http.ReadRequest(bufio.NewReader(bytes.NewReader(changed)))
		body, err := authentic(r, "lambda")
		if before == after && err != nil && r.Header.Get("Authorization") == receive(t, raw).Header.Get("Authorization") {
			t.Errorf("the same request is refused: %v\n%s", err, changed)
		}
		if before != after && err == nil {
			t.Errorf("accepted with body %q:\n%s\nmeans\n%s\ninstead of\n%s", body, changed, after, before)
		}
	})
}

// meaning is what of a request reaches an operation: method, raw path, host, parameters, signed
// headers and body.
func meaning(raw []byte) (string, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return "", err
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(path, "/") {
		path = r.URL.EscapedPath()
	}
	var b strings.Builder
	fmt.Fprintln(&b, r.Method, path, r.Host)
	query := map[string][]string(r.URL.Query())
	for _, k := range slices.Sorted(maps.Keys(query)) {
		values := slices.Sorted(slices.Values(query[k]))
		fmt.Fprintf(&b, "%q %q\n", k, values)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Header)) {
		if k == "Authorization" || strings.HasPrefix(k, "X-Amz-") || k == "Content-Length" && r.ContentLength > 0 {
			var values []string
			for _, v := range r.Header[k] {
				values = append(values, strings.Join(strings.FieldsFunc(v, func(c rune) bool {
					return c == ' ' || c == '\t' && k == "Authorization" // between its parameters
				}), " "))
			}
			fmt.Fprintf(&b, "%s %q\n", k, strings.Join(values, ","))
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "%q", body)
	return b.String(), nil
}
