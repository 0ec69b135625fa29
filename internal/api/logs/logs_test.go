package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"lambent.dev/lambent/internal/edge"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv/kvtest"
	"lambent.dev/lambent/internal/logstore"
	"lambent.dev/lambent/internal/wire"
)

const (
	testRegion  = "us-east-1"
	testAccount = "111111111111"
	testSecret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	groupARN    = "arn:aws:logs:us-east-1:111111111111:log-group:"
)

// A region is the API with its store behind a listener.
type region struct {
	*sdk.Client
	t     *testing.T
	store *logstore.Store
	asked []string // actions and their resources
}

func open(t *testing.T) *region {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	store, err := logstore.Open(t.Context(), logstore.Config{KV: kvtest.Open(t), Dir: t.TempDir(), Logger: log})
	check(t, err)
	r := &region{t: t, store: store}
	front, err := edge.New(edge.Config{
		Region: testRegion, Services: []*wire.Service{New(store, testRegion).Service()}, Logger: log,
		Authenticate: func(context.Context, string, string) (string, iam.Principal, error) {
			return testSecret, iam.Principal{Account: testAccount, Kind: iam.UserKind}, nil
		},
		Authorize: func(_ context.Context, action string, resources []string) error {
			r.asked = append(r.asked, action+" "+strings.Join(resources, " "))
			return nil
		},
	})
	check(t, err)
	server := httptest.NewServer(front)
	t.Cleanup(func() { server.Close(); store.Close() })
	r.Client = sdk.New(sdk.Options{
		Region: testRegion, BaseEndpoint: &server.URL, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: testSecret}, nil
		}),
	})
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if api.ErrorCode() != code || message != "" && api.ErrorMessage() != message {
		t.Errorf("got %s: %s\nwant %s: %s", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
}

func p[T any](v T) *T { return &v }

func (r *region) group(name string) {
	r.t.Helper()
	_, err := r.CreateLogGroup(r.t.Context(), &sdk.CreateLogGroupInput{LogGroupName: &name})
	check(r.t, err)
}

func (r *region) stream(group, name string) {
	r.t.Helper()
	_, err := r.CreateLogStream(r.t.Context(), &sdk.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &name})
	check(r.t, err)
}

func (r *region) put(group, stream string, from int64, messages ...string) *sdk.PutLogEventsOutput {
	r.t.Helper()
	in := &sdk.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream}
	for i, m := range messages {
		in.LogEvents = append(in.LogEvents, types.InputLogEvent{Timestamp: p(from + int64(i)), Message: p(m)})
	}
	out, err := r.PutLogEvents(r.t.Context(), in)
	check(r.t, err)
	return out
}

