package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/statedir"
)

// addSettings defines one flag for each setting that a command takes, all if names is empty.
func addSettings(c *cobra.Command, names ...string) {
	c.Flags().String("config", "", "YAML `FILE` of settings, by the flags' names (LAMBENT_CONFIG)")
	for _, s := range config.Settings() {
		if len(names) == 0 || contains(names, s.Name) {
			c.Flags().String(s.Name, s.Default(), s.Help+" ("+s.Env()+")")
		}
	}
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// loadSettings makes the configuration from the file, the environment and the flags given.
func loadSettings(c *cobra.Command) (config.Config, error) {
	flags := map[string]string{}
	c.Flags().Visit(func(f *pflag.Flag) { flags[f.Name] = f.Value.String() })
	file, ok := flags["config"]
	if !ok {
		file = os.Getenv("LAMBENT_CONFIG")
	}
	return config.Load(file, os.LookupEnv, flags)
}

// logger makes the server's own log.
func logger(w io.Writer, c config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // unreachable: config has validated it
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// owner is the user the credentials are for: the one behind sudo, else this one.
func owner() (statedir.Owner, error) {
	o := statedir.Owner{UID: os.Getuid(), GID: os.Getgid()}
	uid, gid := os.Getenv("SUDO_UID"), os.Getenv("SUDO_GID")
	if os.Geteuid() != 0 || uid == "" || gid == "" {
		return o, nil
	}
	var err error
	if o.UID, err = strconv.Atoi(uid); err != nil {
		return o, fmt.Errorf("SUDO_UID: %w", err)
	}
	if o.GID, err = strconv.Atoi(gid); err != nil {
		return o, fmt.Errorf("SUDO_GID: %w", err)
	}
	return o, nil
}
