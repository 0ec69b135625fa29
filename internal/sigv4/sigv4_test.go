package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	testKey    = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var testTime = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

type signing struct {
	method, url, body string
	header            http.Header
	service, region   string
	token             string
	at                time.Time
	claim             bool // send X-Amz-Content-Sha256
	presign           bool
	hash              string // "" for the body's own
}

// wire signs a request with the SDK and returns it as bytes, as a server would receive it.
func (s signing) wire(t testing.TB) []byte {
	t.Helper()
	if s.method == "" {
		s.method = "POST"
	}
	if s.url == "" {
		s.url = "http://lambda.local:4566/2015-03-31/functions/f/invocations?Qualifier=PROD"
	}
	s.service, s.region = cmpOr(s.service, "lambda"), cmpOr(s.region, "eu-central-1")
	if s.at.IsZero() {
		s.at = testTime
	}
	r, err := http.NewRequest(s.method, s.url, strings.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range s.header {
		r.Header[k] = v
	}
	hash := cmpOr(s.hash, hashOf(s.body))
	if s.claim {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	creds := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: s.token}
	options := func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s.service == "s3" }
	if s.presign {
		uri, header, err := v4.NewSigner().PresignHTTP(context.Background(), creds, r, hash, s.service, s.region, s.at, options)
		if err != nil {
			t.Fatal(err)
		}
		presigned, err := http.NewRequest(s.method, uri, strings.NewReader(s.body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			if k != "Host" && k != "Content-Length" {
				presigned.Header[k] = v
			}
		}
		r = presigned
	} else if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, hash, s.service, s.region, s.at, options); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func receive(t testing.TB, raw []byte) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// authentic verifies r and reads its body.
func authentic(r *http.Request, service string) (string, error) {
	s, err := Parse(r)
	if err != nil {
		return "", err
	}
	if s.AccessKeyID != testKey {
		return "", errors.New("no such key")
	}
	v := &Verifier{Region: "eu-central-1", Now: func() time.Time { return testTime }}
	if err := v.Verify(r, s, testSecret, Expectation{Service: service}); err != nil {
		return "", err
	}
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

func TestAccepts(t *testing.T) {
	for name, s := range map[string]signing{
		"no body":             {method: "GET"},
		"body":                {body: `{"a":1}`},
		"claimed hash":        {body: `{"a":1}`, claim: true},
		"claimed, no body":    {method: "GET", claim: true},
		"session token":       {body: "x", token: "token/+="},
		"host alone":          {method: "GET", url: "http://127.0.0.1:4566"},
		"escaped label":       {method: "GET", url: "http://h/2017-03-31/tags/arn%3Aaws%3Alambda%3Aeu-central-1%3A1%3Afunction%3Af%2Fg"},
		"colon in the path":   {method: "GET", url: "http://h/2015-03-31/functions/arn:aws:lambda:eu-central-1:1:function:f"},
		"unicode":             {method: "GET", url: "http://h/f/%C3%A4%20b?q=%C3%BC%20x%2By"},
		"double slash":        {method: "GET", url: "http://h//a//b/../c/./d/"},
		"repeated parameters": {method: "DELETE", url: "http://h/tags?tagKeys=b&tagKeys=a&tagKeys=&A=1&a=2&tagKeys=a"},
		"empty parameters":    {method: "GET", url: "http://h/x?a&b=&c=1"},
		"spaces in headers":   {header: http.Header{"X-Amz-Meta": {"  a   b  c "}, "X-Amz-Two": {"1", "2"}}},
		"presigned":           {method: "GET", presign: true, hash: hashOf("")},
		"presigned token":     {method: "GET", presign: true, token: "t/+="},
		"presigned body":      {presign: true, body: "hello"},
		"presigned expires":   {method: "GET", presign: true, url: "http://h/x?X-Amz-Expires=3600", at: testTime.Add(-59 * time.Minute)},
		"14 minutes old":      {method: "GET", at: testTime.Add(-14 * time.Minute)},
		"14 minutes early":    {method: "GET", at: testTime.Add(14 * time.Minute)},
		"s3 path":             {method: "GET", service: "s3", url: "http://h/b/a%20b//c", claim: true},
		"s3 unsigned payload": {method: "PUT", service: "s3", url: "http://h/b/k", body: "x", hash: unsignedPayload, claim: true},
		"s3 presigned":        {method: "PUT", service: "s3", url: "http://h/b/k", body: "x", hash: unsignedPayload, presign: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := authentic(receive(t, s.wire(t)), cmpOr(s.service, "lambda"))
			if err != nil || got != s.body {
				t.Errorf("got %q, %v; want %q", got, err, s.body)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	const wrong = "The request signature we calculated does not match"
	for name, c := range map[string]struct {
		signing
		change func(*http.Request)
		reason Reason
		text   string
	}{
		"no signature":         {change: drop("Authorization"), reason: Missing, text: "Missing Authentication Token"},
		"other algorithm":      {change: header("Authorization", "AWS4-ECDSA-P256-SHA256 x=y"), reason: Incomplete, text: "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."},
		"basic authentication": {change: header("Authorization", "Basic eDp5"), reason: Incomplete, text: "Unsupported AWS 'algorithm'"},
		"no equals sign":       {change: header("Authorization", "AWS4-HMAC-SHA256 Credential"), reason: Incomplete, text: "'Credential' not a valid key=value pair (missing equal-sign) in Authorization header"},
		"nothing in it":        {change: header("Authorization", "AWS4-HMAC-SHA256 a=b"), reason: Incomplete, text: "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. "},
		"no date":              {change: drop("X-Amz-Date"), reason: Incomplete, text: "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."},
		"date unreadable":      {change: header("X-Amz-Date", "today"), reason: Incomplete, text: "Date must be in ISO-8601 'basic format'. Got 'today'."},
		"two dates":            {change: func(r *http.Request) { r.Header.Add("X-Amz-Date", r.Header.Get("X-Amz-Date")) }, reason: Incomplete, text: "Date must be"},
		"two authorizations":   {change: func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, reason: Incomplete, text: "Only one"},
		"short credential":     {change: replace("/aws4_request", ""), reason: Incomplete, text: "Credential must have exactly 5 slash-delimited elements"},
		"wrong terminator":     {change: replace("aws4_request", "aws4"), reason: Mismatch, text: "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws4'."},
		"wrong region":         {signing: signing{region: "us-east-1"}, reason: Mismatch, text: "Credential should be scoped to a valid region, not 'us-east-1'."},
		"wrong service":        {signing: signing{service: "iam"}, reason: Mismatch, text: "Credential should be scoped to correct service: 'lambda'."},
		"wrong scope date":     {change: replace("/20261125/", "/20261124/"), reason: Mismatch, text: "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261124' != '20261125', from '20261125T120000Z'."},
		"16 minutes old":       {signing: signing{at: testTime.Add(-16 * time.Minute)}, reason: Mismatch, text: "Signature expired: 20261125T114400Z is now earlier than 20261125T114500Z (20261125T120000Z - 15 min.)"},
		"16 minutes early":     {signing: signing{at: testTime.Add(16 * time.Minute)}, reason: Mismatch, text: "Signature not yet current: 20261125T121600Z is still later than 20261125T121500Z (20261125T120000Z + 15 min.)"},
		"host not signed":      {change: replace("SignedHeaders=host;", "SignedHeaders="), reason: Mismatch, text: "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		"x-amz-* not signed":   {change: header("X-Amz-Invocation-Type", "Event"), reason: Mismatch, text: "'x-amz-invocation-type' must be a 'SignedHeader'"},
		"headers unsorted":     {change: replace("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date;host"), reason: Incomplete, text: "'SignedHeaders' must be"},
		"other signature":      {change: replace("Signature=", "Signature=0"), reason: Mismatch, text: wrong},
		"other method":         {change: func(r *http.Request) { r.Method = "PUT" }, reason: Mismatch, text: wrong},
		"other host":           {change: func(r *http.Request) { r.Host = "h2" }, reason: Mismatch, text: wrong},
		"other path":           {change: func(r *http.Request) { r.RequestURI = strings.Replace(r.RequestURI, "/f/", "/g/", 1) }, reason: Mismatch, text: wrong},
		"other query":          {change: func(r *http.Request) { r.URL.RawQuery = "Qualifier=DEV" }, reason: Mismatch, text: wrong},
		"broken query":         {change: func(r *http.Request) { r.URL.RawQuery = "Qualifier=%zz" }, reason: Mismatch, text: wrong},
		"more query":           {change: func(r *http.Request) { r.URL.RawQuery += "&a=b" }, reason: Mismatch, text: wrong},
		"other body":           {signing: signing{body: "hello"}, change: content("hellO"), reason: Mismatch, text: wrong},
		"other claimed body":   {signing: signing{body: "hello", claim: true}, change: content("hellO"), reason: Mismatch, text: wrong},
		"claim without body":   {signing: signing{body: "hello", claim: true}, change: func(r *http.Request) { r.Body = http.NoBody }, reason: Mismatch, text: wrong},
		"body without claim":   {signing: signing{method: "GET"}, change: content("hello"), reason: Mismatch, text: wrong},
		"unsigned payload":     {signing: signing{body: "x", hash: unsignedPayload, claim: true}, reason: Mismatch, text: "x-amz-content-sha256 'UNSIGNED-PAYLOAD' is not accepted"},
		"streaming payload":    {signing: signing{body: "x", hash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", claim: true}, reason: Mismatch, text: "x-amz-content-sha256 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' is not accepted"},
		"claim unreadable":     {signing: signing{body: "x", hash: "abc", claim: true}, reason: Mismatch, text: "x-amz-content-sha256 must be the hex encoding"},
		"presigned unsigned":   {signing: signing{body: "x", presign: true, hash: unsignedPayload}, reason: Mismatch, text: wrong},
		"presigned expired":    {signing: signing{method: "GET", presign: true, url: "http://h/x?X-Amz-Expires=60", at: testTime.Add(-2 * time.Minute)}, reason: Mismatch, text: "Signature expired: 20261125T115800Z is now earlier than 20261125T115900Z (20261125T120000Z - 1 min.)"},
		"presigned for long":   {signing: signing{method: "GET", presign: true, url: "http://h/x?X-Amz-Expires=604801"}, reason: Incomplete, text: "X-Amz-Expires must be"},
		"presigned, half":      {signing: signing{method: "GET", presign: true}, change: dropParameter("X-Amz-Date"), reason: Incomplete, text: "AWS query-string parameters must include 'X-Amz-Date'."},
		"presigned and signed": {signing: signing{method: "GET", presign: true}, change: header("Authorization", "AWS4-HMAC-SHA256 a=b"), reason: Incomplete, text: "Only one"},
	} {
		t.Run(name, func(t *testing.T) {
			r := receive(t, c.wire(t))
			if c.change != nil {
				c.change(r)
			}
			_, err := authentic(r, "lambda")
			var e *Error
			if !errors.As(err, &e) || e.Reason != c.reason || !strings.HasPrefix(e.Message, c.text) {
				t.Errorf("got %#v; want reason %d, %q", err, c.reason, c.text)
			}
		})
	}
}

func drop(name string) func(*http.Request) { return func(r *http.Request) { r.Header.Del(name) } }

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func replace(from, to string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
	}
}

func content(s string) func(*http.Request) {
	return func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(s)) }
}

func dropParameter(name string) func(*http.Request) {
	return func(r *http.Request) {
		q := r.URL.Query()
		q.Del(name)
		r.URL.RawQuery = q.Encode()
	}
}

// unread fails the test when the body is touched.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) { u.t.Error("the body was read"); return 0, io.EOF }
func (unread) Close() error               { return nil }

func TestHeadIsVerifiedBeforeTheBody(t *testing.T) {
	r := receive(t, signing{body: "hello", claim: true}.wire(t))
	r.Header.Set("X-Amz-Date", testTime.Add(time.Second).Format(basicTime))
	r.Body = unread{t}
	s, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	v := &Verifier{Region: "eu-central-1", Now: func() time.Time { return testTime }}
	if err := v.Verify(r, s, testSecret, Expectation{Service: "lambda"}); err == nil {
		t.Error("a changed date was accepted")
	}
}

func TestGlobalService(t *testing.T) {
	r := receive(t, signing{service: "iam", region: "us-east-1"}.wire(t))
	s, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	v := &Verifier{Region: "eu-central-1", Now: func() time.Time { return testTime }}
	if err := v.Verify(r, s, testSecret, Expectation{Service: "iam", Global: true}); err != nil {
		t.Error(err)
	}
}

func TestKeyCacheForgets(t *testing.T) {
	var c keyCache
	s := &Signature{Date: "20261125", Region: "r", Service: "s"}
	first := c.derive(s, "first")
	for i := range 3 * generation {
		c.derive(s, string(rune(i+1000)))
	}
	if n := len(c.current) + len(c.previous); n > 2*generation {
		t.Errorf("%d entries", n)
	}
	if !bytes.Equal(first, c.derive(s, "first")) {
		t.Error("another key for the same secret")
	}
}

func BenchmarkVerify(b *testing.B) {
	raw := signing{body: strings.Repeat("x", 1024)}.wire(b)
	v := &Verifier{Region: "eu-central-1", Now: func() time.Time { return testTime }}
	want := Expectation{Service: "lambda"}
	for b.Loop() {
		r := receive(b, raw)
		s, err := Parse(r)
		if err != nil {
			b.Fatal(err)
		}
		if err := v.Verify(r, s, testSecret, want); err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			b.Fatal(err)
		}
	}
}