func TestGroups(t *testing.T) {
	r, ctx := open(t), t.Context()
	_, err := r.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: p("/aws/lambda/f"), Tags: map[string]string{"team": "a b"}})
	check(t, err)
	r.group("b")
	_, err = r.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: p("b")})
	wantError(t, err, "ResourceAlreadyExistsException", "The specified log group already exists")
	_, err = r.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: p("a b")})
	wantError(t, err, "InvalidParameterException", `1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+`)
	_, err = r.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: p("c"), KmsKeyId: p("arn:aws:kms:x")})
	wantError(t, err, "InvalidParameterException", "This region does not support kmsKeyId yet, so a request that has it is refused.")
	_, err = r.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: p("c"), Tags: map[string]string{"aws:x": ""}})
	wantError(t, err, "InvalidParameterException", "")

	_, err = r.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: p("b"), RetentionInDays: p(int32(7))})
	check(t, err)
	_, err = r.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: p("b"), RetentionInDays: p(int32(2))})
	wantError(t, err, "InvalidParameterException", "")
	_, err = r.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: p("none"), RetentionInDays: p(int32(7))})
	wantError(t, err, "ResourceNotFoundException", "The specified log group does not exist.")

	out, err := r.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{})
	check(t, err)
	if len(out.LogGroups) != 2 || out.NextToken != nil {
		t.Fatalf("got %+v", out)
	}
	f, b := out.LogGroups[0], out.LogGroups[1]
	if *f.Arn != groupARN+"/aws/lambda/f:*" || *f.LogGroupArn != groupARN+"/aws/lambda/f" || f.RetentionInDays != nil || *f.StoredBytes != 0 ||
		time.Since(time.UnixMilli(*f.CreationTime)) > time.Hour || f.LogGroupClass != types.LogGroupClassStandard {
		t.Errorf("got %+v", f)
	}
	if *b.RetentionInDays != 7 {
		t.Errorf("got %+v", b)
	}
	_, err = r.DeleteRetentionPolicy(ctx, &sdk.DeleteRetentionPolicyInput{LogGroupName: p("b")})
	check(t, err)
	for _, c := range []struct {
		in   sdk.DescribeLogGroupsInput
		want string
	}{
		{sdk.DescribeLogGroupsInput{LogGroupNamePrefix: p("/aws")}, "/aws/lambda/f"},
		{sdk.DescribeLogGroupsInput{LogGroupNamePattern: p("lambda")}, "/aws/lambda/f"},
		{sdk.DescribeLogGroupsInput{LogGroupIdentifiers: []string{"b", "none", groupARN + "/aws/lambda/f"}}, "/aws/lambda/f b"},
		{sdk.DescribeLogGroupsInput{LogGroupClass: types.LogGroupClassDelivery}, ""},
		{sdk.DescribeLogGroupsInput{Limit: p(int32(1))}, "/aws/lambda/f b"},
	} {
		if got := r.groupNames(c.in); got != c.want {
			t.Errorf("%+v: got %q", c.in, got)
		}
	}
	_, err = r.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{NextToken: p("?")})
	wantError(t, err, "InvalidParameterException", "The specified nextToken is invalid.")
	_, err = r.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{Limit: p(int32(51))})
	wantError(t, err, "InvalidParameterException", "1 validation error detected: Value '51' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50")

	_, err = r.PutLogGroupDeletionProtection(ctx, &sdk.PutLogGroupDeletionProtectionInput{LogGroupIdentifier: p(groupARN + "b"), DeletionProtectionEnabled: p(true)})
	check(t, err)
	_, err = r.DeleteLogGroup(ctx, &sdk.DeleteLogGroupInput{LogGroupName: p("b")})
	wantError(t, err, "ValidationException", "")
	_, err = r.PutLogGroupDeletionProtection(ctx, &sdk.PutLogGroupDeletionProtectionInput{LogGroupIdentifier: p("b"), DeletionProtectionEnabled: p(false)})
	check(t, err)
	_, err = r.DeleteLogGroup(ctx, &sdk.DeleteLogGroupInput{LogGroupName: p("b")})
	check(t, err)
	_, err = r.DeleteLogGroup(ctx, &sdk.DeleteLogGroupInput{LogGroupName: p("b")})
	wantError(t, err, "ResourceNotFoundException", "The specified log group does not exist.")
}

func (r *region) groupNames(in sdk.DescribeLogGroupsInput) string {
	r.t.Helper()
	var names []string
	for pages := sdk.NewDescribeLogGroupsPaginator(r, &in); pages.HasMorePages(); {
		page, err := pages.NextPage(r.t.Context())
		check(r.t, err)
		for _, g := range page.LogGroups {
			names = append(names, *g.LogGroupName)
		}
	}
	return strings.Join(names, " ")
}

