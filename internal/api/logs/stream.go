package logs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/logstore"
	"lambent.dev/lambent/internal/wire"
)

// CreateLogStream serves CreateLogStream.
func (a *API) CreateLogStream(ctx context.Context, in *sdk.CreateLogStreamInput) (*sdk.CreateLogStreamOutput, error) {
	var c iam.Check
	checkGroup(&c, in.LogGroupName)
	checkStream(&c, in.LogStreamName)
	if err := c.Err(); err != nil {
		return nil, err
	}
	return &sdk.CreateLogStreamOutput{}, a.store.CreateStream(ctx, account(ctx), *in.LogGroupName, *in.LogStreamName)
}

// DeleteLogStream serves DeleteLogStream.
func (a *API) DeleteLogStream(ctx context.Context, in *sdk.DeleteLogStreamInput) (*sdk.DeleteLogStreamOutput, error) {
	var c iam.Check
	checkGroup(&c, in.LogGroupName)
	checkStream(&c, in.LogStreamName)
	if err := c.Err(); err != nil {
		return nil, err
	}
	return &sdk.DeleteLogStreamOutput{}, a.store.DeleteStream(ctx, account(ctx), *in.LogGroupName, *in.LogStreamName)
}

// DescribeLogStreams serves DescribeLogStreams.
func (a *API) DescribeLogStreams(ctx context.Context, in *sdk.DescribeLogStreamsInput) (*sdk.DescribeLogStreamsOutput, error) {
	var c iam.Check
	c.Range("limit", in.Limit, 1, maxDescribed)
	c.Optional("logStreamNamePrefix", in.LogStreamNamePrefix, 1, 512)
	c.Pattern("logStreamNamePrefix", in.LogStreamNamePrefix, streamPattern)
	c.OneOf("orderBy", string(in.OrderBy), false, names(in.OrderBy.Values())...)
	byTime := in.OrderBy == types.OrderByLastEventTime
	if byTime && in.LogStreamNamePrefix != nil {
		c.Alone("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	group, err := a.group(ctx, &c, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	after, err := readName(in.NextToken)
	if err != nil {
		return nil, err
	}
	streams, err := a.store.Streams(account(ctx), group, wire.Value(in.LogStreamNamePrefix))
	if err != nil {
		return nil, err
	}
	order := streamOrder{byTime: byTime, descending: wire.Value(in.Descending)}
	streams, more := order.page(streams, after, limited(in.Limit, maxDescribed))
	out := &sdk.DescribeLogStreamsOutput{LogStreams: []types.LogStream{}}
	for _, s := range streams {
		out.LogStreams = append(out.LogStreams, a.shownStream(account(ctx), group, s))
	}
	if more {
		out.NextToken = nameToken(order.key(streams[len(streams)-1]))
	}
	return out, nil
}

// streamOrder is an order of streams.
type streamOrder struct{ byTime, descending bool }

// key is a text that is ordered as its stream.
func (o streamOrder) key(s logstore.Stream) string {
	if !o.byTime {
		return s.Name
	}
	return fmt.Sprintf("%015d/%s", max(0, millis(s.Last)), s.Name)
}

// page is what follows a key. An empty key is before all.
func (o streamOrder) page(streams []logstore.Stream, after string, limit int) (page []logstore.Stream, more bool) {
	direction := 1
	if o.descending {
		direction = -1
	}
	slices.SortFunc(streams, func(x, y logstore.Stream) int { return direction * strings.Compare(o.key(x), o.key(y)) })
	if after != "" {
		i, found := slices.BinarySearchFunc(streams, after, func(s logstore.Stream, key string) int { return direction * strings.Compare(o.key(s), key) })
		if found {
			i++
		}
		streams = streams[i:]
	}
	return streams[:min(limit, len(streams))], len(streams) > limit
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func (a *API) shownStream(account, group string, s logstore.Stream) types.LogStream {
	out := types.LogStream{
		Arn:           wire.Ptr(a.arn(account, "log-group:"+group+":log-stream:"+s.Name)),
		LogStreamName: &s.Name, CreationTime: wire.Ptr(s.Created.UnixMilli()),
		StoredBytes:         wire.Ptr(int64(0)), // AWS: always, since 2019
		UploadSequenceToken: sequenceToken(s.Seq),
	}
	if !s.Last.IsZero() {
		out.FirstEventTimestamp, out.LastEventTimestamp = wire.Ptr(s.First.UnixMilli()), wire.Ptr(s.Last.UnixMilli())
		out.LastIngestionTime = wire.Ptr(s.LastIngested.UnixMilli())
	}
	return out
}

const (
	maxEvents   = 10000
	maxBatch    = 1 << 20
	perEvent    = 26 // bytes that AWS counts beside the message
	maxAhead    = 2 * time.Hour
	maxBehind   = 14 * 24 * time.Hour
	maxSpanning = 24 * time.Hour
)

// PutLogEvents serves PutLogEvents.
func (a *API) PutLogEvents(ctx context.Context, in *sdk.PutLogEventsInput) (*sdk.PutLogEventsOutput, error) {
	var c iam.Check
	checkGroup(&c, in.LogGroupName)
	checkStream(&c, in.LogStreamName)
	if err := cmp.Or(c.Err(), checkEvents(in.LogEvents)); err != nil {
		return nil, err
	}
	g, err := a.store.Group(account(ctx), *in.LogGroupName)
	if err != nil {
		return nil, err
	}
	from, to, rejected := a.accepted(in.LogEvents, g.Retention)
	events := make([]logstore.Event, 0, to-from)
	for _, e := range in.LogEvents[from:to] {
		events = append(events, logstore.Event{Time: time.UnixMilli(*e.Timestamp), Message: *e.Message})
	}
	seq, err := a.store.Put(ctx, g.Account, g.Name, *in.LogStreamName, events)
	if err != nil {
		return nil, err
	}
	out := &sdk.PutLogEventsOutput{NextSequenceToken: sequenceToken(seq), RejectedLogEventsInfo: rejected}
	if in.Entity != nil { // nothing here looks at entities
		out.RejectedEntityInfo = &types.RejectedEntityInfo{ErrorType: types.EntityRejectionErrorTypeUnsupportedLogGroupType}
	}
	return out, nil
}

func checkEvents(events []types.InputLogEvent) error {
	var c iam.Check
	switch {
	case events == nil:
		c.Required("logEvents", nil, 0, 0)
	case len(events) == 0 || len(events) > maxEvents:
		return invalid("1 validation error detected: Value '[%d events]' at 'logEvents' failed to satisfy constraint: Member must have length between 1 and %d", len(events), maxEvents)
	}
	size := 0
	for i, e := range events {
		member := fmt.Sprintf("logEvents.%d.member.", i+1)
		if e.Timestamp == nil {
			c.Required(member+"timestamp", nil, 0, 0)
		}
		c.Required(member+"message", e.Message, 1, maxBatch)
		if err := notNegative(member+"timestamp", e.Timestamp); err != nil {
			return err
		}
		size += len(wire.Value(e.Message)) + perEvent
	}
	if err := c.Err(); err != nil {
		return err
	}
	if size > maxBatch {
		return invalid("Upload too large: %d bytes exceeds limit of %d", size, maxBatch)
	}
	if !slices.IsSortedFunc(events, func(x, y types.InputLogEvent) int { return cmp.Compare(*x.Timestamp, *y.Timestamp) }) {
		return invalid("Log events in a single PutLogEvents request must be in chronological order.")
	}
	if *events[len(events)-1].Timestamp-*events[0].Timestamp > maxSpanning.Milliseconds() {
		return invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	return nil
}

// accepted is the range of events that are neither too old nor too new, and what to say of the
// others.
func (a *API) accepted(events []types.InputLogEvent, retention int) (from, to int, rejected *types.RejectedLogEventsInfo) {
	now := a.now()
	before := func(t time.Time) int {
		i, _ := slices.BinarySearchFunc(events, t.UnixMilli(), func(e types.InputLogEvent, t int64) int { return cmp.Compare(*e.Timestamp, t) })
		return i
	}
	old, expired, ahead := before(now.Add(-maxBehind)), 0, before(now.Add(maxAhead+time.Millisecond))
	if retention != 0 {
		expired = before(now.AddDate(0, 0, -retention))
	}
	if old == 0 && expired == 0 && ahead == len(events) {
		return 0, ahead, nil
	}
	rejected = &types.RejectedLogEventsInfo{}
	if old > 0 {
		rejected.TooOldLogEventEndIndex = wire.Ptr(int32(old))
	}
	if expired > 0 {
		rejected.ExpiredLogEventEndIndex = wire.Ptr(int32(expired))
	}
	if ahead < len(events) {
		rejected.TooNewLogEventStartIndex = wire.Ptr(int32(ahead))
	}
	return max(old, expired), ahead, rejected
}
