package sts_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	stsapi "lambent.dev/lambent/internal/api/sts"
	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/edge"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/wire"
)

const account = "123456789012"

// A region is a real listener with STS behind it.
type region struct {
	identities *iam.Store
	keys       *credential.Store
	url        string
	now        time.Time
}

func open(t *testing.T) *region {
	t.Helper()
	store := kvtest.Open(t)
	r := &region{now: time.Now()}
	now := func() time.Time { return r.now }
	var err error
	if r.keys, err = credential.Open(store, [32]byte{1}, now); err != nil {
		t.Fatal(err)
	}
	r.identities = iam.Open(iam.Config{Store: store, Credentials: r.keys, Region: "eu-central-1", Now: now})
	front, err := edge.New(edge.Config{
		Region: "eu-central-1", Services: []*wire.Service{stsapi.New(r.identities, r.keys).Service()},
		Authenticate: r.identities.Authenticate, Authorize: r.identities.Authorize,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *region) as(id, secret, token string) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: "eu-central-1", BaseEndpoint: &r.url, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, token),
	})
}

func (r *region) root(t *testing.T) *sdk.Client {
	t.Helper()
	k, _, err := r.keys.Root(t.Context(), account)
	check(t, err)
	return r.as(k.ID, k.Secret, "")
}

func (r *region) user(t *testing.T, name string) *sdk.Client {
	t.Helper()
	_, err := r.identities.CreateUser(t.Context(), account, "/", name, nil)
	check(t, err)
	k, err := r.identities.CreateAccessKey(t.Context(), account, name)
	check(t, err)
	return r.as(k.ID, k.Secret, "")
}