func TestTags(t *testing.T) {
	r, ctx := open(t), t.Context()
	r.group("g")
	resource := p(groupARN + "g")
	_, err := r.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: resource, Tags: map[string]string{"a": "1", "b": "2"}})
	check(t, err)
	_, err = r.TagLogGroup(ctx, &sdk.TagLogGroupInput{LogGroupName: p("g"), Tags: map[string]string{"c": "3"}})
	check(t, err)
	_, err = r.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: resource, TagKeys: []string{"a"}})
	check(t, err)
	out, err := r.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: resource})
	check(t, err)
	if diff := cmp.Diff(map[string]string{"b": "2", "c": "3"}, out.Tags); diff != "" {
		t.Error(diff)
	}
	_, err = r.UntagLogGroup(ctx, &sdk.UntagLogGroupInput{LogGroupName: p("g"), Tags: []string{"b", "c"}})
	check(t, err)
	old, err := r.ListTagsLogGroup(ctx, &sdk.ListTagsLogGroupInput{LogGroupName: p("g")})
	check(t, err)
	if old.Tags == nil || len(old.Tags) != 0 {
		t.Errorf("got %v", old.Tags)
	}
	_, err = r.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: p(groupARN + "none")})
	wantError(t, err, "ResourceNotFoundException", "")
	for _, foreign := range []string{"arn:aws:logs:us-east-1:222222222222:log-group:g", strings.Replace(groupARN, "arn:aws:", "arn:aws-cn:", 1) + "g"} {
		_, err = r.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: &foreign})
		wantError(t, err, "ResourceNotFoundException", "")
	}
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint(i)] = ""
	}
	_, err = r.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: resource, Tags: many})
	wantError(t, err, "TooManyTagsException", "")
	_, err = r.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: resource, Tags: map[string]string{"a!": ""}})
	wantError(t, err, "InvalidParameterException", "")
}

func TestStreams(t *testing.T) {
	r, ctx := open(t), t.Context()
	_, err := r.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: p("g"), LogStreamName: p("s")})
	wantError(t, err, "ResourceNotFoundException", "The specified log group does not exist.")
	r.group("g")
	now := time.Now().UnixMilli()
	for i, name := range []string{"c", "a/1", "b", "a/[$LATEST]2"} {
		r.stream("g", name)
		if name != "b" {
			r.put("g", name, now-int64(i)*1000, "one", "two")
		}
	}
	_, err = r.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: p("g"), LogStreamName: p("c")})
	wantError(t, err, "ResourceAlreadyExistsException", "The specified log stream already exists")
	_, err = r.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: p("g"), LogStreamName: p("a:b")})
	wantError(t, err, "InvalidParameterException", "1 validation error detected: Value 'a:b' at 'logStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:*]*")
	for _, c := range []struct {
		in   sdk.DescribeLogStreamsInput
		want string
	}{
		{sdk.DescribeLogStreamsInput{}, "a/1 a/[$LATEST]2 b c"},
		{sdk.DescribeLogStreamsInput{Descending: p(true)}, "c b a/[$LATEST]2 a/1"},
		{sdk.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime}, "b a/[$LATEST]2 a/1 c"},
		{sdk.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime, Descending: p(true)}, "c a/1 a/[$LATEST]2 b"},
		{sdk.DescribeLogStreamsInput{LogStreamNamePrefix: p("a/")}, "a/1 a/[$LATEST]2"},
	} {
		for _, limit := range []int32{1, 3, 50} {
			c.in.Limit, c.in.LogGroupName = &limit, p("g")
			if got := r.streamNames(c.in); got != c.want {
				t.Errorf("%+v: got %q", c.in, got)
			}
		}
	}
	out, err := r.DescribeLogStreams(ctx, &sdk.DescribeLogStreamsInput{LogGroupIdentifier: p(groupARN + "g"), LogStreamNamePrefix: p("c")})
	check(t, err)
	s := out.LogStreams[0]
	if *s.Arn != groupARN+"g:log-stream:c" || *s.FirstEventTimestamp != now || *s.LastEventTimestamp != now+1 || *s.LastIngestionTime < now || *s.StoredBytes != 0 || len(*s.UploadSequenceToken) != 56 {
		t.Errorf("got %+v", s)
	}
	_, err = r.DescribeLogStreams(ctx, &sdk.DescribeLogStreamsInput{LogGroupName: p("g"), LogStreamNamePrefix: p("a"), OrderBy: types.OrderByLastEventTime})
	wantError(t, err, "InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")
	_, err = r.DescribeLogStreams(ctx, &sdk.DescribeLogStreamsInput{LogGroupName: p("none")})
	wantError(t, err, "ResourceNotFoundException", "The specified log group does not exist.")

	_, err = r.DeleteLogStream(ctx, &sdk.DeleteLogStreamInput{LogGroupName: p("g"), LogStreamName: p("c")})
	check(t, err)
	_, err = r.DeleteLogStream(ctx, &sdk.DeleteLogStreamInput{LogGroupName: p("g"), LogStreamName: p("c")})
	wantError(t, err, "ResourceNotFoundException", "The specified log stream does not exist.")
}

