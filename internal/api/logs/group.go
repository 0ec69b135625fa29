package logs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/logstore"
	"lambent.dev/lambent/internal/wire"
)

// maxDescribed is how many groups or streams an answer has.
const maxDescribed = 50

// retentions are the days that AWS takes.
var retentions = []string{"1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365", "400", "545", "731", "1096", "1827", "2192", "2557", "2922", "3288", "3653"}

// CreateLogGroup serves CreateLogGroup.
func (a *API) CreateLogGroup(ctx context.Context, in *sdk.CreateLogGroupInput) (*sdk.CreateLogGroupOutput, error) {
	var c iam.Check
	checkGroup(&c, in.LogGroupName)
	c.OneOf("logGroupClass", string(in.LogGroupClass), false, names(in.LogGroupClass.Values())...)
	if err := cmp.Or(c.Err(), checkTags(in.Tags, false)); err != nil {
		return nil, err
	}
	if in.KmsKeyId != nil {
		return nil, unsupported("kmsKeyId")
	}
	if in.LogGroupClass != "" && in.LogGroupClass != types.LogGroupClassStandard {
		return nil, unsupported("logGroupClass " + string(in.LogGroupClass))
	}
	err := a.store.CreateGroup(ctx, logstore.Group{
		Account: account(ctx), Name: *in.LogGroupName, Tags: in.Tags, Protected: wire.Value(in.DeletionProtectionEnabled),
	})
	return &sdk.CreateLogGroupOutput{}, err
}

