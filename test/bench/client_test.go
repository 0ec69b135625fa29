package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const payload = `{"name":"bench"}`

// client invokes functions over one kept connection. Requests are signed before the clock runs:
// what an SDK does in its own process is not the server's time.
type client struct {
	http  *http.Client
	url   string
	creds aws.Credentials
}

func newClient(t *testing.T, cfg aws.Config, url string) *client {
	t.Helper()
	creds, err := cfg.Credentials.Retrieve(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{&http.Client{Transport: tr}, url, creds}
}

// do sends a request and gives the answer's header and the time from its first to its last byte.
func (c *client) do(t *testing.T, req *http.Request) (http.Header, time.Duration) {
	t.Helper()
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Amz-Function-Error") != "" {
		t.Fatalf("%s: %d %v %s", req.URL.Path, resp.StatusCode, err, body)
	}
	return resp.Header, took
}

func (c *client) request(t *testing.T, name string, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, c.url+"/2015-03-31/functions/"+name+"/invocations", bytes.NewReader([]byte(payload)))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	sum := sha256.Sum256([]byte(payload))
	if err := v4.NewSigner().SignHTTP(context.Background(), c.creds, req, hex.EncodeToString(sum[:]), "lambda", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return req
}

// invoke invokes a function and gives the time.
func (c *client) invoke(t *testing.T, name string) time.Duration {
	t.Helper()
	_, took := c.do(t, c.request(t, name))
	return took
}

var reported = regexp.MustCompile(`(?m)^REPORT .*?\tDuration: ([0-9.]+) ms`)

// invokeReported is invoke that also gives the Duration of the REPORT line.
func (c *client) invokeReported(t *testing.T, name string) (took, duration time.Duration) {
	t.Helper()
	h, took := c.do(t, c.request(t, name, "X-Amz-Log-Type", "Tail"))
	log, err := base64.StdEncoding.DecodeString(h.Get("X-Amz-Log-Result"))
	if err != nil {
		t.Fatal(err)
	}
	m := reported.FindSubmatch(log)
	if m == nil {
		t.Fatalf("no REPORT in %s", log)
	}
	ms, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return took, time.Duration(ms * float64(time.Millisecond))
}

// front is what was measured of the way between a client and an environment.
type front struct {
	added []time.Duration // an Invoke as its client sees it, less its Duration; the runtime waits for it
	empty []time.Duration // an exchange with the server that does nothing, in turn with those
	hot   []time.Duration // like added, but back to back: the runtime may not wait yet
}

// frontPause lets the runtime ask for its next event. It is no longer than that needs: after some
// milliseconds processors sleep and caches are somebody else's, and an environment is frozen
// after 10.
const frontPause = 700 * time.Microsecond

// frontEnd measures what the server adds to a warm invocation.
func frontEnd(t *testing.T, c *client, name string) (f front) {
	one := func() time.Duration {
		took, duration := c.invokeReported(t, name)
		return took - duration
	}
	for range warmRounds {
		<-time.After(frontPause)
		f.added = append(f.added, one())
		<-time.After(frontPause)
		req, err := http.NewRequest(http.MethodGet, c.url+"/_lambent/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, took := c.do(t, req)
		f.empty = append(f.empty, took)
	}
	for range warmRounds {
		f.hot = append(f.hot, one())
	}
	return f
}

// overhead is the server's own part of it: without the client's half of HTTP and the loopback.
func (f *front) overhead() time.Duration { return percentile(f.added, 50) - percentile(f.empty, 50) }
