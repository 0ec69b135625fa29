package lambent_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"lambent.dev/lambent/internal/api/lambent"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/meter"
	"lambent.dev/lambent/internal/price"
)

// ledger answers with rows, whatever months are asked for.
type ledger struct {
	rows []meter.Row
	err  error
}

func (l ledger) Usage(account string, from, to time.Time) (out []meter.Row, err error) {
	for _, r := range l.rows {
		if r.Account == account && !r.At.Before(from) && r.At.Before(to) {
			out = append(out, r)
		}
	}
	return out, l.err
}

func (l ledger) List(_ context.Context, q meter.Query) ([]meter.Record, string, error) {
	if q.After != "" {
		return nil, "", meter.ErrCursor
	}
	return []meter.Record{{RequestID: "r", Account: q.Account, Billed: 3}}, "next", l.err
}

// TestGetUsage: a day costs its share of the month's tiers, and the lines add up to the total.
func TestGetUsage(t *testing.T) {
	const perGBSecond = 1024 * 1000
	var l ledger
	for day := 1; day <= 10; day++ {
		l.rows = append(l.rows, meter.Row{
			Account: "1", Function: fmt.Sprint("f", day%2), Version: "$LATEST", Architecture: "x86_64", Width: time.Hour,
			At: time.Date(2026, 11, day, 5, 0, 0, 0, time.UTC), Sums: meter.Sums{Requests: 1e6, MemoryMS: 1e9 * perGBSecond},
		})
	}
	now := func() time.Time { return time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC) }
	a := lambent.New(lambent.Config{Ledger: l, Prices: price.Default(), Now: now})
	month := 6e9*0.0000166667 + 4e9*0.000015 + 10*0.2
	out, err := a.GetUsage(as(iam.UserKind), &lambent.GetUsageInput{})
	if err != nil || len(out.Lines) != 10 || math.Abs(out.Total.Cost-month) > 1e-6 || out.Total.Requests != 1e7 {
		t.Errorf("%v, %+v", err, out)
	}
	out, err = a.GetUsage(as(iam.UserKind), &lambent.GetUsageInput{From: "2026-11-03", To: "2026-11-05", By: []string{"function"}})
	if err != nil || len(out.Lines) != 2 || math.Abs(out.Total.Cost-month/5) > 1e-6 || out.Lines[0].Day != "" || math.Abs(out.Lines[0].Cost+out.Lines[1].Cost-out.Total.Cost) > 1e-6 {
		t.Errorf("%v, %+v", err, out)
	}
	for _, bad := range []lambent.GetUsageInput{{From: "yesterday"}, {To: "x"}, {From: "2026-12-01", To: "2026-11-01"}, {By: []string{"color"}}} {
		if _, err := a.GetUsage(as(iam.Root), &bad); code(err) != "ValidationException" {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := a.ListInvocations(as(iam.Root), &lambent.ListInvocationsInput{NextToken: "x"}); code(err) != "ValidationException" {
		t.Errorf("a token of nobody's: %v", err)
	}
	if page, err := a.ListInvocations(as(iam.Root), &lambent.ListInvocationsInput{}); err != nil || page.NextToken != "next" || page.Invocations[0].BilledMs != 3 {
		t.Errorf("%v, %+v", err, page)
	}
	a = lambent.New(lambent.Config{Ledger: ledger{err: kv.ErrStale}, Prices: price.Default(), Now: now})
	if _, err := a.GetUsage(as(iam.Root), &lambent.GetUsageInput{}); code(err) != "ServiceUnavailable" {
		t.Errorf("stale: %v", err)
	}
}

// TestRotateRootKey: root alone may.
func TestRotateRootKey(t *testing.T) {
	a := lambent.New(lambent.Config{Rotate: func(context.Context) (string, string, error) { return "AK", "file", nil }})
	for _, kind := range []iam.Kind{iam.UserKind, iam.AssumedRole} {
		if _, err := a.RotateRootKey(as(kind), nil); code(err) != "AccessDeniedException" {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
	if out, err := a.RotateRootKey(as(iam.Root), nil); err != nil || out.AccessKeyID != "AK" {
		t.Errorf("%v, %v", out, err)
	}
}
