package iam

import (
	"context"
	"maps"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

// holderMember is what requests call the name of a holder.
func holderMember(h iam.Holder) string {
	if h.IsRole() {
		return "roleName"
	}
	return "userName"
}

func (a *API) putInline(ctx context.Context, h iam.Holder, name, doc *string) error {
	if err := check(func(c *iam.Check) {
		c.Name(holderMember(h), &h.Name, 128)
		c.Name("policyName", name, 128)
		c.Document("policyDocument", doc, maxDocument)
	}); err != nil {
		return err
	}
	return a.store.PutInline(ctx, account(ctx), h, *name, *doc)
}

func (a *API) inline(ctx context.Context, h iam.Holder, name *string) (*string, error) {
	if err := checkInline(h, name); err != nil {
		return nil, err
	}
	doc, err := a.store.Inline(account(ctx), h, *name)
	return document(doc), err
}

func checkInline(h iam.Holder, name *string) error {
	return check(func(c *iam.Check) {
		c.Name(holderMember(h), &h.Name, 128)
		c.Name("policyName", name, 128)
	})
}

func (a *API) deleteInline(ctx context.Context, h iam.Holder, name *string) error {
	if err := checkInline(h, name); err != nil {
		return err
	}
	return a.store.DeleteInline(ctx, account(ctx), h, *name)
}

func (a *API) listInline(ctx context.Context, h iam.Holder, marker *string, maxItems *int32) (names []string, more bool, next *string, err error) {
	if err := check(func(c *iam.Check) { c.Name(holderMember(h), &h.Name, 128) }); err != nil {
		return nil, false, nil, err
	}
	e, err := a.store.Entity(account(ctx), h)
	if err != nil {
		return nil, false, nil, err
	}
	return page(slices.Sorted(maps.Keys(e.Inline)), func(s string) string { return s }, marker, maxItems)
}

func roleNamed(name *string) iam.Holder { return iam.RoleNamed(wire.Value(name)) }
func userNamed(name *string) iam.Holder { return iam.UserNamed(wire.Value(name)) }

// PutRolePolicy serves PutRolePolicy.
func (a *API) PutRolePolicy(ctx context.Context, in *sdk.PutRolePolicyInput) (*sdk.PutRolePolicyOutput, error) {
	return &sdk.PutRolePolicyOutput{}, a.putInline(ctx, roleNamed(in.RoleName), in.PolicyName, in.PolicyDocument)
}

// GetRolePolicy serves GetRolePolicy.
func (a *API) GetRolePolicy(ctx context.Context, in *sdk.GetRolePolicyInput) (*sdk.GetRolePolicyOutput, error) {
	doc, err := a.inline(ctx, roleNamed(in.RoleName), in.PolicyName)
	return &sdk.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: doc}, err
}

// DeleteRolePolicy serves DeleteRolePolicy.
func (a *API) DeleteRolePolicy(ctx context.Context, in *sdk.DeleteRolePolicyInput) (*sdk.DeleteRolePolicyOutput, error) {
	return &sdk.DeleteRolePolicyOutput{}, a.deleteInline(ctx, roleNamed(in.RoleName), in.PolicyName)
}

// ListRolePolicies serves ListRolePolicies.
func (a *API) ListRolePolicies(ctx context.Context, in *sdk.ListRolePoliciesInput) (*sdk.ListRolePoliciesOutput, error) {
	names, more, next, err := a.listInline(ctx, roleNamed(in.RoleName), in.Marker, in.MaxItems)
	return &sdk.ListRolePoliciesOutput{PolicyNames: names, IsTruncated: more, Marker: next}, err
}

// PutUserPolicy serves PutUserPolicy.
func (a *API) PutUserPolicy(ctx context.Context, in *sdk.PutUserPolicyInput) (*sdk.PutUserPolicyOutput, error) {
	return &sdk.PutUserPolicyOutput{}, a.putInline(ctx, userNamed(in.UserName), in.PolicyName, in.PolicyDocument)
}

// GetUserPolicy serves GetUserPolicy.
func (a *API) GetUserPolicy(ctx context.Context, in *sdk.GetUserPolicyInput) (*sdk.GetUserPolicyOutput, error) {
	doc, err := a.inline(ctx, userNamed(in.UserName), in.PolicyName)
	return &sdk.GetUserPolicyOutput{UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: doc}, err
}

// DeleteUserPolicy serves DeleteUserPolicy.
func (a *API) DeleteUserPolicy(ctx context.Context, in *sdk.DeleteUserPolicyInput) (*sdk.DeleteUserPolicyOutput, error) {
	return &sdk.DeleteUserPolicyOutput{}, a.deleteInline(ctx, userNamed(in.UserName), in.PolicyName)
}

// ListUserPolicies serves ListUserPolicies.
func (a *API) ListUserPolicies(ctx context.Context, in *sdk.ListUserPoliciesInput) (*sdk.ListUserPoliciesOutput, error) {
	names, more, next, err := a.listInline(ctx, userNamed(in.UserName), in.Marker, in.MaxItems)
	return &sdk.ListUserPoliciesOutput{PolicyNames: names, IsTruncated: more, Marker: next}, err
}
