package iam

import (
	"context"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

// toPolicy is a policy as lists show it.
func toPolicy(p iam.ManagedPolicy, attachments int) types.Policy {
	return types.Policy{
		Arn: &p.ARN, AttachmentCount: wire.Ptr(int32(attachments)), CreateDate: &p.Created, DefaultVersionId: &p.Default,
		IsAttachable: true, Path: &p.Path, PermissionsBoundaryUsageCount: wire.Ptr(int32(0)), PolicyId: &p.ID,
		PolicyName: &p.Name, UpdateDate: &p.Updated,
	}
}

// wholePolicy is a policy as GetPolicy shows it.
func wholePolicy(p iam.ManagedPolicy, attachments int) *types.Policy {
	whole := toPolicy(p, attachments)
	whole.Tags = toTags(p.Tags)
	if p.Description != "" {
		whole.Description = &p.Description
	}
	return &whole
}

// CreatePolicy serves CreatePolicy.
func (a *API) CreatePolicy(ctx context.Context, in *sdk.CreatePolicyInput) (*sdk.CreatePolicyOutput, error) {
	tags := fromTags(in.Tags)
	if err := check(func(c *iam.Check) {
		c.Name("policyName", in.PolicyName, 128)
		c.Path("path", in.Path, false)
		c.Document("policyDocument", in.PolicyDocument, maxDocument)
		c.Description("description", in.Description)
		c.Tags(tags)
	}); err != nil {
		return nil, err
	}
	p, err := a.store.CreatePolicy(ctx, account(ctx), wire.Value(in.Path), *in.PolicyName, wire.Value(in.Description), *in.PolicyDocument, tags)
	if err != nil {
		return nil, err
	}
	whole := wholePolicy(p, 0)
	whole.Description = nil // AWS: only GetPolicy has it (API reference, "Policy")
	return &sdk.CreatePolicyOutput{Policy: whole}, nil
}

// policy is the policy a request names.
func (a *API) policy(ctx context.Context, policyARN *string) (iam.ManagedPolicy, error) {
	if err := checkPolicyARN(policyARN); err != nil {
		return iam.ManagedPolicy{}, err
	}
	return a.store.Policy(account(ctx), *policyARN)
}

// GetPolicy serves GetPolicy.
func (a *API) GetPolicy(ctx context.Context, in *sdk.GetPolicyInput) (*sdk.GetPolicyOutput, error) {
	p, err := a.policy(ctx, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	count, err := a.store.Attachments(account(ctx))
	if err != nil {
		return nil, err
	}
	return &sdk.GetPolicyOutput{Policy: wholePolicy(p, count[p.ARN])}, nil
}

// DeletePolicy serves DeletePolicy.
func (a *API) DeletePolicy(ctx context.Context, in *sdk.DeletePolicyInput) (*sdk.DeletePolicyOutput, error) {
	if err := checkPolicyARN(in.PolicyArn); err != nil {
		return nil, err
	}
	return &sdk.DeletePolicyOutput{}, a.store.DeletePolicy(ctx, account(ctx), *in.PolicyArn)
}

// ListPolicies serves ListPolicies.
func (a *API) ListPolicies(ctx context.Context, in *sdk.ListPoliciesInput) (*sdk.ListPoliciesOutput, error) {
	if err := check(func(c *iam.Check) {
		c.Path("pathPrefix", in.PathPrefix, true)
		c.OneOf("scope", string(in.Scope), false, "All", "AWS", "Local")
		c.OneOf("policyUsageFilter", string(in.PolicyUsageFilter), false, "PermissionsPolicy", "PermissionsBoundary")
	}); err != nil {
		return nil, err
	}
	all, err := a.inScope(ctx, in.Scope)
	if err != nil {
		return nil, err
	}
	count, err := a.store.Attachments(account(ctx))
	if err != nil {
		return nil, err
	}
	var kept []iam.ManagedPolicy
	for _, p := range all {
		// No policy is used as a permissions boundary: there are none.
		boundary := in.PolicyUsageFilter == types.PolicyUsageTypePermissionsBoundary
		if strings.HasPrefix(p.Path, wire.Value(in.PathPrefix)) && !boundary && (!in.OnlyAttached || count[p.ARN] > 0) {
			kept = append(kept, p)
		}
	}
	policies, more, next, err := page(kept, policyOrder, in.Marker, in.MaxItems)
	return &sdk.ListPoliciesOutput{IsTruncated: more, Marker: next, Policies: each(policies, func(p iam.ManagedPolicy) types.Policy {
		return toPolicy(p, count[p.ARN])
	})}, err
}

// inScope are the account's own policies, then AWS's.
func (a *API) inScope(ctx context.Context, scope types.PolicyScopeType) ([]iam.ManagedPolicy, error) {
	var all []iam.ManagedPolicy
	if scope != types.PolicyScopeTypeAws {
		own, err := a.store.Policies(account(ctx))
		if err != nil {
			return nil, err
		}
		all = own
	}
	if scope != types.PolicyScopeTypeLocal {
		all = append(all, a.store.AWSPolicies()...)
	}
	return all, nil
}

// policyOrder is what lists of policies are sorted by: numbered accounts come before "aws".
func policyOrder(p iam.ManagedPolicy) string {
	if p.Account == "aws" {
		return "aws/" + p.ARN
	}
	return "0/" + strings.ToLower(p.Name)
}

// ListEntitiesForPolicy serves ListEntitiesForPolicy.
func (a *API) ListEntitiesForPolicy(ctx context.Context, in *sdk.ListEntitiesForPolicyInput) (*sdk.ListEntitiesForPolicyOutput, error) {
	if err := check(func(c *iam.Check) {
		c.Path("pathPrefix", in.PathPrefix, true)
		c.OneOf("entityFilter", string(in.EntityFilter), false, "User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy")
		c.OneOf("policyUsageFilter", string(in.PolicyUsageFilter), false, "PermissionsPolicy", "PermissionsBoundary")
	}); err != nil {
		return nil, err
	}
	p, err := a.policy(ctx, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	users, roles, err := a.store.Holders(account(ctx), p.ARN)
	if err != nil {
		return nil, err
	}
	var all []holder
	for _, u := range users {
		all = append(all, holder{"User", u.Entity})
	}
	for _, r := range roles {
		all = append(all, holder{"Role", r.Entity})
	}
	var kept []holder
	for _, h := range all {
		wanted := in.EntityFilter == "" || string(in.EntityFilter) == h.kind
		boundary := in.PolicyUsageFilter == types.PolicyUsageTypePermissionsBoundary
		if wanted && !boundary && strings.HasPrefix(h.Path, wire.Value(in.PathPrefix)) {
			kept = append(kept, h)
		}
	}
	return entities(kept, in)
}

// A holder is a user or role a policy is attached to. Users come first.
type holder struct {
	kind string
	iam.Entity
}

func (h holder) order() string {
	if h.kind == "User" {
		return "0" + h.Key()
	}
	return "1" + h.Key()
}

func entities(holders []holder, in *sdk.ListEntitiesForPolicyInput) (*sdk.ListEntitiesForPolicyOutput, error) {
	cut, more, next, err := page(holders, holder.order, in.Marker, in.MaxItems)
	out := &sdk.ListEntitiesForPolicyOutput{
		IsTruncated: more, Marker: next,
		PolicyGroups: []types.PolicyGroup{}, PolicyRoles: []types.PolicyRole{}, PolicyUsers: []types.PolicyUser{},
	}
	for _, h := range cut {
		if h.kind == "User" {
			out.PolicyUsers = append(out.PolicyUsers, types.PolicyUser{UserId: &h.ID, UserName: &h.Name})
		} else {
			out.PolicyRoles = append(out.PolicyRoles, types.PolicyRole{RoleId: &h.ID, RoleName: &h.Name})
		}
	}
	return out, err
}
