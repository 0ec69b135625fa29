package logs

import (
	"context"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/schemas"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/wire"
)

// operations is everything that is served.
func (a *API) operations() []wire.Operation {
	return slices.Concat(a.groupOperations(), a.tagOperations(), a.streamOperations())
}

// row is a row of the table. CloudWatch Logs calls an action what it calls the operation.
func row[In, Out any](op, in, out *smithy.Schema, h func(context.Context, *In) (*Out, error), resources func(wire.Scope, *In) []string) wire.Operation {
	translated := func(ctx context.Context, in *In) (*Out, error) {
		o, err := h(ctx, in)
		if err != nil {
			return nil, apiError(err)
		}
		return o, nil
	}
	return wire.Op(op, in, out, translated, wire.Auth("logs:"+op.ID().Name, resources))
}

// on is the resource of an operation on a group or one of its streams. name may be an ARN.
// AWS: "log-stream:" ends it even without a stream, as its AccessDeniedException shows; this is
// why policies need the ":*" after a group's name.
func on[In any](names func(*In) (group, stream *string)) func(wire.Scope, *In) []string {
	return func(s wire.Scope, in *In) []string {
		group, stream := names(in)
		name := wire.Value(group)
		if a, err := arn.Parse(name); err == nil {
			name = groupOf(a)
		}
		return []string{s.ARN("logs", "log-group:"+name+":log-stream:"+wire.Value(stream))}
	}
}

// either is the one of two names that is there.
func either(name, identifier *string) *string {
	if name != nil {
		return name
	}
	return identifier
}

func (a *API) groupOperations() []wire.Operation {
	return []wire.Operation{
		row(schemas.CreateLogGroup, schemas.CreateLogGroupRequest, nil, a.CreateLogGroup,
			on(func(in *sdk.CreateLogGroupInput) (_, _ *string) { return in.LogGroupName, nil })),
		row(schemas.DeleteLogGroup, schemas.DeleteLogGroupRequest, nil, a.DeleteLogGroup,
			on(func(in *sdk.DeleteLogGroupInput) (_, _ *string) { return in.LogGroupName, nil })),
		row(schemas.DescribeLogGroups, schemas.DescribeLogGroupsRequest, schemas.DescribeLogGroupsResponse, a.DescribeLogGroups,
			on(func(*sdk.DescribeLogGroupsInput) (_, _ *string) { return nil, nil })),
		row(schemas.PutRetentionPolicy, schemas.PutRetentionPolicyRequest, nil, a.PutRetentionPolicy,
			on(func(in *sdk.PutRetentionPolicyInput) (_, _ *string) { return in.LogGroupName, nil })),
		row(schemas.DeleteRetentionPolicy, schemas.DeleteRetentionPolicyRequest, nil, a.DeleteRetentionPolicy,
			on(func(in *sdk.DeleteRetentionPolicyInput) (_, _ *string) { return in.LogGroupName, nil })),
		row(schemas.PutLogGroupDeletionProtection, schemas.PutLogGroupDeletionProtectionRequest, nil, a.PutLogGroupDeletionProtection,
			on(func(in *sdk.PutLogGroupDeletionProtectionInput) (_, _ *string) { return in.LogGroupIdentifier, nil })),
	}
}

// tagOperations are those on tags. AWS: the newer three take the group's ARN as it is.
func (a *API) tagOperations() []wire.Operation {
	return []wire.Operation{
		row(schemas.TagResource, schemas.TagResourceRequest, nil, a.TagResource,
			func(_ wire.Scope, in *sdk.TagResourceInput) []string { return given(in.ResourceArn) }),
		row(schemas.UntagResource, schemas.UntagResourceRequest, nil, a.UntagResource,
			func(_ wire.Scope, in *sdk.UntagResourceInput) []string { return given(in.ResourceArn) }),
		row(schemas.ListTagsForResource, schemas.ListTagsForResourceRequest, schemas.ListTagsForResourceResponse, a.ListTagsForResource,
			func(_ wire.Scope, in *sdk.ListTagsForResourceInput) []string { return given(in.ResourceArn) }),
		row(schemas.TagLogGroup, schemas.TagLogGroupRequest, nil, a.TagLogGroup,
			on(func(in *sdk.TagLogGroupInput) (_, _ *string) { return in.LogGroupName, nil })),
		row(schemas.UntagLogGroup, schemas.UntagLogGroupRequest, nil, a.UntagLogGroup,
			on(func(in *sdk.UntagLogGroupInput) (_, _ *string) { return in.LogGroupName, nil })),
		row(schemas.ListTagsLogGroup, schemas.ListTagsLogGroupRequest, schemas.ListTagsLogGroupResponse, a.ListTagsLogGroup,
			on(func(in *sdk.ListTagsLogGroupInput) (_, _ *string) { return in.LogGroupName, nil })),
	}
}

func given(resource *string) []string {
	if resource == nil {
		return nil
	}
	return []string{*resource}
}

func (a *API) streamOperations() []wire.Operation {
	return []wire.Operation{
		row(schemas.CreateLogStream, schemas.CreateLogStreamRequest, nil, a.CreateLogStream,
			on(func(in *sdk.CreateLogStreamInput) (_, _ *string) { return in.LogGroupName, in.LogStreamName })),
		row(schemas.DeleteLogStream, schemas.DeleteLogStreamRequest, nil, a.DeleteLogStream,
			on(func(in *sdk.DeleteLogStreamInput) (_, _ *string) { return in.LogGroupName, in.LogStreamName })),
		row(schemas.DescribeLogStreams, schemas.DescribeLogStreamsRequest, schemas.DescribeLogStreamsResponse, a.DescribeLogStreams,
			on(func(in *sdk.DescribeLogStreamsInput) (_, _ *string) {
				return either(in.LogGroupName, in.LogGroupIdentifier), nil
			})),
		row(schemas.PutLogEvents, schemas.PutLogEventsRequest, schemas.PutLogEventsResponse, a.PutLogEvents,
			on(func(in *sdk.PutLogEventsInput) (_, _ *string) { return in.LogGroupName, in.LogStreamName })),
		row(schemas.GetLogEvents, schemas.GetLogEventsRequest, schemas.GetLogEventsResponse, a.GetLogEvents,
			on(func(in *sdk.GetLogEventsInput) (_, _ *string) {
				return either(in.LogGroupName, in.LogGroupIdentifier), in.LogStreamName
			})),
		row(schemas.FilterLogEvents, schemas.FilterLogEventsRequest, schemas.FilterLogEventsResponse, a.FilterLogEvents,
			on(func(in *sdk.FilterLogEventsInput) (_, _ *string) {
				return either(in.LogGroupName, in.LogGroupIdentifier), nil
			})),
	}
}
