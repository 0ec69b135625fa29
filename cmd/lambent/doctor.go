package main

import (
	"context"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/doctor"
	"lambent.dev/lambent/internal/runtimes"
)

func doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "tell what this machine can carry, and what mends what it lacks",
		Long: `Tries what a region needs, on this machine, and takes it away again: privileges, control
groups, namespaces, firewall rules, a sandbox's way out, disk, memory, runtimes. Each finding
that is not OK names the command that mends it. Exits with 1 if a region cannot run here.`,
		Args: cobra.NoArgs,
	}
	addSettings(c, "state-dir", "listen", "egress-allow", "dns", "runtimes")
	probe := c.Flags().String("probe", doctor.DefaultProbe, "`HOST:PORT` that a sandbox must be able to reach")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		settings, err := loadSettings(c)
		if err != nil {
			return err
		}
		findings := doctor.Check(c.Context(), doctor.Config{
			StateDir: settings.StateDir, Listen: settings.Listen, EgressAllow: settings.EgressAllow, DNS: settings.DNS, Probe: *probe,
			Runtimes: func(context.Context) ([]string, error) { return present(settings) },
		})
		show := doctor.Table
		if *asJSON {
			show = doctor.JSON
		}
		if err := show(c.OutOrStdout(), findings); err != nil {
			return err
		}
		if doctor.Worst(findings) == doctor.Fail {
			return errReported
		}
		return nil
	}
	return c
}

// present lists the runtimes whose images are in the layout.
func present(settings config.Config) ([]string, error) {
	all, err := runtimes.List(runtimes.Options{LayoutDir: settings.Runtimes})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range all {
		if s.Present {
			names = append(names, s.Name)
		}
	}
	return names, nil
}
