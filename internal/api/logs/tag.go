package logs

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/logstore"
)

// tagged is the group that an ARN names.
func (a *API) tagged(ctx context.Context, resource *string) (logstore.Group, error) {
	var c iam.Check
	c.Required("resourceArn", resource, 1, 1011)
	c.Pattern("resourceArn", resource, identifierPattern)
	if err := c.Err(); err != nil {
		return logstore.Group{}, err
	}
	name, err := a.identified(ctx, *resource)
	if err != nil {
		return logstore.Group{}, err
	}
	return a.store.Group(account(ctx), name)
}

func (a *API) named(ctx context.Context, name *string) (logstore.Group, error) {
	var c iam.Check
	checkGroup(&c, name)
	if err := c.Err(); err != nil {
		return logstore.Group{}, err
	}
	return a.store.Group(account(ctx), *name)
}

func (a *API) tag(ctx context.Context, g logstore.Group, tags map[string]string) error {
	if err := checkTags(tags, true); err != nil {
		return err
	}
	return a.store.Tag(ctx, g.Account, g.Name, tags)
}

func tags(g logstore.Group) map[string]string {
	if g.Tags == nil {
		return map[string]string{}
	}
	return g.Tags
}

// TagResource serves TagResource.
func (a *API) TagResource(ctx context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	g, err := a.tagged(ctx, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return &sdk.TagResourceOutput{}, a.tag(ctx, g, in.Tags)
}

// UntagResource serves UntagResource.
func (a *API) UntagResource(ctx context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	g, err := a.tagged(ctx, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return &sdk.UntagResourceOutput{}, a.store.Untag(ctx, g.Account, g.Name, in.TagKeys)
}

// ListTagsForResource serves ListTagsForResource.
func (a *API) ListTagsForResource(ctx context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	g, err := a.tagged(ctx, in.ResourceArn)
	return &sdk.ListTagsForResourceOutput{Tags: tags(g)}, err
}

// TagLogGroup serves TagLogGroup.
func (a *API) TagLogGroup(ctx context.Context, in *sdk.TagLogGroupInput) (*sdk.TagLogGroupOutput, error) {
	g, err := a.named(ctx, in.LogGroupName)
	if err != nil {
		return nil, err
	}
	return &sdk.TagLogGroupOutput{}, a.tag(ctx, g, in.Tags)
}

// UntagLogGroup serves UntagLogGroup.
func (a *API) UntagLogGroup(ctx context.Context, in *sdk.UntagLogGroupInput) (*sdk.UntagLogGroupOutput, error) {
	g, err := a.named(ctx, in.LogGroupName)
	if err != nil {
		return nil, err
	}
	return &sdk.UntagLogGroupOutput{}, a.store.Untag(ctx, g.Account, g.Name, in.Tags)
}

// ListTagsLogGroup serves ListTagsLogGroup.
func (a *API) ListTagsLogGroup(ctx context.Context, in *sdk.ListTagsLogGroupInput) (*sdk.ListTagsLogGroupOutput, error) {
	g, err := a.named(ctx, in.LogGroupName)
	return &sdk.ListTagsLogGroupOutput{Tags: tags(g)}, err
}
