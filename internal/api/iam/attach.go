package iam

import (
	"context"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

// checkPolicyARN wants the ARN of a policy.
func checkPolicyARN(policyARN *string) error {
	if err := check(func(c *iam.Check) { c.ARN("policyArn", policyARN) }); err != nil {
		return err
	}
	if a, err := arn.Parse(*policyARN); err != nil || a.Service != "iam" {
		return &iam.Error{Reason: iam.ErrInvalid, Message: "ARN " + *policyARN + " is not valid."}
	}
	return nil
}

func checkAttachment(h iam.Holder, policyARN *string) error {
	if err := check(func(c *iam.Check) { c.Name(holderMember(h), &h.Name, 128) }); err != nil {
		return err
	}
	return checkPolicyARN(policyARN)
}

func (a *API) attach(ctx context.Context, h iam.Holder, policyARN *string) error {
	if err := checkAttachment(h, policyARN); err != nil {
		return err
	}
	return a.store.Attach(ctx, account(ctx), h, *policyARN)
}

func (a *API) detach(ctx context.Context, h iam.Holder, policyARN *string) error {
	if err := checkAttachment(h, policyARN); err != nil {
		return err
	}
	return a.store.Detach(ctx, account(ctx), h, *policyARN)
}

func (a *API) listAttached(ctx context.Context, h iam.Holder, prefix, marker *string, maxItems *int32) (attached []types.AttachedPolicy, more bool, next *string, err error) {
	if err := check(func(c *iam.Check) { c.Name(holderMember(h), &h.Name, 128) }); err != nil {
		return nil, false, nil, err
	}
	path, err := pathPrefix(prefix)
	if err != nil {
		return nil, false, nil, err
	}
	e, err := a.store.Entity(account(ctx), h)
	if err != nil {
		return nil, false, nil, err
	}
	var arns []string
	for _, policyARN := range e.Attached {
		if _, resource, _ := strings.Cut(policyARN, ":policy"); strings.HasPrefix(resource, path) {
			arns = append(arns, policyARN)
		}
	}
	slices.Sort(arns)
	arns, more, next, err = page(arns, func(s string) string { return s }, marker, maxItems)
	return each(arns, func(policyARN string) types.AttachedPolicy {
		return types.AttachedPolicy{PolicyArn: &policyARN, PolicyName: wire.Ptr(policyARN[strings.LastIndexByte(policyARN, '/')+1:])}
	}), more, next, err
}

// AttachRolePolicy serves AttachRolePolicy.
func (a *API) AttachRolePolicy(ctx context.Context, in *sdk.AttachRolePolicyInput) (*sdk.AttachRolePolicyOutput, error) {
	return &sdk.AttachRolePolicyOutput{}, a.attach(ctx, roleNamed(in.RoleName), in.PolicyArn)
}

// DetachRolePolicy serves DetachRolePolicy.
func (a *API) DetachRolePolicy(ctx context.Context, in *sdk.DetachRolePolicyInput) (*sdk.DetachRolePolicyOutput, error) {
	return &sdk.DetachRolePolicyOutput{}, a.detach(ctx, roleNamed(in.RoleName), in.PolicyArn)
}

// ListAttachedRolePolicies serves ListAttachedRolePolicies.
func (a *API) ListAttachedRolePolicies(ctx context.Context, in *sdk.ListAttachedRolePoliciesInput) (*sdk.ListAttachedRolePoliciesOutput, error) {
	attached, more, next, err := a.listAttached(ctx, roleNamed(in.RoleName), in.PathPrefix, in.Marker, in.MaxItems)
	return &sdk.ListAttachedRolePoliciesOutput{AttachedPolicies: attached, IsTruncated: more, Marker: next}, err
}

// AttachUserPolicy serves AttachUserPolicy.
func (a *API) AttachUserPolicy(ctx context.Context, in *sdk.AttachUserPolicyInput) (*sdk.AttachUserPolicyOutput, error) {
	return &sdk.AttachUserPolicyOutput{}, a.attach(ctx, userNamed(in.UserName), in.PolicyArn)
}

// DetachUserPolicy serves DetachUserPolicy.
func (a *API) DetachUserPolicy(ctx context.Context, in *sdk.DetachUserPolicyInput) (*sdk.DetachUserPolicyOutput, error) {
	return &sdk.DetachUserPolicyOutput{}, a.detach(ctx, userNamed(in.UserName), in.PolicyArn)
}

// ListAttachedUserPolicies serves ListAttachedUserPolicies.
func (a *API) ListAttachedUserPolicies(ctx context.Context, in *sdk.ListAttachedUserPoliciesInput) (*sdk.ListAttachedUserPoliciesOutput, error) {
	attached, more, next, err := a.listAttached(ctx, userNamed(in.UserName), in.PathPrefix, in.Marker, in.MaxItems)
	return &sdk.ListAttachedUserPoliciesOutput{AttachedPolicies: attached, IsTruncated: more, Marker: next}, err
}
