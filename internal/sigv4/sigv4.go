// Package sigv4 verifies AWS's Signature Version 4 on requests: in the Authorization header and,
// for presigned URLs, in the query.
//
// [Parse] reads the signature of a request, [Verifier.Verify] checks it in two steps. All that
// the head of the request decides (date, scope, which headers are signed and, when the client
// sent the hash of its body, the signature itself) is checked before a byte of the body is read.
// The rest is checked while the body streams: Verify replaces it by a reader that answers a
// wrong signature or a wrong hash with an [*Error] instead of io.EOF. So whoever reads the body
// to its end without error holds an authentic request, and nobody else may act on it.
//
// The request is taken as it came: the raw path without cleaning, repeated headers and
// parameters, the Host as sent. Host and every x-amz-* header must be signed. Signatures are
// compared in constant time.
//
// A Verifier may be used by any number of goroutines.
package sigv4

import (
	"net/http"
	"strings"
	"time"
)

// A Reason is why a request is not authentic.
type Reason int

// The reasons. AWS gives each its own error code, which differs between protocols.
const (
	Missing    Reason = iota + 1 // no signature
	Incomplete                   // a signature that lacks a part or that cannot be read
	Mismatch                     // wrong signature, scope or date
)

// An Error says why a request is not authentic, in AWS's words.
type Error struct {
	Reason  Reason
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

func incomplete(msg string) error { return &Error{Incomplete, msg} }

func mismatch(msg string) error { return &Error{Mismatch, msg} }

var errMissing = &Error{Missing, "Missing Authentication Token"}

// AWS: the text of every service for a signature that does not match.
var errSignature = &Error{Mismatch, "The request signature we calculated does not match the signature you provided. " +
	"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	basicTime  = "20060102T150405Z"
	skew       = 15 * time.Minute
	maxExpires = 7 * 24 * time.Hour
)

// A Signature is what a request says about its signature. Nothing of it is verified yet.
type Signature struct {
	AccessKeyID string
	Token       string // the session token, "" for long-lived keys
	Date        string // YYYYMMDD, of the scope
	Region      string
	Service     string
	Presigned   bool

	terminator string
	time       time.Time
	expires    time.Duration // of a presigned request
	signed     []string      // names of the signed headers
	mac        string        // hex
}

// Parse reads the signature of r.
func Parse(r *http.Request) (*Signature, error) {
	auth := r.Header["Authorization"]
	inQuery := hasParameter(r.URL.RawQuery, "X-Amz-Signature=") || hasParameter(r.URL.RawQuery, "X-Amz-Algorithm=")
	switch {
	case len(auth) > 1 || len(auth) == 1 && inQuery:
		return nil, incomplete("Only one authentication mechanism is allowed in a request.")
	case len(auth) == 1:
		return parseHeader(r, auth[0])
	case inQuery:
		return parseQuery(r)
	}
	return nil, errMissing
}

func hasParameter(query, nameAndEqual string) bool {
	return strings.HasPrefix(query, nameAndEqual) || strings.Contains(query, "&"+nameAndEqual)
}

func parseHeader(r *http.Request, auth string) (*Signature, error) {
	alg, rest, _ := strings.Cut(auth, " ")
	if alg != algorithm {
		return nil, incomplete("Unsupported AWS 'algorithm': '" + alg + "'.")
	}
	params, err := parameters(rest)
	if err != nil {
		return nil, err
	}
	date := single(r.Header, "X-Amz-Date")
	if date == "" {
		date = single(r.Header, "Date")
	}
	var lacking strings.Builder
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if params[name] == "" {
			lacking.WriteString("Authorization header requires '" + name + "' parameter. ")
		}
	}
	if date == "" {
		lacking.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	if lacking.Len() > 0 {
		return nil, incomplete(lacking.String() + "Authorization=" + alg)
	}
	s := &Signature{Token: single(r.Header, "X-Amz-Security-Token"), mac: params["Signature"]}
	return s, s.fill(params["Credential"], params["SignedHeaders"], date)
}

// parameters splits "k=v, k=v".
func parameters(list string) (map[string]string, error) {
	params := make(map[string]string, 3)
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		k, v, ok := strings.Cut(part, "=")
		if !ok {
			return nil, incomplete("'" + part + "' not a valid key=value pair (missing equal-sign) in Authorization header.")
		}
		if _, twice := params[k]; twice {
			return nil, incomplete("Authorization header has the '" + k + "' parameter twice.")
		}
		params[k] = v
	}
	return params, nil
}

// single is the value of a header that may stand once; repeated ones join to a value that
// nothing accepts.
func single(h http.Header, name string) string { return strings.Join(h[name], ",") }

func parseQuery(r *http.Request) (*Signature, error) {
	q := r.URL.Query()
	var lacking strings.Builder
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature", "X-Amz-SignedHeaders"} {
		if len(q[name]) != 1 || q[name][0] == "" {
			lacking.WriteString("AWS query-string parameters must include '" + name + "'. ")
		}
	}
	if lacking.Len() > 0 {
		return nil, incomplete(lacking.String() + "Re-examine the query-string parameters.")
	}
	if alg := q.Get("X-Amz-Algorithm"); alg != algorithm {
		return nil, incomplete("Unsupported AWS 'algorithm': '" + alg + "'.")
	}
	s := &Signature{Token: q.Get("X-Amz-Security-Token"), mac: q.Get("X-Amz-Signature"), Presigned: true, expires: skew}
	// AWS: other services than S3 presign without X-Amz-Expires too; 15 minutes are meant then.
	if v, ok := q["X-Amz-Expires"]; ok {
		d, err := time.ParseDuration(v[0] + "s")
		if err != nil || d < 0 || d > maxExpires || len(v) > 1 || strings.Trim(v[0], "0123456789") != "" {
			return nil, incomplete("X-Amz-Expires must be between 0 and 604800 seconds.")
		}
		s.expires = d
	}
	return s, s.fill(q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Date"))
}

// fill splits the parts that both kinds of signature have.
func (s *Signature) fill(credential, signed, date string) error {
	parts := strings.Split(credential, "/")
	if len(parts) < 5 {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + credential + "'")
	}
	n := len(parts) - 4 // a key id may hold slashes
	s.AccessKeyID = strings.Join(parts[:n], "/")
	s.Date, s.Region, s.Service, s.terminator = parts[n], parts[n+1], parts[n+2], parts[n+3]
	s.signed = strings.Split(signed, ";")
	for i, h := range s.signed {
		if h == "" || h != strings.ToLower(h) || i > 0 && s.signed[i-1] >= h {
			return incomplete("'SignedHeaders' must be lower-case, sorted and without repetition, got '" + signed + "'")
		}
	}
	for _, layout := range []string{basicTime, http.TimeFormat, time.RFC1123Z} {
		if t, err := time.Parse(layout, date); err == nil {
			s.time = t.UTC()
			return nil
		}
	}
	return incomplete("Date must be in ISO-8601 'basic format'. Got '" + date + "'. See http://en.wikipedia.org/wiki/ISO_8601")
}
