package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
)

// usageFlags are what `lambent usage` was told.
type usageFlags struct {
	from, to, output, by, function string
	invocations                    bool
}

func usageCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "usage",
		Short: "what ran and what it costs, by function and day",
		Long: `Prints requests, GB-seconds and cost from the region's ledger, which has one record per invocation:
what a function prints into its log changes nothing. An invocation counts in the hour (UTC) in which
it started; an error is charged like a success, as on AWS; one that the server's end cut off is
"aborted" and free. Prices are AWS's of us-east-1 without the free tier, or those of the file that
the server was given with --prices.

--invocations prints the records themselves, of the last 35 days at most, the first to end first.
` + clientHelp,
		Example: "  lambent usage\n  lambent usage --from 2026-11-01 --to 2026-12-01 --by function --output csv\n" +
			"  lambent usage --invocations --function hello --output json",
		Args: cobra.NoArgs,
	}
	addSettings(c, "state-dir")
	var f usageFlags
	c.Flags().StringVar(&f.from, "from", "", "first `DAY` (2026-01-31) or time of RFC 3339 (default: the first of this month, UTC)")
	c.Flags().StringVar(&f.to, "to", "", "`DAY` or time up to which; it is not included itself (default: now)")
	c.Flags().StringVar(&f.by, "by", "function,day", "break down by these `COLUMNS`: function, version, day, architecture")
	c.Flags().StringVar(&f.output, "output", "table", "`FORMAT`: table, csv or json")
	c.Flags().BoolVar(&f.invocations, "invocations", false, "print one line per invocation")
	c.Flags().StringVar(&f.function, "function", "", "with --invocations, only those of this `NAME`")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case !slices.Contains([]string{"table", "csv", "json"}, f.output):
			return fmt.Errorf("--output: %q is none of table, csv and json", f.output)
		case f.function != "" && !f.invocations:
			return fmt.Errorf("--function needs --invocations")
		}
		r, err := regionOf(c)
		if err != nil {
			return err
		}
		if f.invocations {
			return printInvocations(c, r, f)
		}
		var out lambentapi.GetUsageOutput
		in := lambentapi.GetUsageInput{From: f.from, To: f.to, By: strings.Split(f.by, ",")}
		if err := r.call(c.Context(), "GetUsage", in, &out); err != nil {
			return err
		}
		return printUsage(c.OutOrStdout(), out, in.By, f.output)
	}
	return c
}

// printUsage prints a report. Only the table has totals: sums in the middle of data are a trap; JSON
// has them beside the lines.
func printUsage(w io.Writer, out lambentapi.GetUsageOutput, by []string, format string) error {
	if format == "json" {
		return printJSON(w, out)
	}
	var head []string
	for _, column := range []string{"day", "function", "version", "architecture"} {
		if slices.Contains(by, column) {
			head = append(head, column)
		}
	}
	row := func(l lambentapi.UsageLine, names ...string) []string {
		return append(names, strconv.FormatInt(l.Requests, 10), strconv.FormatInt(l.Errors, 10), strconv.FormatInt(l.Aborted, 10),
			strconv.FormatInt(l.BilledMs, 10), amount(l.GBSeconds), amount(l.StorageGBSeconds), money(l.Cost))
	}
	rows := [][]string{append(slices.Clone(head), "requests", "errors", "aborted", "billed_ms", "gb_seconds", "storage_gb_seconds", "cost_"+strings.ToLower(out.Currency))}
	for _, l := range out.Lines {
		all := map[string]string{"day": l.Day, "function": l.Function, "version": l.Version, "architecture": l.Architecture}
		var names []string
		for _, column := range head {
			names = append(names, all[column])
		}
		rows = append(rows, row(l, names...))
	}
	if format == "csv" {
		return csv.NewWriter(w).WriteAll(rows)
	}
	total := make([]string, len(head))
	if len(total) > 0 {
		total[0] = "total"
	}
	rows = append(rows, row(out.Total, total...))
	if err := printTable(w, rows, len(head)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s to %s (UTC). Prices: %s.\n", out.From, out.To, out.PriceSource)
	return err
}

func amount(x float64) string { return strconv.FormatFloat(x, 'f', 6, 64) }

// money has the digits that one invocation costs.
func money(x float64) string { return strconv.FormatFloat(x, 'f', 10, 64) }

// printTable aligns names to the left and the numbers behind them to the right.
func printTable(w io.Writer, rows [][]string, names int) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if n == 0 {
				cell = strings.ToUpper(cell)
			}
			width := widths[i]
			if i < names {
				width = -width
			}
			fmt.Fprintf(&b, "%*s  ", width, cell)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printInvocations prints records as they come. As JSON each is a line.
func printInvocations(c *cobra.Command, r *regionClient, f usageFlags) error {
	// The end is fixed before the first page, or a busy region's list has no end.
	in := lambentapi.ListInvocationsInput{Function: f.function, From: f.from, To: cmp.Or(f.to, time.Now().UTC().Format(time.RFC3339Nano))}
	print, flush := invocationPrinter(c.OutOrStdout(), f.output)
	for {
		var page lambentapi.ListInvocationsOutput
		if err := r.call(c.Context(), "ListInvocations", in, &page); err != nil {
			return err
		}
		for _, i := range page.Invocations {
			if err := print(i); err != nil {
				return err
			}
		}
		if in.NextToken = page.NextToken; in.NextToken == "" {
			return flush()
		}
	}
}

func invocationPrinter(w io.Writer, format string) (print func(lambentapi.Invocation) error, flush func() error) {
	if format == "json" {
		e := json.NewEncoder(w)
		return func(i lambentapi.Invocation) error { return e.Encode(i) }, func() error { return nil }
	}
	head := []string{
		"start", "function", "version", "request_id", "outcome", "cold", "init_ms", "duration_ms", "billed_ms",
		"memory_mb", "ephemeral_storage_mb", "architecture",
	}
	row := func(i lambentapi.Invocation) []string {
		return []string{
			i.Start, i.Function, i.Version, i.RequestID, i.Outcome, strconv.FormatBool(i.Cold),
			strconv.FormatFloat(i.InitMs, 'f', 2, 64), strconv.FormatFloat(i.DurationMs, 'f', 2, 64), strconv.FormatInt(i.BilledMs, 10),
			strconv.FormatInt(i.Memory, 10), strconv.FormatInt(i.EphemeralStorage, 10), i.Architecture,
		}
	}
	if format == "csv" {
		out := csv.NewWriter(w)
		err := out.Write(head)
		return func(i lambentapi.Invocation) error { return cmp.Or(err, out.Write(row(i))) },
			func() error { out.Flush(); return cmp.Or(err, out.Error()) }
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(t, strings.ToUpper(strings.Join(head, "\t")))
	return func(i lambentapi.Invocation) error {
		_, werr := fmt.Fprintln(t, strings.Join(row(i), "\t"))
		return cmp.Or(err, werr)
	}, t.Flush
}