func (r *region) streamNames(in sdk.DescribeLogStreamsInput) string {
	r.t.Helper()
	var names []string
	for pages := sdk.NewDescribeLogStreamsPaginator(r, &in); pages.HasMorePages(); {
		page, err := pages.NextPage(r.t.Context())
		check(r.t, err)
		for _, s := range page.LogStreams {
			names = append(names, *s.LogStreamName)
		}
	}
	return strings.Join(names, " ")
}

func TestPutLogEvents(t *testing.T) {
	r, ctx := open(t), t.Context()
	r.group("g")
	now := time.Now().UnixMilli()
	day, hour := int64(24*time.Hour/time.Millisecond), int64(time.Hour/time.Millisecond)
	put := func(stream string, events ...types.InputLogEvent) (*sdk.PutLogEventsOutput, error) {
		return r.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: p("g"), LogStreamName: &stream, LogEvents: events})
	}
	event := func(at int64, message string) types.InputLogEvent {
		return types.InputLogEvent{Timestamp: &at, Message: &message}
	}
	_, err := put("s", event(now, "x"))
	wantError(t, err, "ResourceNotFoundException", "The specified log stream does not exist.")
	r.stream("g", "s")
	_, err = put("s", event(now, "b"), event(now-1, "a"))
	wantError(t, err, "InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order.")
	_, err = put("s", event(now-day-1, "b"), event(now, "a"))
	wantError(t, err, "InvalidParameterException", "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	_, err = put("s", event(now, ""))
	wantError(t, err, "InvalidParameterException", "1 validation error detected: Value '' at 'logEvents.1.member.message' failed to satisfy constraint: Member must have length greater than or equal to 1")
	_, err = put("s", event(now, strings.Repeat("x", 1<<20-25)))
	wantError(t, err, "InvalidParameterException", "Upload too large: 1048577 bytes exceeds limit of 1048576")
	_, err = put("s", slices.Repeat([]types.InputLogEvent{event(now, "x")}, 10001)...)
	wantError(t, err, "InvalidParameterException", "")
	_, err = put("s", event(now-100, strings.Repeat("\x01", 1<<20-26)))
	check(t, err)

	out, err := put("s", event(now-15*day, "too old"), event(now-15*day+1, "too old"))
	check(t, err)
	if i := out.RejectedLogEventsInfo; i == nil || *i.TooOldLogEventEndIndex != 2 || i.TooNewLogEventStartIndex != nil {
		t.Errorf("got %+v", i)
	}
	out, err = put("s", event(now, "fine"), event(now+hour, "fine"), event(now+3*hour, "too new"))
	check(t, err)
	if i := out.RejectedLogEventsInfo; i == nil || *i.TooNewLogEventStartIndex != 2 || i.TooOldLogEventEndIndex != nil {
		t.Errorf("got %+v", i)
	}
	_, err = r.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: p("g"), RetentionInDays: p(int32(3))})
	check(t, err)
	out, err = put("s", event(now-3*day-hour, "expired"), event(now-3*day+hour, "fine"))
	check(t, err)
	if i := out.RejectedLogEventsInfo; i == nil || *i.ExpiredLogEventEndIndex != 1 || len(*out.NextSequenceToken) != 56 {
		t.Errorf("got %+v", out)
	}
	if out := r.put("g", "s", now, "fine"); out.RejectedLogEventsInfo != nil {
		t.Errorf("got %+v", out.RejectedLogEventsInfo)
	}
	got := r.filter(sdk.FilterLogEventsInput{LogGroupName: p("g"), FilterPattern: p("fine")})
	if got != "fine fine fine fine" {
		t.Errorf("got %q", got)
	}
}

