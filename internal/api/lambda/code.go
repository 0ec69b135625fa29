package lambda

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent/internal/blob"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/wire"
)

const (
	// codePath is where CodeHandler is mounted.
	codePath = "/_lambent/code/"
	// codeExpires is how long a URL is good for. AWS: ten minutes.
	codeExpires = 10 * time.Minute
)

// codeURL is where the caller of ctx can fetch a function's package without credentials, on the
// host and by the scheme of its own request.
func (a *API) codeURL(ctx context.Context, f function.Function) string {
	r := wire.RequestFrom(ctx)
	scheme := "http"
	if r.TLS {
		scheme = "https"
	}
	expires := strconv.FormatInt(a.now().Add(codeExpires).Unix(), 10)
	path := codePath + f.Account + "/" + f.Name + "/" + string(f.Code.Digest)
	q := url.Values{"expires": {expires}, "signature": {a.sign(path, expires)}}
	return (&url.URL{Scheme: scheme, Host: r.Host, Path: path, RawQuery: q.Encode()}).String()
}

// sign is the signature of a URL.
func (a *API) sign(path, expires string) string {
	m := hmac.New(sha256.New, a.cfg.URLKey[:])
	_, _ = m.Write([]byte("code\n" + path + "\n" + expires)) // a hash takes everything
	return hex.EncodeToString(m.Sum(nil))
}

// CodeHandler serves packages to holders of a URL that GetFunction gave. It is mounted without
// authentication: the URL is one.
func (a *API) CodeHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		q := r.URL.Query()
		expires := q.Get("expires")
		if !hmac.Equal([]byte(a.sign(r.URL.Path, expires)), []byte(q.Get("signature"))) {
			http.Error(w, "The signature is not valid.", http.StatusForbidden)
			return
		}
		until, err := strconv.ParseInt(expires, 10, 64)
		if err != nil || !a.now().Before(time.Unix(until, 0)) {
			http.Error(w, "The URL has expired.", http.StatusForbidden)
			return
		}
		a.sendCode(w, r)
	})
}

// sendCode sends the package that a genuine URL names.
func (a *API) sendCode(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, codePath), "/")
	f, err := a.cfg.Code.Open(blob.Digest(parts[len(parts)-1]))
	if err != nil {
		a.log.Warn("package of a URL", "path", r.URL.Path, "error", err)
		http.Error(w, "The package is gone.", http.StatusNotFound)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/zip")
	http.ServeContent(w, r, "", time.Time{}, f)
}
