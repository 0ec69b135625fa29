package iam_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/policy"
)

const (
	account     = "123456789012"
	lambdaTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	basic       = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type region struct {
	*iam.Store
	credentials *credential.Store
	now         time.Time
}

func open(t testing.TB) *region {
	t.Helper()
	store := kvtest.Open(t)
	r := &region{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return r.now }
	var err error
	if r.credentials, err = credential.Open(store, [32]byte{1}, now); err != nil {
		t.Fatal(err)
	}
	r.Store = iam.Open(iam.Config{Store: store, Credentials: r.credentials, Region: "us-east-1", Now: now})
	return r
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func document(statement string) string {
	return `{"Version":"2012-10-17","Statement":[` + statement + `]}`
}

func (r *region) user(t testing.TB, name string) (iam.User, context.Context) {
	t.Helper()
	u := must[iam.User](t)(r.CreateUser(t.Context(), account, "/", name, nil))
	k := must[credential.AccessKey](t)(r.CreateAccessKey(t.Context(), account, name))
	return u, r.as(t, k.ID, "")
}

func (r *region) role(t testing.TB, name, trust string) iam.Role {
	t.Helper()
	return must[iam.Role](t)(r.CreateRole(t.Context(), account, iam.RoleSpec{Name: name, Trust: trust}))
}

// as is a context of a request with these credentials.
func (r *region) as(t testing.TB, id, token string) context.Context {
	t.Helper()
	_, p, err := r.Authenticate(t.Context(), id, token)
	if err != nil {
		t.Fatal(err)
	}
	return iam.WithPrincipal(t.Context(), p)
}

func (r *region) session(t testing.TB, role iam.Role, name string) (credential.Session, context.Context) {
	t.Helper()
	s := must[credential.Session](t)(r.credentials.Session(account, role.Name, role.ID, name, time.Hour))
	return s, r.as(t, s.AccessKeyID, s.Token)
}

func denied(t testing.TB, err error, text string) {
	t.Helper()
	var d *iam.DeniedError
	if !errors.As(err, &d) || err.Error() != text {
		t.Errorf("got %v\nwant %s", err, text)
	}
}

const fn = "arn:aws:lambda:us-east-1:123456789012:function:f"

func TestAuthorizeUser(t *testing.T) {
	r := open(t)
	_, ctx := r.user(t, "bob")
	const implicit = "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: lambda:CreateFunction on resource: " + fn +
		" because no identity-based policy allows the lambda:CreateFunction action"
	denied(t, r.Authorize(ctx, "lambda:CreateFunction", []string{fn}), implicit)
	check(t, r.Authorize(ctx, "", nil))

	bob := iam.UserNamed("bob")
	check(t, r.PutInline(t.Context(), account, bob, "own", document(`{"Effect":"Allow","Action":"lambda:*","Resource":"`+fn+`"}`)))
	check(t, r.Authorize(ctx, "lambda:CreateFunction", []string{fn}))
	if err := r.Authorize(ctx, "lambda:CreateFunction", []string{fn, fn + "2"}); err == nil {
		t.Error("allowed on two resources, where the policy has one")
	}
	if err := r.Authorize(ctx, "lambda:ListFunctions", nil); err == nil {
		t.Error(`allowed on "*"`)
	}

	// The default version of a managed policy counts, whichever that is.
	p := must[iam.ManagedPolicy](t)(r.CreatePolicy(t.Context(), account, "/", "limits", "", document(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`), nil))
	check(t, r.Attach(t.Context(), account, bob, p.ARN))
	check(t, r.Authorize(ctx, "lambda:CreateFunction", []string{fn}))
	v := must[iam.PolicyVersion](t)(r.CreatePolicyVersion(t.Context(), account, p.ARN, document(`{"Effect":"Deny","Action":"lambda:Create*","Resource":"*"}`), true))
	denied(t, r.Authorize(ctx, "lambda:CreateFunction", []string{fn}), "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: lambda:CreateFunction on resource: "+fn+
		" with an explicit deny in an identity-based policy")
	check(t, r.SetDefaultVersion(t.Context(), account, p.ARN, "v1"))
	check(t, r.DeletePolicyVersion(t.Context(), account, p.ARN, v.ID))
	check(t, r.Authorize(ctx, "lambda:CreateFunction", []string{fn}))
	check(t, r.DeleteInline(t.Context(), account, bob, "own"))
	denied(t, r.Authorize(ctx, "lambda:CreateFunction", []string{fn}), implicit)
}

func TestCallerInResources(t *testing.T) {
	r := open(t)
	_, ctx := r.user(t, "bob")
	check(t, r.PutInline(t.Context(), account, iam.UserNamed("bob"), "own", document(`{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::123456789012:user/bob"}`)))
	check(t, r.Authorize(ctx, "iam:GetUser", []string{"arn:aws:iam::123456789012:user/" + iam.Caller}))
	if err := r.Authorize(ctx, "iam:GetUser", []string{"arn:aws:iam::123456789012:user/eve"}); err == nil {
		t.Error("bob may do as eve")
	}
}

func TestRootMayDoEverything(t *testing.T) {
	r := open(t)
	k, _, err := r.credentials.Root(t.Context(), account)
	check(t, err)
	ctx := r.as(t, k.ID, "")
	check(t, r.Authorize(ctx, "lambda:CreateFunction", []string{fn}))
	p, _ := iam.PrincipalFrom(ctx)
	if p.ARN != "arn:aws:iam::123456789012:root" || p.UserID != account || p.Kind != iam.Root {
		t.Errorf("root is %+v", p)
	}
	if err := r.Authorize(t.Context(), "lambda:CreateFunction", []string{fn}); err == nil {
		t.Error("nobody was authorised")
	}
}

func TestDeletedIdentitiesEndAtOnce(t *testing.T) {
	r := open(t)
	role := r.role(t, "worker", lambdaTrust)
	s, ctx := r.session(t, role, "f")
	check(t, r.Attach(t.Context(), account, iam.RoleNamed("worker"), basic))
	check(t, r.Authorize(ctx, "logs:PutLogEvents", []string{"arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/f:*"}))
	p, _ := iam.PrincipalFrom(ctx)
	if p.ARN != "arn:aws:sts::123456789012:assumed-role/worker/f" || p.UserID != role.ID+":f" {
		t.Errorf("session is %+v", p)
	}
	denied(t, r.Authorize(ctx, "lambda:InvokeFunction", []string{fn}), "User: arn:aws:sts::123456789012:assumed-role/worker/f is not authorized to perform: lambda:InvokeFunction on resource: "+fn+
		" because no identity-based policy allows the lambda:InvokeFunction action")

	check(t, r.Detach(t.Context(), account, iam.RoleNamed("worker"), basic))
	check(t, r.DeleteRole(t.Context(), account, "worker"))
	if _, _, err := r.Authenticate(t.Context(), s.AccessKeyID, s.Token); !errors.Is(err, credential.ErrInvalidToken) {
		t.Errorf("role is gone: %v", err)
	}
	again := r.role(t, "worker", lambdaTrust)
	check(t, r.Attach(t.Context(), account, iam.RoleNamed("worker"), basic))
	if again.ID == role.ID {
		t.Fatal("two roles with one id")
	}
	if _, _, err := r.Authenticate(t.Context(), s.AccessKeyID, s.Token); !errors.Is(err, credential.ErrInvalidToken) {
		t.Errorf("role was made again: %v", err)
	}
	if err := r.Authorize(ctx, "logs:PutLogEvents", nil); err == nil {
		t.Error("a request in flight has the new role's policies")
	}

	r.now = r.now.Add(2 * time.Hour)
	s, _ = credentialOf(t, r, again)
	r.now = r.now.Add(time.Hour)
	if _, _, err := r.Authenticate(t.Context(), s.AccessKeyID, s.Token); !errors.Is(err, credential.ErrExpired) {
		t.Errorf("after its end: %v", err)
	}
}

func credentialOf(t testing.TB, r *region, role iam.Role) (credential.Session, context.Context) {
	return r.session(t, role, "x")
}

func TestCanPassRole(t *testing.T) {
	r := open(t)
	_, ctx := r.user(t, "bob")
	const role = "arn:aws:iam::123456789012:role/worker"
	denied(t, r.CanPassRole(ctx, role, "lambda.amazonaws.com"), "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: iam:PassRole on resource: "+role+
		" because no identity-based policy allows the iam:PassRole action")
	check(t, r.Attach(t.Context(), account, iam.UserNamed("bob"), "arn:aws:iam::aws:policy/AWSLambda_FullAccess"))
	check(t, r.CanPassRole(ctx, role, "lambda.amazonaws.com"))
	if err := r.CanPassRole(ctx, role, "ecs-tasks.amazonaws.com"); err == nil {
		t.Error("AWSLambda_FullAccess passes roles to other services")
	}
	denied(t, r.CanPassRole(ctx, "arn:aws:iam::210987654321:role/worker", "lambda.amazonaws.com"), "Cross-account pass role is not allowed.")
}

func TestTrusts(t *testing.T) {
	r := open(t)
	role := r.role(t, "worker", lambdaTrust)
	if !role.Trusts("lambda.amazonaws.com") || role.Trusts("ecs-tasks.amazonaws.com") {
		t.Error("trust policy misread")
	}
	guarded := r.role(t, "guarded", strings.Replace(lambdaTrust, `"Action"`, `"Condition":{"StringEquals":{"aws:SourceAccount":"123456789012"}},"Action"`, 1))
	if !guarded.Trusts("lambda.amazonaws.com") {
		t.Error("aws:SourceAccount is not the account's own")
	}
	for _, name := range []string{"worker", role.ARN} {
		if got, err := r.Role(account, name); err != nil || got.ID != role.ID {
			t.Errorf("Role(%s): %v", name, err)
		}
	}
	for _, name := range []string{"Worker", "nobody", "arn:aws:iam::123456789012:role/path/worker", "arn:aws:iam::210987654321:role/worker"} {
		if _, err := r.Role(account, name); !errors.Is(err, iam.ErrNotFound) {
			t.Errorf("Role(%s): %v", name, err)
		}
	}
}

func TestCanAssume(t *testing.T) {
	r := open(t)
	_, bob := r.user(t, "bob")
	_, eve := r.user(t, "eve")
	trust := func(principal string) string {
		return document(`{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole"}`)
	}
	asked := iam.Assumption{SessionName: "s"}
	byName := r.role(t, "by-name", trust("arn:aws:iam::123456789012:user/bob"))
	check(t, r.CanAssume(bob, byName, asked))
	denied(t, r.CanAssume(eve, byName, asked), "User: arn:aws:iam::123456789012:user/eve is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/by-name")

	byAccount := r.role(t, "by-account", trust(account))
	if err := r.CanAssume(bob, byAccount, asked); err == nil {
		t.Error("the account is trusted, and bob has no policy, but may")
	}
	check(t, r.PutInline(t.Context(), account, iam.UserNamed("bob"), "p", document(`{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"arn:aws:iam::*:role/by-*"}`)))
	check(t, r.CanAssume(bob, byAccount, asked))
	check(t, r.PutInline(t.Context(), account, iam.UserNamed("bob"), "p", document(`{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"}`)))
	if err := r.CanAssume(bob, byName, asked); err == nil {
		t.Error("bob's own policy denies it, but he may")
	}

	external := r.role(t, "external", document(`{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"secret"}}}`))
	if err := r.CanAssume(eve, external, asked); err == nil {
		t.Error("without the external id")
	}
	secret := "secret"
	check(t, r.CanAssume(eve, external, iam.Assumption{SessionName: "s", ExternalID: &secret}))

	k, _, err := r.credentials.Root(t.Context(), account)
	check(t, err)
	denied(t, r.CanAssume(r.as(t, k.ID, ""), external, asked), "Roles may not be assumed by root accounts.")
	_, worker := r.session(t, byName, "w")
	chained := r.role(t, "chained", trust(byName.ARN))
	check(t, r.CanAssume(worker, chained, asked))
	if _, err := r.CreateRole(t.Context(), account, iam.RoleSpec{Name: "x", Trust: trust("arn:aws:iam::123456789012:user/nobody")}); !errors.Is(err, iam.ErrMalformed) {
		t.Errorf("a trust policy names nobody: %v", err)
	}
}

// TestTrustMeansThePerson checks that a user made again under a name is not who was trusted.
func TestTrustMeansThePerson(t *testing.T) {
	r := open(t)
	r.user(t, "bob")
	role := r.role(t, "by-name", document(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/bob"},"Action":"sts:AssumeRole"}`))
	keys, err := r.AccessKeys(account, "bob")
	check(t, err)
	if err := r.DeleteUser(t.Context(), account, "bob"); !errors.Is(err, iam.ErrInUse) {
		t.Errorf("bob has a key: %v", err)
	}
	check(t, r.DeleteAccessKey(t.Context(), account, "bob", keys[0].ID))
	check(t, r.DeleteUser(t.Context(), account, "bob"))
	_, again := r.user(t, "bob")
	if err := r.CanAssume(again, role, iam.Assumption{SessionName: "s"}); err == nil {
		t.Error("the second bob is trusted")
	}
}

func TestAWSPoliciesParse(t *testing.T) {
	r := open(t)
	for _, p := range r.AWSPolicies() {
		v, err := p.Version(p.Default)
		check(t, err)
		if _, err := policy.Parse(v.Document, policy.Identity); err != nil {
			t.Errorf("%s: %v", p.ARN, err)
		}
		if got, err := r.Policy(account, p.ARN); err != nil || got.ID != p.ID {
			t.Errorf("%s: %v", p.ARN, err)
		}
	}
	err := r.DeletePolicy(t.Context(), account, basic)
	if !errors.Is(err, iam.ErrUnmodifiable) {
		t.Errorf("delete one of AWS's: %v", err)
	}
	if err := r.PutInline(t.Context(), account, iam.UserNamed("nobody"), "p", document(`{"Effect":"Allow","Action":"*","Resource":"*"}`)); !errors.Is(err, iam.ErrNotFound) {
		t.Errorf("inline policy of nobody: %v", err)
	}
}

// TestAttachAgainstDelete checks that a policy is never attached and gone.
func TestAttachAgainstDelete(t *testing.T) {
	r := open(t)
	r.role(t, "worker", lambdaTrust)
	worker := iam.RoleNamed("worker")
	for range 20 {
		p := must[iam.ManagedPolicy](t)(r.CreatePolicy(t.Context(), account, "/", "p", "", document(`{"Effect":"Allow","Action":"*","Resource":"*"}`), nil))
		var tasks lifecycle.Tasks
		var attached, deleted error
		tasks.Go("attach", func() { attached = r.Attach(t.Context(), account, worker, p.ARN) })
		tasks.Go("delete", func() { deleted = r.DeletePolicy(t.Context(), account, p.ARN) })
		tasks.Wait()
		if (attached == nil) == (deleted == nil) {
			t.Fatalf("attach: %v, delete: %v", attached, deleted)
		}
		if attached == nil {
			check(t, r.Detach(t.Context(), account, worker, p.ARN))
			check(t, r.DeletePolicy(t.Context(), account, p.ARN))
		}
	}
}

func TestKeysPerUser(t *testing.T) {
	r := open(t)
	must[iam.User](t)(r.CreateUser(t.Context(), account, "/", "bob", nil))
	var tasks lifecycle.Tasks
	var mu sync.Mutex
	made := 0
	for range 6 {
		tasks.Go("create", func() {
			if _, err := r.CreateAccessKey(t.Context(), account, "bob"); err == nil {
				mu.Lock()
				defer mu.Unlock()
				made++
			} else if !errors.Is(err, iam.ErrLimit) {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
	if made != 2 {
		t.Errorf("%d keys", made)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	r := open(b)
	role := r.role(b, "worker", lambdaTrust)
	check(b, r.Attach(b.Context(), account, iam.RoleNamed("worker"), basic))
	check(b, r.Attach(b.Context(), account, iam.RoleNamed("worker"), "arn:aws:iam::aws:policy/AWSLambda_FullAccess"))
	_, ctx := r.session(b, role, "x")
	for b.Loop() {
		check(b, r.Authorize(ctx, "lambda:InvokeFunction", []string{fn}))
	}
}
