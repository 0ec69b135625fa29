package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Verifier checks signatures for one region.
type Verifier struct {
	Region string
	Now    func() time.Time // time.Now when nil

	keys keyCache
}

// An Expectation is what the scope of a signature must say.
type Expectation struct {
	Service string
	Global  bool // a service without regions: us-east-1 is as good as the region's own name
}

// unsigned payloads, which only S3 takes.
const unsignedPayload = "UNSIGNED-PAYLOAD"

// Verify checks s, the signature of r, with the secret of its access key, and replaces r.Body by
// one that verifies the rest. The caller has to read it to its end before it acts.
func (v *Verifier) Verify(r *http.Request, s *Signature, secret string, want Expectation) error {
	if err := v.checkScope(s, want); err != nil {
		return err
	}
	if err := v.checkTime(s); err != nil {
		return err
	}
	if err := checkHeaders(r, s); err != nil {
		return err
	}
	head, err := canonicalHead(r, s)
	if err != nil {
		return err
	}
	check := &check{
		head: head, mac: s.mac, key: v.keys.derive(s, secret),
		stamp: algorithm + "\n" + s.time.Format(basicTime) + "\n" + s.Date + "/" + s.Region + "/" + s.Service + "/" + terminator + "\n",
	}
	claimed, err := payloadClaim(r, s)
	switch {
	case err != nil:
		return err
	case claimed != "":
		if err := check.signature(claimed); err != nil {
			return err
		}
		if claimed == unsignedPayload {
			return nil
		}
	case r.Body == nil || r.Body == http.NoBody:
		return check.signature(emptyHash)
	}
	if r.Body == nil || r.Body == http.NoBody {
		if claimed != emptyHash {
			return errBodyHash
		}
		return nil
	}
	r.Body = &body{ReadCloser: r.Body, hash: sha256.New(), check: check, claimed: claimed}
	return nil
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// AWS: S3's text for it; other services say that the signature does not match.
var errBodyHash = errSignature

// checkScope words its errors as AWS does.
func (v *Verifier) checkScope(s *Signature, want Expectation) error {
	switch {
	case s.terminator != terminator:
		return mismatch(fmt.Sprintf("Credential should be scoped with a valid terminator: 'aws4_request', not '%s'.", s.terminator))
	case s.Service != want.Service:
		return mismatch(fmt.Sprintf("Credential should be scoped to correct service: '%s'.", want.Service))
	case s.Region != v.Region && !(want.Global && s.Region == "us-east-1"):
		return mismatch(fmt.Sprintf("Credential should be scoped to a valid region, not '%s'.", s.Region))
	case s.Date != s.time.Format("20060102"):
		at := s.time.Format(basicTime)
		return mismatch(fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", s.Date, at[:8], at))
	}
	return nil
}

func (v *Verifier) checkTime(s *Signature) error {
	now := time.Now()
	if v.Now != nil {
		now = v.Now()
	}
	now = now.UTC()
	valid := skew
	if s.Presigned {
		valid = s.expires
	}
	at := s.time.Format(basicTime)
	switch {
	case now.Sub(s.time) > valid:
		return mismatch(fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s.)",
			at, now.Add(-valid).Format(basicTime), now.Format(basicTime), span(valid)))
	case s.time.Sub(now) > skew:
		return mismatch(fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s.)",
			at, now.Add(skew).Format(basicTime), now.Format(basicTime), span(skew)))
	}
	return nil
}

func span(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d sec", d/time.Second)
}

// checkHeaders sees to it that nothing an operation could read is left unsigned.
func checkHeaders(r *http.Request, s *Signature) error {
	if _, ok := slices.BinarySearch(s.signed, "host"); !ok {
		return mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range r.Header {
		if !strings.HasPrefix(name, "X-Amz-") {
			continue
		}
		if _, ok := slices.BinarySearch(s.signed, strings.ToLower(name)); !ok {
			return mismatch(fmt.Sprintf("'%s' must be a 'SignedHeader' in the AWS Authorization.", strings.ToLower(name)))
		}
	}
	return nil
}

// payloadClaim is the hash of the body that the client claims, "" when it does not.
func payloadClaim(r *http.Request, s *Signature) (string, error) {
	claim := single(r.Header, "X-Amz-Content-Sha256")
	if claim == "" && s.Presigned {
		if claim = r.URL.Query().Get("X-Amz-Content-Sha256"); claim == "" && s.Service == "s3" {
			claim = unsignedPayload // S3 presigns so without saying it
		}
	}
	switch {
	case claim == unsignedPayload && s.Service == "s3", len(claim) == 0:
		return claim, nil
	case claim == unsignedPayload, strings.HasPrefix(claim, "STREAMING-"):
		return "", mismatch(fmt.Sprintf("x-amz-content-sha256 '%s' is not accepted by this service.", claim))
	case len(claim) != 2*sha256.Size || strings.Trim(claim, "0123456789abcdef") != "":
		return "", mismatch("x-amz-content-sha256 must be the hex encoding of the SHA-256 of the payload.")
	}
	return claim, nil
}

// A check is a signature that waits for the hash of the body.
type check struct {
	head  []byte
	stamp string
	mac   string
	key   []byte
}

func (c *check) signature(payloadHash string) error {
	request := sha256.Sum256(append(c.head, payloadHash...))
	toSign := hex.AppendEncode(append(make([]byte, 0, len(c.stamp)+2*sha256.Size), c.stamp...), request[:])
	want := hex.AppendEncode(nil, hmacSHA256(c.key, toSign))
	if subtle.ConstantTimeCompare(want, []byte(c.mac)) != 1 {
		return errSignature
	}
	return nil
}

// body hashes what is read and ends in an error unless the hash, and with it the signature, is
// right.
type body struct {
	io.ReadCloser
	hash    hash.Hash
	check   *check
	claimed string
	end     error
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.end != nil {
		return 0, b.end
	}
	n, err := b.ReadCloser.Read(p)
	b.hash.Write(p[:n])
	if err == io.EOF {
		if bad := b.verify(); bad != nil {
			err = bad
		}
	}
	b.end = err
	return n, err
}

func (b *body) verify() error {
	sum := hex.EncodeToString(b.hash.Sum(nil))
	if b.claimed == "" {
		return b.check.signature(sum)
	}
	if sum != b.claimed {
		return errBodyHash
	}
	return nil
}

func hmacSHA256(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}
