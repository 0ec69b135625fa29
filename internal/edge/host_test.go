package edge_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/edge"
	"lambent.dev/lambent/internal/iam"
)

// TestHostHandlers: what is for the host only is not there on the listeners that code reaches.
func TestHostHandlers(t *testing.T) {
	s, err := edge.New(edge.Config{
		Region:       "us-east-1",
		Authenticate: func(context.Context, string, string) (string, iam.Principal, error) { return "", iam.Principal{}, nil },
		Authorize:    func(context.Context, string, []string) error { return nil },
		HostHandlers: map[string]http.Handler{"/metrics": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "figures")
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	get := func(serve func(context.Context, net.Listener) error) (int, string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		g.Go(func() error { return serve(ctx, l) })
		resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, body := get(s.ServeHost); code != 200 || body != "figures" {
		t.Errorf("on the host: %d %s", code, body)
	}
	if code, body := get(s.Serve); code < 400 || body == "figures" {
		t.Errorf("inside: %d %s", code, body)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}