func (r *region) role(t *testing.T, name, principal string, longest int) iam.Role {
	t.Helper()
	role, err := r.identities.CreateRole(t.Context(), account, iam.RoleSpec{
		Name: name, Path: "/team/", MaxSessionDuration: longest,
		Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole"}]}`,
	})
	check(t, err)
	return role
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func whoami(t *testing.T, c *sdk.Client) (arn, id string) {
	t.Helper()
	out, err := c.GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
	check(t, err)
	if *out.Account != account {
		t.Errorf("account %s", *out.Account)
	}
	return *out.Arn, *out.UserId
}

func refused[In, Out any](t *testing.T, op func(context.Context, *In, ...func(*sdk.Options)) (*Out, error), in *In, status int, code, message string) {
	t.Helper()
	_, err := op(t.Context(), in)
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if response.HTTPStatusCode() != status || api.ErrorCode() != code || api.ErrorMessage() != message {
		t.Errorf("\n got %d %s: %s\nwant %d %s: %s", response.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage(), status, code, message)
	}
}

func TestGetCallerIdentity(t *testing.T) {
	r := open(t)
	if arn, id := whoami(t, r.root(t)); arn != "arn:aws:iam::123456789012:root" || id != account {
		t.Errorf("root is %s %s", arn, id)
	}
	bob := r.user(t, "bob")
	u, err := r.identities.User(account, "bob")
	check(t, err)
	if arn, id := whoami(t, bob); arn != u.ARN || id != u.ID {
		t.Errorf("bob is %s %s", arn, id)
	}
	refused(t, r.as("AKIAQAB23ZUKQ5JSMVR2", "secret", "").GetCallerIdentity, &sdk.GetCallerIdentityInput{}, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
}

func TestAssumeRole(t *testing.T) {
	r := open(t)
	bob := r.user(t, "bob")
	role := r.role(t, "worker", "arn:aws:iam::123456789012:user/bob", 0)
	out, err := bob.AssumeRole(t.Context(), &sdk.AssumeRoleInput{RoleArn: &role.ARN, RoleSessionName: aws.String("me@work"), DurationSeconds: aws.Int32(900)})
	check(t, err)
	const session = "arn:aws:sts::123456789012:assumed-role/worker/me@work"
	if *out.AssumedRoleUser.Arn != session || *out.AssumedRoleUser.AssumedRoleId != role.ID+":me@work" {
		t.Errorf("assumed %+v", out.AssumedRoleUser)
	}
	c := out.Credentials
	if left := c.Expiration.Sub(r.now); left > 900*time.Second || left < 899*time.Second {
		t.Errorf("lasts %v", left)
	}
	worker := r.as(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
	if arn, id := whoami(t, worker); arn != session || id != role.ID+":me@work" {
		t.Errorf("the session is %s %s", arn, id)
	}
	refused(t, r.as(*c.AccessKeyId, *c.SecretAccessKey, "").GetCallerIdentity, &sdk.GetCallerIdentityInput{}, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	refused(t, r.as(*c.AccessKeyId, *c.SecretAccessKey, "x"+*c.SessionToken).GetCallerIdentity, &sdk.GetCallerIdentityInput{}, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	check(t, r.identities.DeleteRole(t.Context(), account, "worker"))
	refused(t, worker.GetCallerIdentity, &sdk.GetCallerIdentityInput{}, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
}

func TestAssumeRoleRefused(t *testing.T) {
	r := open(t)
	bob, eve := r.user(t, "bob"), r.user(t, "eve")
	role := r.role(t, "worker", "arn:aws:iam::123456789012:user/bob", 7200)
	ask := func(change func(*sdk.AssumeRoleInput)) *sdk.AssumeRoleInput {
		in := &sdk.AssumeRoleInput{RoleArn: &role.ARN, RoleSessionName: aws.String("me")}
		change(in)
		return in
	}
	none := func(*sdk.AssumeRoleInput) {}
	refused(t, eve.AssumeRole, ask(none), 403, "AccessDenied", "User: arn:aws:iam::123456789012:user/eve is not authorized to perform: sts:AssumeRole on resource: "+role.ARN)
	refused(t, r.root(t).AssumeRole, ask(none), 403, "AccessDenied", "Roles may not be assumed by root accounts.")
	nobody := "arn:aws:iam::123456789012:role/nobody"
	refused(t, bob.AssumeRole, ask(func(in *sdk.AssumeRoleInput) { in.RoleArn = &nobody }), 403, "AccessDenied", "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: sts:AssumeRole on resource: "+nobody)
	refused(t, bob.AssumeRole, ask(func(in *sdk.AssumeRoleInput) {
		in.DurationSeconds = aws.Int32(899)
		in.RoleSessionName = aws.String("a b")
	}), 400, "ValidationError",
		`2 validation errors detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*; Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900`)
	refused(t, bob.AssumeRole, ask(func(in *sdk.AssumeRoleInput) { in.DurationSeconds = aws.Int32(7201) }), 400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	for name, change := range map[string]func(*sdk.AssumeRoleInput){
		"Policy":         func(in *sdk.AssumeRoleInput) { in.Policy = aws.String("{}") },
		"PolicyArns":     func(in *sdk.AssumeRoleInput) { in.PolicyArns = []types.PolicyDescriptorType{{Arn: &nobody}} },
		"Tags":           func(in *sdk.AssumeRoleInput) { in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}} },
		"SourceIdentity": func(in *sdk.AssumeRoleInput) { in.SourceIdentity = aws.String("bob") },
		"SerialNumber":   func(in *sdk.AssumeRoleInput) { in.SerialNumber = aws.String("arn:aws:iam::1:mfa/b") },
	} {
		refused(t, bob.AssumeRole, ask(change), 400, "ValidationError", "The parameter "+name+" is not evaluated yet by this region, so a request that has it is refused.")
	}

	chained := r.role(t, "chained", role.ARN, 7200)
	out, err := bob.AssumeRole(t.Context(), ask(none))
	check(t, err)
	worker := r.as(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	refused(t, worker.AssumeRole, ask(func(in *sdk.AssumeRoleInput) { in.RoleArn = &chained.ARN; in.DurationSeconds = aws.Int32(3601) }), 400, "ValidationError",
		"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	_, err = worker.AssumeRole(t.Context(), ask(func(in *sdk.AssumeRoleInput) { in.RoleArn = &chained.ARN }))
	check(t, err)

	r.now = r.now.Add(time.Hour + time.Second)
	refused(t, worker.GetCallerIdentity, &sdk.GetCallerIdentityInput{}, 403, "ExpiredToken", "The security token included in the request is expired")
}