func TestGetLogEvents(t *testing.T) {
	r, ctx := open(t), t.Context()
	r.group("g")
	r.stream("g", "s")
	now := time.Now().UnixMilli()
	get := func(in sdk.GetLogEventsInput) (string, *sdk.GetLogEventsOutput) {
		t.Helper()
		in.LogGroupName, in.LogStreamName = p("g"), p("s")
		out, err := r.GetLogEvents(ctx, &in)
		check(t, err)
		var messages []string
		for _, e := range out.Events {
			messages = append(messages, *e.Message)
		}
		return strings.Join(messages, " "), out
	}
	if got, out := get(sdk.GetLogEventsInput{}); got != "" || out.Events == nil || out.NextForwardToken == nil || out.NextBackwardToken == nil {
		t.Errorf("got %q, %+v", got, out)
	}
	r.put("g", "s", now, "0", "1", "2", "3", "4")
	for _, c := range []struct {
		in   sdk.GetLogEventsInput
		want string
	}{
		{sdk.GetLogEventsInput{}, "0 1 2 3 4"},
		{sdk.GetLogEventsInput{Limit: p(int32(2))}, "3 4"},
		{sdk.GetLogEventsInput{Limit: p(int32(2)), StartFromHead: p(true)}, "0 1"},
		{sdk.GetLogEventsInput{StartTime: p(now + 1), EndTime: p(now + 3)}, "1 2"},
	} {
		if got, _ := get(c.in); got != c.want {
			t.Errorf("%+v: got %q", c.in, got)
		}
	}
	// Forward to the end, where the token comes back, and further when there is more.
	_, out := get(sdk.GetLogEventsInput{Limit: p(int32(2)), StartFromHead: p(true)})
	got, out := get(sdk.GetLogEventsInput{Limit: p(int32(3)), NextToken: out.NextForwardToken, StartFromHead: p(true)})
	if got != "2 3 4" {
		t.Errorf("got %q", got)
	}
	got, end := get(sdk.GetLogEventsInput{NextToken: out.NextForwardToken, StartFromHead: p(true)})
	if got != "" || *end.NextForwardToken != *out.NextForwardToken {
		t.Errorf("got %q, %s", got, *end.NextForwardToken)
	}
	r.put("g", "s", now+4, "5")
	if got, _ = get(sdk.GetLogEventsInput{NextToken: end.NextForwardToken, StartFromHead: p(true)}); got != "5" {
		t.Errorf("got %q", got)
	}
	// Backward from the end, which has the page before it, to the beginning.
	got, back := get(sdk.GetLogEventsInput{NextToken: end.NextBackwardToken, Limit: p(int32(3))})
	if got != "2 3 4" {
		t.Errorf("got %q", got)
	}
	got, back = get(sdk.GetLogEventsInput{NextToken: back.NextBackwardToken})
	if got != "0 1" {
		t.Errorf("got %q", got)
	}
	got, begin := get(sdk.GetLogEventsInput{NextToken: back.NextBackwardToken})
	if got != "" || *begin.NextBackwardToken != *back.NextBackwardToken {
		t.Errorf("got %q", got)
	}
	if got, _ = get(sdk.GetLogEventsInput{NextToken: begin.NextForwardToken, Limit: p(int32(1))}); got != "0" {
		t.Errorf("got %q", got)
	}
	_, err := r.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupName: p("g"), LogStreamName: p("s"), NextToken: p("f/1/s")})
	wantError(t, err, "InvalidParameterException", "The specified nextToken is invalid.")
	_, err = r.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupName: p("g"), LogStreamName: p("none")})
	wantError(t, err, "ResourceNotFoundException", "The specified log stream does not exist.")
	// A page is of 1 MiB.
	for i := range 3 {
		r.put("g", "s", now+10+int64(i), strings.Repeat(fmt.Sprint(i), 900<<10))
	}
	n := 0
	for pages := sdk.NewGetLogEventsPaginator(r, &sdk.GetLogEventsInput{LogGroupName: p("g"), LogStreamName: p("s"), StartFromHead: p(true)}, func(o *sdk.GetLogEventsPaginatorOptions) { o.StopOnDuplicateToken = true }); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		check(t, err)
		n += len(page.Events)
	}
	if n != 9 {
		t.Errorf("%d events", n)
	}
}

