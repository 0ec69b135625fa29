package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/node"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "start a region on this machine",
		Long: `Starts a region: AWS's Lambda, IAM, STS and CloudWatch Logs APIs on one port, functions in
gVisor sandboxes below. No configuration is needed; everything is kept in the state directory.

The first start makes an account and a root access key. Use them by the two lines that it
prints, or by copying STATE/credentials into your own files. Ctrl-C or SIGTERM lets
invocations in flight finish (--drain) and stops; a second one ends it at once. The next start
brings everything back.

Every flag may also be set by the environment variable in brackets or, under its own name,
in the YAML file that --config names. Flags win over the environment, that over the file.`,
		Example: `  sudo lambent serve
  sudo lambent serve --state-dir /srv/lambent --listen 127.0.0.1:8080 --log-format json
  sudo lambent serve --egress-allow 10.1.2.0/24:5432 --dns 10.1.2.3`,
		Args: cobra.NoArgs,
		RunE: serve,
	}
	addSettings(c)
	return c
}

// widen lets more threads run Go code than there are cores: one more for each start of a sandbox that
// may be under way. A fork keeps its place among them while it waits for the kernel, which may be
// long on a machine full of code that forks and exits, and who has an answer must not wait for it
// (docs/decisions/0010). An operator's GOMAXPROCS stands.
func widen() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.NumCPU())
	}
}

func serve(c *cobra.Command, _ []string) error {
	settings, err := loadSettings(c)
	if err != nil {
		return err
	}
	o, err := owner()
	if err != nil {
		return err
	}
	widen()
	n, err := node.Open(c.Context(), node.Options{
		Config:  settings,
		Owner:   o,
		Version: version,
		Logger:  logger(c.ErrOrStderr(), settings),
	})
	if err != nil {
		return err
	}
	context.AfterFunc(c.Context(), func() { fmt.Fprintln(c.ErrOrStderr(), "stopping; once more ends it at once") })
	out := c.OutOrStdout()
	return n.Run(c.Context(), func(url string) {
		fmt.Fprintf(out, "export AWS_CONFIG_FILE=%s AWS_SHARED_CREDENTIALS_FILE=%s\n",
			filepath.Join(settings.StateDir, "config"), filepath.Join(settings.StateDir, "credentials"))
		fmt.Fprintln(out, "export AWS_PROFILE=lambent")
		fmt.Fprintln(out, "ready", url)
	})
}
