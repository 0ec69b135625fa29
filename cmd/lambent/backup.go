package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
	"lambent.dev/lambent/internal/backup"
	"lambent.dev/lambent/internal/config"
)

func backupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "save a running region to one file (- is standard output)",
		Long: `Saves everything a region knows, while it runs: functions with their code, users, roles,
policies, keys, log events, usage, events that have not run yet. What can be made again from it
(images, unpacked code) and the runtimes' images are left out: lambent runtimes export.

The file holds the keys of the region and the root user's secret: it is made 0600, keep it as you
keep those. Only the root user may make one. It is verified as it is written and has its name only
when it is whole.
` + clientHelp,
		Example: "  sudo lambent backup /backup/lambent-$(date +%F).tar.zst",
		Args:    cobra.ExactArgs(1),
	}
	addSettings(c, "state-dir")
	c.RunE = func(c *cobra.Command, args []string) error {
		r, err := regionOf(c)
		if err != nil {
			return err
		}
		if args[0] == "-" {
			_, err := saveBackup(c.Context(), r, c.OutOrStdout())
			return err
		}
		h, size, err := backupTo(c.Context(), r, args[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: region %s, account %s, %d bytes; it holds the region's keys\n", args[0], h.Region, h.Account, size)
		return nil
	}
	return c
}

// backupTo makes the file, under another name until it is whole and on disk.
func backupTo(ctx context.Context, r *regionClient, name string) (h backup.Header, size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // 0600
	if err != nil {
		return h, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if h, err = saveBackup(ctx, r, f); err != nil {
		return h, 0, err
	}
	if size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return h, 0, err
	}
	if err := f.Sync(); err != nil {
		return h, 0, err
	}
	return h, size, os.Rename(f.Name(), name)
}

// saveBackup writes a backup and verifies what it writes.
func saveBackup(ctx context.Context, r *regionClient, to io.Writer) (backup.Header, error) {
	body, err := r.open(ctx, "CreateBackup", lambentapi.CreateBackupInput{})
	if err != nil {
		return backup.Header{}, err
	}
	defer body.Close()
	h, err := backup.Verify(ctx, io.TeeReader(body, to))
	if errors.Is(err, backup.ErrDamaged) {
		err = fmt.Errorf("the region broke off, its log says why (%w)", err)
	}
	return h, err
}

func restoreCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "make a state directory of a backup (- is standard input)",
		Long: `Makes the state directory that a backup was taken of, as --state-dir: one that does not exist or is
empty. It appears when the whole backup was verified and is on disk; one that was cut or changed,
or that a newer Lambent wrote, is refused and leaves nothing.

Serve it under the same region name, because ARNs have it; the command says which. Events that had
not run when the backup was made run then, also those that have run since. Do not serve original
and copy to the same clients.`,
		Example: `  sudo lambent restore /backup/lambent-2026-11-25.tar.zst --state-dir /var/lib/lambent
  sudo systemctl start lambent`,
		Args: cobra.ExactArgs(1),
	}
	addSettings(c, "state-dir", "log-format", "log-level")
	c.RunE = func(c *cobra.Command, args []string) error {
		settings, err := loadSettings(c)
		if err != nil {
			return err
		}
		return restore(c, settings, args[0])
	}
	return c
}

func restore(c *cobra.Command, settings config.Config, name string) error {
	from := c.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	h, err := backup.Restore(c.Context(), backup.RestoreConfig{Dir: settings.StateDir, Logger: logger(c.ErrOrStderr(), settings)}, from)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: account %s as of %s; start it with:\n  lambent serve --state-dir %s --region %s\n",
		settings.StateDir, h.Account, h.Created.Format("2006-01-02 15:04:05 MST"), settings.StateDir, h.Region)
	return nil
}