// filter reads all pages.
func (r *region) filter(in sdk.FilterLogEventsInput) string {
	r.t.Helper()
	var messages []string
	ids := map[string]bool{}
	for pages := sdk.NewFilterLogEventsPaginator(r, &in); pages.HasMorePages(); {
		page, err := pages.NextPage(r.t.Context())
		check(r.t, err)
		for _, e := range page.Events {
			messages = append(messages, *e.Message)
			if ids[*e.EventId] || len(*e.EventId) != 56 {
				r.t.Errorf("id %s", *e.EventId)
			}
			ids[*e.EventId] = true
		}
	}
	return strings.Join(messages, " ")
}

func TestFilterLogEvents(t *testing.T) {
	r, ctx := open(t), t.Context()
	r.group("g")
	now := time.Now().UnixMilli()
	for i, s := range []string{"a1", "a2", "b"} {
		r.stream("g", s)
		r.put("g", s, now+int64(i), s+":0", s+":ERROR", s+":2")
	}
	for _, c := range []struct {
		in   sdk.FilterLogEventsInput
		want string
	}{
		{sdk.FilterLogEventsInput{}, "a1:0 a1:ERROR a2:0 a1:2 a2:ERROR b:0 a2:2 b:ERROR b:2"},
		{sdk.FilterLogEventsInput{StartFromHead: p(false), StartTime: &now}, "b:2 b:ERROR a2:2 b:0 a2:ERROR a1:2 a2:0 a1:ERROR a1:0"},
		{sdk.FilterLogEventsInput{FilterPattern: p("ERROR -b")}, "a1:ERROR a2:ERROR"},
		{sdk.FilterLogEventsInput{LogStreamNamePrefix: p("a")}, "a1:0 a1:ERROR a2:0 a1:2 a2:ERROR a2:2"},
		{sdk.FilterLogEventsInput{LogStreamNames: []string{"b", "a1", "b"}}, "a1:0 a1:ERROR a1:2 b:0 b:ERROR b:2"},
		{sdk.FilterLogEventsInput{StartTime: p(now + 1), EndTime: p(now + 2)}, "a1:ERROR a2:0 a1:2 a2:ERROR b:0"},
		{sdk.FilterLogEventsInput{FilterPattern: p("none")}, ""},
	} {
		for _, limit := range []int32{1, 2, 10000} {
			c.in.LogGroupName, c.in.Limit = p("g"), &limit
			if got := r.filter(c.in); got != c.want {
				t.Errorf("%+v: got %q\nwant %q", c.in, got, c.want)
			}
		}
	}
	out, err := r.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{LogGroupIdentifier: p(groupARN + "g"), FilterPattern: p("none")})
	check(t, err)
	if out.Events == nil || out.SearchedLogStreams == nil || out.NextToken != nil {
		t.Errorf("got %+v", out)
	}
	for _, c := range []struct {
		in      sdk.FilterLogEventsInput
		code    string
		message string
	}{
		{sdk.FilterLogEventsInput{LogGroupName: p("g"), FilterPattern: p("{ $.a }")}, "InvalidParameterException", "Invalid filter pattern"},
		{sdk.FilterLogEventsInput{LogGroupName: p("g"), LogStreamNames: []string{"a1"}, LogStreamNamePrefix: p("a")}, "InvalidParameterException", ""},
		{sdk.FilterLogEventsInput{LogGroupName: p("g"), LogStreamNames: []string{"none"}}, "ResourceNotFoundException", "The specified log stream does not exist."},
		{sdk.FilterLogEventsInput{LogGroupName: p("none")}, "ResourceNotFoundException", "The specified log group does not exist."},
		{sdk.FilterLogEventsInput{}, "InvalidParameterException", "1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint: Member must not be null"},
		{sdk.FilterLogEventsInput{LogGroupName: p("g"), LogGroupIdentifier: p("g")}, "InvalidParameterException", ""},
		{sdk.FilterLogEventsInput{LogGroupName: p("g"), NextToken: p("x")}, "InvalidParameterException", "The specified nextToken is invalid."},
		{sdk.FilterLogEventsInput{LogGroupName: p("g"), StartFromHead: p(false)}, "InvalidParameterException", ""},
		{sdk.FilterLogEventsInput{LogGroupName: p("g"), StartTime: p(int64(-1))}, "InvalidParameterException", ""},
	} {
		_, err := r.FilterLogEvents(ctx, &c.in)
		wantError(t, err, c.code, c.message)
	}
}