func names[T ~string](values []T) (out []string) {
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

// DeleteLogGroup serves DeleteLogGroup.
func (a *API) DeleteLogGroup(ctx context.Context, in *sdk.DeleteLogGroupInput) (*sdk.DeleteLogGroupOutput, error) {
	var c iam.Check
	checkGroup(&c, in.LogGroupName)
	if err := c.Err(); err != nil {
		return nil, err
	}
	return &sdk.DeleteLogGroupOutput{}, a.store.DeleteGroup(ctx, account(ctx), *in.LogGroupName)
}

// PutRetentionPolicy serves PutRetentionPolicy.
func (a *API) PutRetentionPolicy(ctx context.Context, in *sdk.PutRetentionPolicyInput) (*sdk.PutRetentionPolicyOutput, error) {
	var c iam.Check
	checkGroup(&c, in.LogGroupName)
	days := ""
	if in.RetentionInDays != nil {
		days = strconv.Itoa(int(*in.RetentionInDays))
	}
	c.OneOf("retentionInDays", days, true, retentions...)
	if err := c.Err(); err != nil {
		return nil, err
	}
	return &sdk.PutRetentionPolicyOutput{}, a.store.SetRetention(ctx, account(ctx), *in.LogGroupName, int(*in.RetentionInDays))
}

// DeleteRetentionPolicy serves DeleteRetentionPolicy.
func (a *API) DeleteRetentionPolicy(ctx context.Context, in *sdk.DeleteRetentionPolicyInput) (*sdk.DeleteRetentionPolicyOutput, error) {
	var c iam.Check
	checkGroup(&c, in.LogGroupName)
	if err := c.Err(); err != nil {
		return nil, err
	}
	return &sdk.DeleteRetentionPolicyOutput{}, a.store.SetRetention(ctx, account(ctx), *in.LogGroupName, 0)
}

// PutLogGroupDeletionProtection serves PutLogGroupDeletionProtection.
func (a *API) PutLogGroupDeletionProtection(ctx context.Context, in *sdk.PutLogGroupDeletionProtectionInput) (*sdk.PutLogGroupDeletionProtectionOutput, error) {
	var c iam.Check
	c.Required("logGroupIdentifier", in.LogGroupIdentifier, 1, 2048)
	if in.DeletionProtectionEnabled == nil {
		c.Required("deletionProtectionEnabled", nil, 0, 0)
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	name, err := a.group(ctx, &c, nil, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	return &sdk.PutLogGroupDeletionProtectionOutput{}, a.store.Protect(ctx, account(ctx), name, *in.DeletionProtectionEnabled)
}

// DescribeLogGroups serves DescribeLogGroups.
func (a *API) DescribeLogGroups(ctx context.Context, in *sdk.DescribeLogGroupsInput) (*sdk.DescribeLogGroupsOutput, error) {
	if err := checkDescribe(in); err != nil {
		return nil, err
	}
	out := &sdk.DescribeLogGroupsOutput{LogGroups: []types.LogGroup{}}
	if in.LogGroupClass != "" && in.LogGroupClass != types.LogGroupClassStandard {
		return out, nil // there are none
	}
	if len(in.LogGroupIdentifiers) > 0 {
		return out, a.describeIdentified(ctx, in.LogGroupIdentifiers, out)
	}
	after, err := readName(in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := limited(in.Limit, maxDescribed)
	groups, err := a.store.Groups(account(ctx), wire.Value(in.LogGroupNamePrefix), wire.Value(in.LogGroupNamePattern), after, limit+1)
	if err != nil {
		return nil, err
	}
	if len(groups) > limit {
		groups = groups[:limit]
		out.NextToken = nameToken(groups[limit-1].Name)
	}
	for _, g := range groups {
		shown := a.shown(g)
		if in.LogGroupNamePattern != nil { // AWS: documented
			shown = types.LogGroup{Arn: shown.Arn, LogGroupArn: shown.LogGroupArn, CreationTime: shown.CreationTime, LogGroupName: shown.LogGroupName}
		}
		out.LogGroups = append(out.LogGroups, shown)
	}
	return out, nil
}

func checkDescribe(in *sdk.DescribeLogGroupsInput) error {
	var c iam.Check
	c.Range("limit", in.Limit, 1, maxDescribed)
	c.Optional("logGroupNamePrefix", in.LogGroupNamePrefix, 1, 512)
	c.Pattern("logGroupNamePrefix", in.LogGroupNamePrefix, groupPattern)
	c.Optional("logGroupNamePattern", in.LogGroupNamePattern, 0, 512)
	c.OneOf("logGroupClass", string(in.LogGroupClass), false, names(in.LogGroupClass.Values())...)
	if in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil {
		c.Alone("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	if len(in.LogGroupIdentifiers) > maxDescribed {
		c.Alone("logGroupIdentifiers can have no more than %d members.", maxDescribed)
	}
	if len(in.LogGroupIdentifiers) > 0 && (in.LogGroupNamePrefix != nil || in.LogGroupNamePattern != nil) {
		c.Alone("logGroupIdentifiers cannot be combined with logGroupNamePrefix or logGroupNamePattern.")
	}
	if err := c.Err(); err != nil {
		return err
	}
	if wire.Value(in.IncludeLinkedAccounts) || len(in.AccountIdentifiers) > 0 {
		return unsupported("linked accounts")
	}
	return nil
}

// describeIdentified adds the groups of a list that exist.
func (a *API) describeIdentified(ctx context.Context, identifiers []string, out *sdk.DescribeLogGroupsOutput) error {
	for _, id := range identifiers {
		name, err := a.identified(ctx, id)
		var g logstore.Group
		if err == nil {
			g, err = a.store.Group(account(ctx), name)
		}
		if err != nil && !errors.Is(err, logstore.ErrGroupNotFound) {
			return err
		}
		if err == nil {
			out.LogGroups = append(out.LogGroups, a.shown(g))
		}
	}
	slices.SortFunc(out.LogGroups, func(x, y types.LogGroup) int { return cmp.Compare(*x.LogGroupName, *y.LogGroupName) })
	return nil
}

func (a *API) shown(g logstore.Group) types.LogGroup {
	groupARN := a.arn(g.Account, "log-group:"+g.Name)
	out := types.LogGroup{
		Arn: wire.Ptr(groupARN + ":*"), LogGroupArn: &groupARN, LogGroupName: &g.Name,
		CreationTime: wire.Ptr(g.Created.UnixMilli()), LogGroupClass: types.LogGroupClassStandard,
		MetricFilterCount: wire.Ptr(int32(0)), StoredBytes: &g.Bytes, DeletionProtectionEnabled: &g.Protected,
	}
	if g.Retention != 0 {
		out.RetentionInDays = wire.Ptr(int32(g.Retention))
	}
	return out
}

func (a *API) arn(account, resource string) string {
	return arn.ARN{Partition: arn.Partition(a.region), Service: "logs", Region: a.region, Account: account, Resource: resource}.String()
}

func limited(limit *int32, most int) int {
	if limit == nil {
		return most
	}
	return min(int(*limit), most)
}
