// Package config is the configuration of a server: one struct, made from defaults, a file,
// the environment and flags, in that order of strength. cmd reads it, node splits it into
// the small Config of each component; no other package reads the environment.
package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Config is what an operator may set.
type Config struct {
	Listen      string        // host:port of the region's one listener
	StateDir    string        // everything the server keeps; absolute
	Runtimes    string        // directory of the managed runtimes' images and the operator's table.json; empty: STATE/layout
	Region      string        // the region's name, an AWS-style name such as us-east-1
	Account     string        // 12 digits; empty: made at the first start and kept
	EgressAllow []string      // CIDR[:port,port...] of private ranges that code may reach
	DNS         []string      // upstream resolvers as host or host:port; empty: the host's
	Drain       time.Duration // how long a stopping server waits for invocations in flight
	IdleTimeout time.Duration // how long an unused environment is kept at most
	Concurrency int           // how many invocations an account runs at the same time
	LogsMax     int64         // bytes of disk that log events take at most; 0: by the size of the disk
	DiskLow     int64         // free bytes of the state directory's disk below which it is full; 0: by its size
	Prices      string        // file with the prices of usage; empty: AWS's
	LogFormat   string        // text or json
	LogLevel    string        // debug, info, warn or error
}

// Default is the configuration of a server that was told nothing.
func Default() Config {
	return Config{
		Listen:      "127.0.0.1:4566",
		StateDir:    "/var/lib/lambent",
		Region:      "us-east-1",
		Drain:       15 * time.Second,
		IdleTimeout: 30 * time.Minute,
		Concurrency: 1000, // AWS: an account's default
		LogFormat:   "text",
		LogLevel:    "info",
	}
}

// A Setting is one value an operator may give, by flag, environment variable or file.
type Setting struct {
	Name string // the flag's name and the file's key
	Help string
	set  func(*Config, string) error
	get  func(Config) string
}

