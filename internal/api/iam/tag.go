package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

func fromTags(tags []types.Tag) []iam.Tag {
	return each(tags, func(t types.Tag) iam.Tag { return iam.Tag{Key: wire.Value(t.Key), Value: wire.Value(t.Value)} })
}

func toTags(tags []iam.Tag) []types.Tag {
	if len(tags) == 0 {
		return nil
	}
	return each(tags, toTag)
}

func toTag(t iam.Tag) types.Tag { return types.Tag{Key: &t.Key, Value: &t.Value} }

func tagKey(t iam.Tag) string { return t.Key }

// tag sets tags of a user or role.
func (a *API) tag(ctx context.Context, h iam.Holder, member string, tags []types.Tag) error {
	own := fromTags(tags)
	if err := check(func(c *iam.Check) { c.Name(member, &h.Name, 128); c.Tags(own) }); err != nil {
		return err
	}
	return a.store.Tag(ctx, account(ctx), h, own)
}

func (a *API) untag(ctx context.Context, h iam.Holder, member string, keys []string) error {
	if err := check(func(c *iam.Check) { c.Name(member, &h.Name, 128); c.TagKeys(keys) }); err != nil {
		return err
	}
	return a.store.Untag(ctx, account(ctx), h, keys)
}

// TagRole serves TagRole.
func (a *API) TagRole(ctx context.Context, in *sdk.TagRoleInput) (*sdk.TagRoleOutput, error) {
	return &sdk.TagRoleOutput{}, a.tag(ctx, iam.RoleNamed(wire.Value(in.RoleName)), "roleName", in.Tags)
}

// UntagRole serves UntagRole.
func (a *API) UntagRole(ctx context.Context, in *sdk.UntagRoleInput) (*sdk.UntagRoleOutput, error) {
	return &sdk.UntagRoleOutput{}, a.untag(ctx, iam.RoleNamed(wire.Value(in.RoleName)), "roleName", in.TagKeys)
}

// ListRoleTags serves ListRoleTags.
func (a *API) ListRoleTags(ctx context.Context, in *sdk.ListRoleTagsInput) (*sdk.ListRoleTagsOutput, error) {
	r, err := a.store.Role(account(ctx), wire.Value(in.RoleName))
	if err != nil {
		return nil, err
	}
	tags, more, next, err := page(r.Tags, tagKey, in.Marker, in.MaxItems)
	return &sdk.ListRoleTagsOutput{Tags: each(tags, toTag), IsTruncated: more, Marker: next}, err
}

// TagUser serves TagUser.
func (a *API) TagUser(ctx context.Context, in *sdk.TagUserInput) (*sdk.TagUserOutput, error) {
	return &sdk.TagUserOutput{}, a.tag(ctx, iam.UserNamed(wire.Value(in.UserName)), "userName", in.Tags)
}

// UntagUser serves UntagUser.
func (a *API) UntagUser(ctx context.Context, in *sdk.UntagUserInput) (*sdk.UntagUserOutput, error) {
	return &sdk.UntagUserOutput{}, a.untag(ctx, iam.UserNamed(wire.Value(in.UserName)), "userName", in.TagKeys)
}

// ListUserTags serves ListUserTags.
func (a *API) ListUserTags(ctx context.Context, in *sdk.ListUserTagsInput) (*sdk.ListUserTagsOutput, error) {
	u, err := a.store.User(account(ctx), wire.Value(in.UserName))
	if err != nil {
		return nil, err
	}
	tags, more, next, err := page(u.Tags, tagKey, in.Marker, in.MaxItems)
	return &sdk.ListUserTagsOutput{Tags: each(tags, toTag), IsTruncated: more, Marker: next}, err
}

// TagPolicy serves TagPolicy.
func (a *API) TagPolicy(ctx context.Context, in *sdk.TagPolicyInput) (*sdk.TagPolicyOutput, error) {
	tags := fromTags(in.Tags)
	if err := check(func(c *iam.Check) { c.ARN("policyArn", in.PolicyArn); c.Tags(tags) }); err != nil {
		return nil, err
	}
	return &sdk.TagPolicyOutput{}, a.store.TagPolicy(ctx, account(ctx), *in.PolicyArn, tags)
}

// UntagPolicy serves UntagPolicy.
func (a *API) UntagPolicy(ctx context.Context, in *sdk.UntagPolicyInput) (*sdk.UntagPolicyOutput, error) {
	if err := check(func(c *iam.Check) { c.ARN("policyArn", in.PolicyArn); c.TagKeys(in.TagKeys) }); err != nil {
		return nil, err
	}
	return &sdk.UntagPolicyOutput{}, a.store.UntagPolicy(ctx, account(ctx), *in.PolicyArn, in.TagKeys)
}

// ListPolicyTags serves ListPolicyTags.
func (a *API) ListPolicyTags(ctx context.Context, in *sdk.ListPolicyTagsInput) (*sdk.ListPolicyTagsOutput, error) {
	p, err := a.policy(ctx, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	tags, more, next, err := page(p.Tags, tagKey, in.Marker, in.MaxItems)
	return &sdk.ListPolicyTagsOutput{Tags: each(tags, toTag), IsTruncated: more, Marker: next}, err
}
