package lambent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/meter"
	"lambent.dev/lambent/internal/price"
	"lambent.dev/lambent/internal/wire"
)

// Ledger is what the API needs of meter.Ledger.
type Ledger interface {
	Usage(account string, from, to time.Time) ([]meter.Row, error)
	List(ctx context.Context, q meter.Query) ([]meter.Record, string, error)
}

var _ Ledger = (*meter.Ledger)(nil)

// GetUsageInput says what to report. Times are RFC 3339 or dates, in UTC.
type GetUsageInput struct {
	From string   // default: the first of this month
	To   string   // not included; default: now
	By   []string // of function, version, day, architecture; default: function and day
}

// GetUsageOutput is what an account used and what it costs.
type GetUsageOutput struct {
	From, To              string // RFC 3339
	Currency, PriceSource string
	Lines                 []UsageLine
	Total                 UsageLine
}

// UsageLine is one line of a report. What it is not broken down by is empty.
type UsageLine struct {
	Day, Function, Version, Architecture string

	Requests, Errors, Aborted   int64 // Aborted ones are not charged and no requests
	BilledMs                    int64
	GBSeconds, StorageGBSeconds float64
	Cost                        float64
}

func (l *UsageLine) add(s meter.Sums, cost float64) {
	u := used(s)
	l.Requests += s.Requests
	l.Errors += s.Errors
	l.Aborted += s.Aborted
	l.BilledMs += s.BilledMS
	l.GBSeconds += u.GBSeconds
	l.StorageGBSeconds += u.StorageGBSeconds
	l.Cost += cost
}

// used is sums in the units of prices.
func used(s meter.Sums) price.Usage {
	const perGBSecond = 1024 * 1000
	return price.Usage{
		Requests: s.Requests, GBSeconds: float64(s.MemoryMS) / perGBSecond, StorageGBSeconds: float64(s.StorageMS) / perGBSecond,
	}
}

// GetUsage serves GetUsage.
func (a *API) GetUsage(ctx context.Context, in *GetUsageInput) (*GetUsageOutput, error) {
	p, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	from, to, err := a.span(in.From, in.To)
	if err != nil {
		return nil, err
	}
	by := map[string]bool{}
	for _, b := range in.By {
		if !slices.Contains([]string{"function", "version", "day", "architecture"}, b) {
			return nil, invalid("By: %q is none of function, version, day and architecture", b)
		}
		by[b] = true
	}
	if len(by) == 0 {
		by["function"], by["day"] = true, true
	}
	// Prices fall in tiers by the month, so whole months are looked at.
	rows, err := a.cfg.Ledger.Usage(p.Account, month(from), month(to).AddDate(0, 1, 0))
	if err != nil {
		return nil, unavailable(err)
	}
	rates, err := a.rates(rows)
	if err != nil {
		return nil, err
	}
	out := &GetUsageOutput{
		From: from.Format(time.RFC3339), To: to.Format(time.RFC3339),
		Currency: a.cfg.Prices.Currency, PriceSource: a.cfg.Prices.Source + ", " + a.cfg.Prices.Date, Lines: []UsageLine{},
	}
	lines := map[UsageLine]*UsageLine{}
	for _, r := range rows {
		if r.At.Before(from.Truncate(r.Width)) || !r.At.Before(to) {
			continue
		}
		k := lineOf(r, by)
		if lines[k] == nil {
			line := k
			lines[k] = &line
		}
		cost := rates[month(r.At)].Cost(r.Architecture, used(r.Sums))
		lines[k].add(r.Sums, cost)
		out.Total.add(r.Sums, cost)
	}
	for _, line := range lines {
		out.Lines = append(out.Lines, *line)
	}
	slices.SortFunc(out.Lines, func(x, y UsageLine) int {
		return cmp.Or(cmp.Compare(x.Day, y.Day), cmp.Compare(x.Function, y.Function), cmp.Compare(x.Version, y.Version),
			cmp.Compare(x.Architecture, y.Architecture))
	})
	return out, nil
}

// lineOf is the line that a row belongs to, without its numbers.
func lineOf(r meter.Row, by map[string]bool) (l UsageLine) {
	if by["day"] {
		l.Day = r.At.Format(time.DateOnly)
	}
	if by["function"] {
		l.Function = r.Function
	}
	if by["version"] {
		l.Version = r.Version
	}
	if by["architecture"] {
		l.Architecture = r.Architecture
	}
	return l
}