// Env is the setting's environment variable: LAMBENT_STATE_DIR for state-dir.
func (s Setting) Env() string {
	return "LAMBENT_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Default is the setting's default, as text.
func (s Setting) Default() string { return s.get(Default()) }

// Settings lists every setting, in the order that help shows them.
func Settings() []Setting {
	return []Setting{
		text("listen", "address to listen on, `HOST:PORT` (loopback only: TLS is not here yet)", func(c *Config) *string { return &c.Listen }),
		text("state-dir", "`DIR` for everything the region keeps (0700)", func(c *Config) *string { return &c.StateDir }),
		text("runtimes", "`DIR` of the managed runtimes' images (default: layout in the state directory)", func(c *Config) *string { return &c.Runtimes }),
		text("region", "the region's `NAME`", func(c *Config) *string { return &c.Region }),
		text("account", "12-digit account `ID` (default: made at the first start)", func(c *Config) *string { return &c.Account }),
		list("egress-allow", "private ranges that code may reach, `CIDR[:PORT]`, comma-separated", func(c *Config) *[]string { return &c.EgressAllow }),
		list("dns", "upstream DNS `SERVERS`, comma-separated (default: the host's)", func(c *Config) *[]string { return &c.DNS }),
		span("drain", "how long to let invocations finish when stopping, a `DURATION`", func(c *Config) *time.Duration { return &c.Drain }),
		span("idle-timeout", "keep an unused environment at most this `DURATION`", func(c *Config) *time.Duration { return &c.IdleTimeout }),
		number("concurrency", "how many invocations an account runs at the same time, a `NUMBER`", func(c *Config) *int { return &c.Concurrency }),
		size("logs-max", "disk space of log events, a `SIZE` such as 20GiB; the oldest make room (default: a tenth of the disk, at most 10GiB)", func(c *Config) *int64 { return &c.LogsMax }),
		size("disk-low", "free disk space below which new code, logs and events are refused, a `SIZE` (default: a twentieth of the disk, 256MiB to 1GiB)", func(c *Config) *int64 { return &c.DiskLow }),
		text("prices", "JSON `FILE` with the prices of what runs (default: AWS's of us-east-1)", func(c *Config) *string { return &c.Prices }),
		text("log-format", "`FORMAT` of the server's own log: text or json", func(c *Config) *string { return &c.LogFormat }),
		text("log-level", "`LEVEL` of the server's own log: debug, info, warn or error", func(c *Config) *string { return &c.LogLevel }),
	}
}

func text(name, help string, field func(*Config) *string) Setting {
	return Setting{name, help,
		func(c *Config, v string) error { *field(c) = v; return nil },
		func(c Config) string { return *field(&c) }}
}

func list(name, help string, field func(*Config) *[]string) Setting {
	return Setting{name, help,
		func(c *Config, v string) error {
			*field(c) = nil
			for _, item := range strings.Split(v, ",") {
				if item = strings.TrimSpace(item); item != "" {
					*field(c) = append(*field(c), item)
				}
			}
			return nil
		},
		func(c Config) string { return strings.Join(*field(&c), ",") }}
}

func span(name, help string, field func(*Config) *time.Duration) Setting {
	return Setting{name, help,
		func(c *Config, v string) (err error) { *field(c), err = time.ParseDuration(v); return err },
		func(c Config) string { return field(&c).String() }}
}

func number(name, help string, field func(*Config) *int) Setting {
	return Setting{name, help,
		func(c *Config, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil {
				return fmt.Errorf("%q is not a number", v)
			}
			*field(c) = n
			return nil
		},
		func(c Config) string { return strconv.Itoa(*field(&c)) }}
}

// size is a number of bytes, with a unit or without.
func size(name, help string, field func(*Config) *int64) Setting {
	return Setting{name, help,
		func(c *Config, v string) (err error) { *field(c), err = parseSize(v); return err },
		func(c Config) string { return formatSize(*field(&c)) }}
}

var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func parseSize(text string) (int64, error) {
	digits, unit := text, int64(1)
	for _, u := range units {
		if d, ok := strings.CutSuffix(text, u.name); ok {
			digits, unit = d, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size, such as 512MiB", text)
	}
	return n * unit, nil
}

// formatSize is the shortest text of a size; none for zero, which stands for "by itself".
func formatSize(n int64) string {
	if n == 0 {
		return ""
	}
	for _, u := range units {
		if n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// minLogs is the smallest budget of log events.
const minLogs = 1 << 20

// Load makes a configuration: defaults, then the YAML file at path (none if empty), then the
// environment, then flags. Unknown keys of the file are errors. The result is valid.
func Load(path string, env func(string) (string, bool), flags map[string]string) (Config, error) {
	c := Default()
	file, err := readFile(path)
	if err != nil {
		return c, err
	}
	for _, s := range Settings() {
		if v, ok := file[s.Name]; ok {
			if err := s.set(&c, v); err != nil {
				return c, fmt.Errorf("%s: %s: %w", path, s.Name, err)
			}
			delete(file, s.Name)
		}
		if v, ok := env(s.Env()); ok {
			if err := s.set(&c, v); err != nil {
				return c, fmt.Errorf("%s: %w", s.Env(), err)
			}
		}
		if v, ok := flags[s.Name]; ok {
			if err := s.set(&c, v); err != nil {
				return c, fmt.Errorf("--%s: %w", s.Name, err)
			}
		}
	}
	for name := range file {
		return c, fmt.Errorf("%s: %s is not a setting", path, name)
	}
	if c.StateDir, err = filepath.Abs(c.StateDir); err != nil {
		return c, fmt.Errorf("--state-dir: %w", err)
	}
	if c.Runtimes == "" {
		c.Runtimes = filepath.Join(c.StateDir, "layout")
	}
	return c, c.Validate()
}

// readFile gives a YAML file's keys as text; a list becomes comma-separated text.
func readFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	var raw map[string]any
	if err := yaml.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := map[string]string{}
	for k, v := range raw {
		switch v := v.(type) {
		case []any:
			items := make([]string, len(v))
			for i := range v {
				items[i] = fmt.Sprint(v[i])
			}
			out[k] = strings.Join(items, ",")
		case float64:
			out[k] = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			out[k] = fmt.Sprint(v)
		}
	}
	return out, nil
}

var (
	regionPattern  = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]$`)
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
)

// Validate reports the first setting that cannot be served, by the name of its flag.
func (c Config) Validate() error {
	if err := validListen(c.Listen); err != nil {
		return err
	}
	switch {
	case !regionPattern.MatchString(c.Region):
		return fmt.Errorf("--region: %q is not a region's name, such as us-east-1", c.Region)
	case c.Account != "" && !accountPattern.MatchString(c.Account):
		return fmt.Errorf("--account: %q is not 12 digits", c.Account)
	case c.Drain < 0:
		return fmt.Errorf("--drain: %s is negative", c.Drain)
	case c.IdleTimeout <= 0 || c.IdleTimeout > 30*time.Minute:
		return fmt.Errorf("--idle-timeout: %s is not between 0 and 30m", c.IdleTimeout)
	case c.Concurrency < 1 || c.Concurrency > math.MaxInt32:
		return fmt.Errorf("--concurrency: %d is not between 1 and %d", c.Concurrency, math.MaxInt32)
	case c.LogsMax < 0 || c.LogsMax > 0 && c.LogsMax < minLogs:
		return fmt.Errorf("--logs-max: %d is less than %d bytes", c.LogsMax, minLogs)
	case c.DiskLow < 0:
		return fmt.Errorf("--disk-low: %d is negative", c.DiskLow)
	case !slices.Contains([]string{"text", "json"}, c.LogFormat):
		return fmt.Errorf("--log-format: %q is neither text nor json", c.LogFormat)
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel):
		return fmt.Errorf("--log-level: %q is not debug, info, warn or error", c.LogLevel)
	}
	for _, r := range c.EgressAllow {
		cidr, _, _ := strings.Cut(r, ":")
		if _, err := netip.ParsePrefix(cidr); err != nil {
			return fmt.Errorf("--egress-allow: %q is not CIDR[:PORT]", r)
		}
	}
	return nil
}

// validListen refuses addresses beyond loopback: the protocol is plain HTTP until the region
// serves TLS, and signatures protect requests but no answers.
func validListen(listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("--listen: %q is not HOST:PORT", listen)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("--listen: %q is not a port", port)
	}
	if host == "localhost" {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return fmt.Errorf("--listen: %q is not a loopback address; serving others needs TLS, which is not here yet: put a TLS proxy in front", listen)
	}
	return nil
}