// TestTail follows a group as "aws logs tail --follow" does: it asks again from the time of the
// last event on, and passes over the ids it has seen.
func TestTail(t *testing.T) {
	r, ctx := open(t), t.Context()
	r.group("g")
	r.stream("g", "s")
	r.stream("g", "t")
	now := time.Now().UnixMilli()
	seen := map[string]bool{}
	start := now - 600_000
	poll := func() string {
		t.Helper()
		var fresh []string
		for pages := sdk.NewFilterLogEventsPaginator(r, &sdk.FilterLogEventsInput{LogGroupName: p("g"), Interleaved: p(true), StartTime: p(start)}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			check(t, err)
			for _, e := range page.Events {
				start = *e.Timestamp
				if !seen[*e.EventId] {
					fresh, seen[*e.EventId] = append(fresh, *e.Message), true
				}
			}
		}
		return strings.Join(fresh, " ")
	}
	for i, want := range []string{"", "a b", "", "c", "d e"} {
		switch i {
		case 1:
			r.put("g", "s", now, "a", "b")
		case 3:
			r.put("g", "t", now+1, "c") // at the time of the last one
		case 4:
			r.put("g", "s", now+1, "d", "e")
		}
		if got := poll(); got != want {
			t.Errorf("poll %d: got %q, want %q", i, got, want)
		}
	}
}

// TestResources: what the caller must be allowed is what AWS asks for.
func TestResources(t *testing.T) {
	r, ctx := open(t), t.Context()
	r.group("g")
	r.stream("g", "s")
	r.put("g", "s", time.Now().UnixMilli(), "x")
	_, err := r.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupIdentifier: p(groupARN + "g"), LogStreamName: p("s")})
	check(t, err)
	_, err = r.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{LogGroupName: p("g")})
	check(t, err)
	_, err = r.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{})
	check(t, err)
	_, err = r.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: p(groupARN + "g")})
	check(t, err)
	want := []string{
		"logs:CreateLogGroup " + groupARN + "g:log-stream:",
		"logs:CreateLogStream " + groupARN + "g:log-stream:s",
		"logs:PutLogEvents " + groupARN + "g:log-stream:s",
		"logs:GetLogEvents " + groupARN + "g:log-stream:s",
		"logs:FilterLogEvents " + groupARN + "g:log-stream:",
		"logs:DescribeLogGroups " + groupARN + ":log-stream:",
		"logs:ListTagsForResource " + groupARN + "g",
	}
	if diff := cmp.Diff(want, r.asked); diff != "" {
		t.Error(diff)
	}
}