// rates are the prices of each month in rows.
func (a *API) rates(rows []meter.Row) (map[time.Time]price.Rates, error) {
	usage := map[time.Time]map[string]price.Usage{}
	for _, r := range rows {
		m := month(r.At)
		if usage[m] == nil {
			usage[m] = map[string]price.Usage{}
		}
		u, more := usage[m][r.Architecture], used(r.Sums)
		u.Requests += more.Requests
		u.GBSeconds += more.GBSeconds
		u.StorageGBSeconds += more.StorageGBSeconds
		usage[m][r.Architecture] = u
	}
	out := map[time.Time]price.Rates{}
	for m, u := range usage {
		r, err := a.cfg.Prices.Month(u)
		if err != nil {
			return nil, invalid("%v", err)
		}
		out[m] = r
	}
	return out, nil
}

func month(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) }

// span reads the bounds of a report.
func (a *API) span(from, to string) (f, t time.Time, err error) {
	now := a.cfg.Now().UTC()
	if f, err = when("From", from, month(now)); err != nil {
		return f, t, err
	}
	if t, err = when("To", to, now); err != nil {
		return f, t, err
	}
	if t.Before(f) {
		return f, t, invalid("To is before From")
	}
	return f, t, nil
}

func when(name, text string, none time.Time) (time.Time, error) {
	if text == "" {
		return none, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, invalid("%s: %q is neither a date (2026-01-31) nor a time of RFC 3339 (2026-01-31T12:00:00Z)", name, text)
}

func invalid(format string, args ...any) error {
	return &wire.Error{Code: "ValidationException", Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

// unavailable translates the errors of a state that cannot be read or written now.
func unavailable(err error) error {
	if errors.Is(err, kv.ErrStale) || errors.Is(err, kv.ErrFull) {
		return &wire.Error{Code: "ServiceUnavailable", Message: "The service is unavailable. Try again.", Status: http.StatusServiceUnavailable, ServerFault: true}
	}
	return err
}

// ListInvocationsInput says which records to list, oldest first.
type ListInvocationsInput struct {
	Function, From, To string // as in GetUsage
	MaxItems           int64  // of a page; default 1,000, which is the maximum
	NextToken          string
}

// ListInvocationsOutput is a page of records.
type ListInvocationsOutput struct {
	Invocations []Invocation
	NextToken   string // empty: there are no more now
}

// Invocation is a record of the ledger.
type Invocation struct {
	RequestID, Function, Version string
	Start                        string // RFC 3339
	InitMs, DurationMs           float64
	BilledMs                     int64
	Memory, EphemeralStorage     int64 // MB
	Architecture, Outcome        string
	Cold                         bool
}

const maxInvocations = 1000

// ListInvocations serves ListInvocations.
func (a *API) ListInvocations(ctx context.Context, in *ListInvocationsInput) (*ListInvocationsOutput, error) {
	p, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	from, to, err := a.span(in.From, in.To)
	if err != nil {
		return nil, err
	}
	if in.MaxItems < 0 || in.MaxItems > maxInvocations {
		return nil, invalid("MaxItems is not between 1 and %d", maxInvocations)
	}
	records, next, err := a.cfg.Ledger.List(ctx, meter.Query{
		Account: p.Account, Function: in.Function, From: from, To: to,
		After: in.NextToken, Limit: int(cmp.Or(in.MaxItems, maxInvocations)),
	})
	if errors.Is(err, meter.ErrCursor) {
		return nil, invalid("NextToken is not one that ListInvocations gave")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	out := &ListInvocationsOutput{NextToken: next, Invocations: []Invocation{}}
	for _, r := range records {
		out.Invocations = append(out.Invocations, Invocation{
			RequestID: r.RequestID, Function: r.Function, Version: r.Version, Start: r.Start.Format(time.RFC3339Nano),
			InitMs: milliseconds(r.Init), DurationMs: milliseconds(r.Duration), BilledMs: r.Billed,
			Memory: int64(r.Memory), EphemeralStorage: int64(r.EphemeralStorage),
			Architecture: r.Architecture, Outcome: r.Outcome, Cold: r.Cold,
		})
	}
	return out, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
