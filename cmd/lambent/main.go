// Command lambent is a serverless region in one binary: `lambent serve` runs Lambda functions
// on this machine behind AWS's own APIs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/sandbox/reaper"
)

// version is set by the linker.
var version = "devel"

func main() {
	if len(os.Args) > 1 && os.Args[1] == reaper.Command {
		os.Exit(reaper.Main(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the next signal ends the process, whatever still goes on
	if err := root().ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "lambent:", err)
		}
		os.Exit(1)
	}
}

// errReported ends the process with a failure that was already explained.
var errReported = errors.New("reported")

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "lambent",
		Short: "your own serverless region",
		Long: `Lambent is your own serverless region: it runs AWS Lambda functions on this machine,
in gVisor sandboxes, behind AWS's own APIs. The AWS CLI and SDKs work against it unchanged.

Start a region (as root, because sandboxes need namespaces and control groups):

  sudo lambent serve

It prints two lines to export; with them in your shell, in another terminal:

  aws sts get-caller-identity
  aws lambda list-functions

Is this machine fit for it?  sudo lambent doctor`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.AddCommand(serveCommand(), versionCommand(), doctorCommand(), runtimesCommand(), topCommand(), usageCommand(), keysCommand(), backupCommand(), restoreCommand())
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		Run:   func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), "lambent", version) },
	}
}
