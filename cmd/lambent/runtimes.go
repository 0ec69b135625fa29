package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/runtimes"
)

func runtimesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "runtimes",
		Short: "list, build, import and export the managed runtimes' images",
		Long: `A managed runtime (python3.13, nodejs22.x, ...) is an OCI image. AWS's own base images serve
where their registry can be reached; the ones built here, from ordinary packages, serve anywhere.
They are kept in an OCI layout, by default STATE/layout.`,
	}
	c.AddCommand(runtimesList(), runtimesBuild(), runtimesExport(), runtimesImport())
	return c
}

// layout is the directory of images that the settings name.
func layout(c *cobra.Command) (string, error) {
	settings, err := loadSettings(c)
	return settings.Runtimes, err
}

func runtimesList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "list the images that are here or can be built", Args: cobra.NoArgs}
	addSettings(c, "state-dir", "runtimes")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		dir, err := layout(c)
		if err != nil {
			return err
		}
		all, err := runtimes.List(runtimes.Options{LayoutDir: dir})
		if err != nil {
			return err
		}
		if *asJSON {
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(all)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RUNTIME\tIMAGE\tSIZE\tBUILT")
		for _, s := range all {
			state, size, built := "not built", "", ""
			if s.Present {
				state, size, built = "here", fmt.Sprintf("%d MB", s.Size>>20), s.Created.Format("2006-01-02 15:04")
				if !s.Current {
					state = "here, of another recipe"
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, state, size, built)
		}
		return w.Flush()
	}
	return c
}

func runtimesBuild() *cobra.Command {
	c := &cobra.Command{
		Use:   "build [RUNTIME...]",
		Short: "build images from ordinary packages (all of the default set if none is named)",
		Long: `Builds images from Debian, PyPI and npm packages, through this machine's own configuration of
apt, pip and npm. An image that is here already, made by the same recipe, is left.`,
		Example: "  sudo lambent runtimes build\n  sudo lambent runtimes build python3.14",
	}
	addSettings(c, "state-dir", "runtimes")
	force := c.Flags().Bool("force", false, "build what is here already, for newer packages")
	c.RunE = func(c *cobra.Command, names []string) error {
		dir, err := layout(c)
		if err != nil {
			return err
		}
		return runtimes.Build(c.Context(), runtimes.Options{Names: names, LayoutDir: dir, Force: *force, Progress: c.OutOrStdout()})
	}
	return c
}

func runtimesExport() *cobra.Command {
	c := &cobra.Command{
		Use:     "export FILE [RUNTIME...]",
		Short:   "write images to a tar archive, for a machine without a network (- is standard output)",
		Example: "  lambent runtimes export runtimes.tar python3.13",
		Args:    cobra.MinimumNArgs(1),
	}
	addSettings(c, "state-dir", "runtimes")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		dir, err := layout(c)
		if err != nil {
			return err
		}
		var w io.Writer = c.OutOrStdout()
		if args[0] != "-" {
			f, err := os.Create(args[0])
			if err != nil {
				return err
			}
			defer func() {
				if cerr := f.Close(); err == nil {
					err = cerr
				}
			}()
			w = f
		}
		return runtimes.Export(c.Context(), dir, args[1:], w)
	}
	return c
}

func runtimesImport() *cobra.Command {
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "read images from an archive that export wrote (- is standard input)",
		Args:  cobra.ExactArgs(1),
	}
	addSettings(c, "state-dir", "runtimes")
	c.RunE = func(c *cobra.Command, args []string) error {
		dir, err := layout(c)
		if err != nil {
			return err
		}
		var r io.Reader = c.InOrStdin()
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			r = f
		}
		names, err := runtimes.Import(c.Context(), dir, r)
		for _, n := range names {
			fmt.Fprintln(c.OutOrStdout(), n)
		}
		return err
	}
	return c
}
