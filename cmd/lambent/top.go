package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
)

func topCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "top",
		Short: "watch a region live: functions, environments, rates, memory, queue",
		Long: `Shows what a region does, anew every second. Keys: r sorts by rate, e by errors, t by throttles,
m by memory, d by mean duration, v by environments, n by name, the same key again turns the order
around; up, down, page up and page down move; q leaves.

Rates are of the time between two looks; the other numbers since the server started. A function is
listed from its first invocation on.
` + clientHelp,
		Example: "  sudo lambent top\n  lambent top --once --json | jq '.Functions[].Name'",
		Args:    cobra.NoArgs,
	}
	addSettings(c, "state-dir")
	every := c.Flags().Duration("every", time.Second, "how often to look, a `DURATION`")
	once := c.Flags().Bool("once", false, "print one look as text and end; no terminal is needed")
	asJSON := c.Flags().Bool("json", false, "with --once, print JSON")
	order := c.Flags().String("sort", "rate", "sort by `COLUMN`: rate, errors, throttles, memory, duration, environments or name")
	c.RunE = func(c *cobra.Command, _ []string) error {
		column, ok := columnNamed(*order)
		switch {
		case !ok:
			return fmt.Errorf("--sort: %q is no column", *order)
		case *asJSON && !*once:
			return fmt.Errorf("--json needs --once")
		case *every < 100*time.Millisecond:
			return fmt.Errorf("--every: at least 100ms")
		}
		r, err := regionOf(c)
		if err != nil {
			return err
		}
		look := func() (a lambentapi.GetActivityOutput, err error) {
			ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
			defer cancel()
			return a, r.call(ctx, "GetActivity", lambentapi.GetActivityInput{}, &a)
		}
		m := newTop(look, *every, column)
		if *once {
			return topOnce(c, m, *asJSON)
		}
		_, err = tea.NewProgram(m, tea.WithContext(c.Context()), tea.WithInput(c.InOrStdin()), tea.WithOutput(c.OutOrStdout())).Run()
		if c.Context().Err() != nil {
			return nil // Ctrl-C is a way to leave
		}
		return err
	}
	return c
}

// topOnce prints one look. As text it is two, because rates need a time between them.
func topOnce(c *cobra.Command, m topModel, asJSON bool) error {
	a, err := m.look()
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(c.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(a)
	}
	m = m.seen(a)
	t := time.NewTimer(m.every)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.Context().Done():
		return c.Context().Err()
	}
	if a, err = m.look(); err != nil {
		return err
	}
	m = m.seen(a)
	m.plain, m.width, m.height = true, 200, len(m.rows)+headLines+1
	fmt.Fprint(c.OutOrStdout(), m.render())
	return nil
}
