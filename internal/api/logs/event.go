package logs

import (
	"cmp"
	"context"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/logstore"
	"lambent.dev/lambent/internal/pattern"
	"lambent.dev/lambent/internal/wire"
)

// maxAnswer bounds the bytes of events in an answer.
const maxAnswer = 1 << 20

// GetLogEvents serves GetLogEvents.
func (a *API) GetLogEvents(ctx context.Context, in *sdk.GetLogEventsInput) (*sdk.GetLogEventsOutput, error) {
	var c iam.Check
	checkStream(&c, in.LogStreamName)
	c.Range("limit", in.Limit, 1, maxEvents)
	group, err := a.group(ctx, &c, in.LogGroupName, in.LogGroupIdentifier)
	if err := cmp.Or(err, notNegative("startTime", in.StartTime), notNegative("endTime", in.EndTime)); err != nil {
		return nil, err
	}
	q := logstore.Query{
		Account: account(ctx), Group: group, Streams: []string{*in.LogStreamName},
		Start: at(in.StartTime), End: at(in.EndTime), Backward: !wire.Value(in.StartFromHead),
		Limit: limited(in.Limit, maxEvents), Bytes: maxAnswer,
	}
	if in.NextToken != nil {
		from, backward, err := readEventToken(*in.NextToken)
		if err != nil {
			return nil, err
		}
		q.From, q.Backward = &from, backward
	}
	page, err := a.store.Read(ctx, q)
	if err != nil {
		return nil, err
	}
	if q.Backward {
		slices.Reverse(page.Events) // an answer is in the order of time, whatever its direction
	}
	out := &sdk.GetLogEventsOutput{Events: []types.OutputLogEvent{}}
	for _, f := range page.Events {
		out.Events = append(out.Events, types.OutputLogEvent{
			Timestamp: wire.Ptr(f.Time.UnixMilli()), IngestionTime: wire.Ptr(f.Ingested.UnixMilli()), Message: &f.Message,
		})
	}
	before, after := around(page, q)
	out.NextBackwardToken, out.NextForwardToken = eventToken(before, true), eventToken(after, false)
	return out, nil
}

// around is where to go on from a page in both directions. From an empty page the direction that
// was read goes on where it began, and the other one takes the event that it began at.
// AWS: that a token comes back is how callers see the end.
func around(page logstore.Page, q logstore.Query) (before, after logstore.Cursor) {
	if n := len(page.Events); n > 0 {
		return page.Events[0].Cursor, page.Events[n-1].Cursor
	}
	if q.From == nil {
		return logstore.Cursor{}, logstore.Cursor{}
	}
	before, after = *q.From, *q.From
	if q.Backward {
		after.Seq = max(after.Seq, 1) - 1
	} else {
		before.Seq++
	}
	return before, after
}

func at(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms)
}

// FilterLogEvents serves FilterLogEvents.
func (a *API) FilterLogEvents(ctx context.Context, in *sdk.FilterLogEventsInput) (*sdk.FilterLogEventsOutput, error) {
	q, err := a.filter(ctx, in)
	if err != nil {
		return nil, err
	}
	page, err := a.store.Read(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &sdk.FilterLogEventsOutput{
		Events:             []types.FilteredLogEvent{},
		SearchedLogStreams: []types.SearchedLogStream{}, // AWS: always empty, since 2020
	}
	for _, f := range page.Events {
		out.Events = append(out.Events, types.FilteredLogEvent{
			EventId: wire.Ptr(digits(f.Cursor)), LogStreamName: &f.Stream, Message: &f.Message,
			Timestamp: wire.Ptr(f.Time.UnixMilli()), IngestionTime: wire.Ptr(f.Ingested.UnixMilli()),
		})
	}
	if page.More {
		out.NextToken = nameToken(*eventToken(*page.Cursor, q.Backward))
	}
	return out, nil
}

// filter checks a request and makes the query it stands for.
func (a *API) filter(ctx context.Context, in *sdk.FilterLogEventsInput) (q logstore.Query, err error) {
	group, err := a.group(ctx, checkFilter(in), in.LogGroupName, in.LogGroupIdentifier)
	if err := cmp.Or(err, notNegative("startTime", in.StartTime), notNegative("endTime", in.EndTime)); err != nil {
		return q, err
	}
	p, err := pattern.Parse(wire.Value(in.FilterPattern))
	if err != nil {
		return q, err
	}
	q = logstore.Query{
		Account: account(ctx), Group: group, Streams: slices.Compact(slices.Sorted(slices.Values(in.LogStreamNames))), Prefix: wire.Value(in.LogStreamNamePrefix),
		Start: at(in.StartTime), Backward: in.StartFromHead != nil && !*in.StartFromHead,
		Limit: limited(in.Limit, maxEvents), Bytes: maxAnswer, Match: p.Match,
	}
	if in.EndTime != nil {
		q.End = time.UnixMilli(*in.EndTime + 1) // AWS: included here, and not by GetLogEvents
	}
	if in.NextToken != nil {
		token, err := readName(in.NextToken)
		if err != nil {
			return q, err
		}
		from, backward, err := readEventToken(token)
		if err != nil {
			return q, err
		}
		q.From, q.Backward = &from, backward
	}
	return q, nil
}

// backwardFrom is the earliest start of a search from the end. AWS: documented.
var backwardFrom = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func checkFilter(in *sdk.FilterLogEventsInput) *iam.Check {
	var c iam.Check
	c.Range("limit", in.Limit, 1, maxEvents)
	c.Optional("filterPattern", in.FilterPattern, 0, 1024)
	c.Optional("logStreamNamePrefix", in.LogStreamNamePrefix, 1, 512)
	c.Pattern("logStreamNamePrefix", in.LogStreamNamePrefix, streamPattern)
	for i := range in.LogStreamNames {
		c.Optional("logStreamNames", &in.LogStreamNames[i], 1, 512)
		c.Pattern("logStreamNames", &in.LogStreamNames[i], streamPattern)
	}
	if len(in.LogStreamNames) > 100 {
		c.Alone("logStreamNames can have no more than 100 members.")
	}
	if len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != nil {
		c.Alone("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
	}
	if in.StartTime != nil && in.EndTime != nil && *in.StartTime > *in.EndTime {
		c.Alone("Invalid time range: startTime is after endTime.")
	}
	if in.StartFromHead != nil && !*in.StartFromHead && (in.StartTime == nil || at(in.StartTime).Before(backwardFrom)) {
		c.Alone("startFromHead can be false only if startTime is on or after Jan 1, 2024 00:00:00 UTC.")
	}
	return &c
}
