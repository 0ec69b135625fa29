package iam_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	iamapi "lambent.dev/lambent/internal/api/iam"
	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/edge"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/wire"
)

const account = "123456789012"

// A region is a real listener with IAM behind it, and the SDK's client of root.
type region struct {
	*sdk.Client
	url string
}

func open(t *testing.T) region {
	t.Helper()
	store := kvtest.Open(t)
	keys, err := credential.Open(store, [32]byte{1}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	identities := iam.Open(iam.Config{Store: store, Credentials: keys, Region: "us-east-1"})
	front, err := edge.New(edge.Config{
		Region: "us-east-1", Services: []*wire.Service{iamapi.New(identities).Service()},
		Authenticate: identities.Authenticate, Authorize: identities.Authorize,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front)
	t.Cleanup(server.Close)
	root, _, err := keys.Root(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	r := region{url: server.URL}
	r.Client = r.as(root.ID, root.Secret)
	return r
}

// as is a client with an access key.
func (r region) as(id, secret string) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: &r.url, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
	})
}

// call runs an operation that must succeed.
func call[In, Out any](t *testing.T, op func(context.Context, *In, ...func(*sdk.Options)) (*Out, error), in *In) *Out {
	t.Helper()
	out, err := op(t.Context(), in)
	if err != nil {
		t.Fatalf("%T: %v", in, err)
	}
	return out
}

// refused runs an operation that must fail so.
func refused[In, Out any](t *testing.T, op func(context.Context, *In, ...func(*sdk.Options)) (*Out, error), in *In, status int, code, message string) {
	t.Helper()
	_, err := op(t.Context(), in)
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Errorf("%T: got %v, want %s", in, err, code)
		return
	}
	if response.HTTPStatusCode() != status || api.ErrorCode() != code || api.ErrorMessage() != message {
		t.Errorf("%T:\n got %d %s: %s\nwant %d %s: %s", in, response.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage(), status, code, message)
	}
}
