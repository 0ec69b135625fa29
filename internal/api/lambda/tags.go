package lambda

import (
	"context"
	"maps"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/wire"
)

// taggedResource is the ARN that permissions are about: that of the function which tagged finds,
// however its partition was written, or what was given where that is no function.
func taggedResource(s wire.Scope, given *string) []string {
	text := wire.Value(given)
	if _, ok := splitName(text); ok {
		text = resource(s, text, "")
	}
	return []string{text}
}

// tagged finds the function whose tags a request is about; c has what is wrong with its other
// members.
func (a *API) tagged(ctx context.Context, c *check, resource *string) (target, error) {
	if c.required("resource", resource != nil) && c.length("resource", resource, 1, 10000) {
		c.pattern("resource", resource, wholeResource, resourcePattern)
	}
	if err := c.err(); err != nil {
		return target{}, err
	}
	r, err := arn.Parse(*resource)
	if err != nil {
		return target{}, err // the pattern allows ARNs only
	}
	switch kind, _, _ := strings.Cut(r.Resource, ":"); kind {
	case "event-source-mapping":
		return target{}, missing("Event source mapping not found: %s", *resource)
	case "capacity-provider":
		return target{}, missing("Capacity provider not found: %s", *resource)
	case "code-signing-config":
		// AWS: this one has no Type.
		return target{}, untyped(missing("The Lambda code signing configuration %s can not be found.", *resource))
	case "layer":
		return target{}, unsupported("tags on layers")
	}
	t, err := a.target(ctx, *resource, nil)
	if err == nil && t.qualifier != "" {
		err = invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
	}
	return t, err
}

// ListTags lists the tags of a function.
func (a *API) ListTags(ctx context.Context, in *sdk.ListTagsInput) (*sdk.ListTagsOutput, error) {
	t, err := a.tagged(ctx, &check{}, in.Resource)
	if err != nil {
		return nil, err
	}
	f, err := a.find(t)
	if err != nil {
		return nil, err
	}
	tags := maps.Clone(f.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	return &sdk.ListTagsOutput{Tags: tags}, nil
}

// TagResource sets tags of a function.
func (a *API) TagResource(ctx context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	var c check
	if c.required("tags", in.Tags != nil) {
		c.tags(in.Tags)
	}
	t, err := a.tagged(ctx, &c, in.Resource)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Functions.Tag(ctx, t.account, t.name, in.Tags, nil); err != nil {
		return nil, apiError(err, t.arn)
	}
	return &sdk.TagResourceOutput{}, nil
}

// UntagResource removes tags of a function.
func (a *API) UntagResource(ctx context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	var c check
	c.required("tagKeys", in.TagKeys != nil)
	t, err := a.tagged(ctx, &c, in.Resource)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Functions.Tag(ctx, t.account, t.name, nil, in.TagKeys); err != nil {
		return nil, apiError(err, t.arn)
	}
	return &sdk.UntagResourceOutput{}, nil
}
