package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxDocument bounds what a registry may send as a manifest, index or token.
const maxDocument = 8 << 20

// local finds an image by name in the layouts.
func (s *Store) local(name string) (v1.Image, error) {
	for _, dir := range s.config.Layouts {
		img, _, err := Layout{Dir: dir}.Find(name)
		if err == nil || !errors.Is(err, ErrNotFound) {
			return img, err
		}
	}
	return nil, fmt.Errorf("%q is in none of the layouts %q: %w", name, s.config.Layouts, ErrNotFound)
}

// pull finds an image in its registry. Layers are read later, when it is flattened.
func (s *Store) pull(ctx context.Context, ref name.Reference) (v1.Image, error) {
	img, err := remote.Image(ref,
		remote.WithContext(ctx),
		remote.WithTransport(guard{s.config.Transport}),
		remote.WithAuthFromKeychain(s.config.Keychain),
		remote.WithPlatform(platform()),
		remote.WithUserAgent("lambent"))
	if err != nil {
		return nil, classifyRemote(err)
	}
	return img, nil
}

func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

func classifyRemote(err error) error {
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.StatusCode {
	case http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden:
		// Registries answer 401 and 403 for what does not exist, too.
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// guard keeps registry traffic within its bounds: plain HTTP on this machine only (the client
// would also use it for private addresses and *.local), documents of bounded size.
type guard struct{ next http.RoundTripper }

var errPlain = errors.New("plain HTTP is for registries on localhost only")

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !loopback(r.URL.Hostname()) {
		return nil, fmt.Errorf("%s: %w", r.URL.Host, errPlain)
	}
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if strings.Contains(r.URL.Path, "/manifests/") || strings.Contains(resp.Header.Get("Content-Type"), "json") {
		// The client holds these in memory. Of blobs it does so with configurations only, whose
		// size the manifest declares; see inspect.
		resp.Body = limited{io.LimitReader(resp.Body, maxDocument), resp.Body}
	}
	return resp, nil
}

type limited struct {
	io.Reader
	io.Closer
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
