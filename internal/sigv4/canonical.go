package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// canonicalHead writes the canonical request up to the hash of the body.
func canonicalHead(r *http.Request, s *Signature) ([]byte, error) {
	b := make([]byte, 0, 1024)
	b = append(append(b, r.Method...), '\n')
	b = append(canonicalPath(b, r, s.Service), '\n')
	b, err := canonicalQuery(b, r.URL.RawQuery, s.Presigned)
	if err != nil {
		return nil, err
	}
	b = append(b, '\n')
	for _, name := range s.signed {
		b = append(append(b, name...), ':')
		b = append(headerValue(b, r, name), '\n')
	}
	b = append(b, '\n')
	for i, name := range s.signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	return append(b, '\n'), nil
}

// canonicalPath escapes the path once more as it stands on the wire.
// AWS: S3 alone takes it as it is.
func canonicalPath(b []byte, r *http.Request, service string) []byte {
	path := rawPath(r)
	if path == "" {
		return append(b, '/')
	}
	if service == "s3" {
		return append(b, path...)
	}
	return appendEscaped(b, path, true)
}

// rawPath is the path exactly as the client sent it.
func rawPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(path, "/") { // absolute form, or not from a server
		return r.URL.EscapedPath()
	}
	return path
}

type parameter struct{ name, value string }

// canonicalQuery sorts the parameters, repeated ones by value, and escapes them AWS's way. The
// signature of a presigned request is no part of what it signs.
func canonicalQuery(b []byte, raw string, presigned bool) ([]byte, error) {
	if raw == "" {
		return b, nil
	}
	var params []parameter
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return nil, errSignature
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return nil, errSignature
		}
		if presigned && name == "X-Amz-Signature" {
			continue
		}
		params = append(params, parameter{string(appendEscaped(nil, name, false)), string(appendEscaped(nil, value, false))})
	}
	slices.SortFunc(params, func(a, b parameter) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	for i, p := range params {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, p.name...), '='), p.value...)
	}
	return b, nil
}

// headerValue joins the values of a header, each trimmed and with single spaces.
func headerValue(b []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		return append(b, r.Host...)
	case "content-length":
		if _, ok := r.Header["Content-Length"]; !ok && r.ContentLength >= 0 {
			return strconv.AppendInt(b, r.ContentLength, 10)
		}
	case "transfer-encoding":
		return append(b, strings.Join(r.TransferEncoding, ",")...)
	}
	for i, v := range r.Header[http.CanonicalHeaderKey(name)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCollapsed(b, strings.TrimSpace(v))
	}
	return b
}

func appendCollapsed(b []byte, v string) []byte {
	if !strings.Contains(v, "  ") {
		return append(b, v...)
	}
	for i := range len(v) {
		if v[i] != ' ' || v[i-1] != ' ' { // v does not begin with a space
			b = append(b, v[i])
		}
	}
	return b
}

const upperHex = "0123456789ABCDEF"

// appendEscaped escapes all but RFC 3986's unreserved characters, and slashes if asked to.
func appendEscaped(b []byte, s string, keepSlash bool) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && keepSlash:
			b = append(b, c)
		default:
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}
