package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func none(string) (string, bool) { return "", false }

func TestLoadOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lambent.yaml")
	if err := os.WriteFile(file, []byte("region: eu-west-1\naccount: 111122223333\ndrain: 1s\negress-allow: [10.0.0.0/8, 192.168.1.0/24:5432]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(k string) (string, bool) {
		v, ok := map[string]string{"LAMBENT_DRAIN": "2s", "LAMBENT_LISTEN": "127.0.0.1:1"}[k]
		return v, ok
	}
	c, err := Load(file, env, map[string]string{"listen": "127.0.0.1:2"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Region != "eu-west-1" || c.Account != "111122223333" || c.Drain != 2*time.Second || c.Listen != "127.0.0.1:2" {
		t.Errorf("got %+v", c)
	}
	if got := strings.Join(c.EgressAllow, " "); got != "10.0.0.0/8 192.168.1.0/24:5432" {
		t.Errorf("egress-allow: %s", got)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, value := range map[string]string{
		"listen": "0.0.0.0:4566", "region": "Mars", "account": "12", "drain": "soon",
		"log-level": "loud", "log-format": "xml", "egress-allow": "10.0.0.0", "idle-timeout": "31m", "concurrency": "0",
		"logs-max": "1000", "disk-low": "-1MiB",
	} {
		_, err := Load("", none, map[string]string{name: value})
		if err == nil || !strings.Contains(err.Error(), "--"+name) {
			t.Errorf("%s=%s: %v, want an error that names the flag", name, value, err)
		}
	}
}

func TestConcurrency(t *testing.T) {
	for value, want := range map[string]string{"some": `"some" is not a number`, "-1": "not between 1 and", "3000000000": "not between 1 and"} {
		if _, err := Load("", none, map[string]string{"concurrency": value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", value, err, want)
		}
	}
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("concurrency: 25\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(file, none, nil); err != nil || c.Concurrency != 25 {
		t.Errorf("of a file: %d, %v; want 25", c.Concurrency, err)
	}
	if c, err := Load("", none, nil); err != nil || c.Concurrency != 1000 {
		t.Errorf("by default: %d, %v; want 1000", c.Concurrency, err)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1048576": 1 << 20, "20MiB": 20 << 20, "3GiB": 3 << 30, "1TiB": 1 << 40} {
		c, err := Load("", none, map[string]string{"logs-max": text})
		if err != nil || c.LogsMax != want {
			t.Errorf("%s: %d, %v; want %d", text, c.LogsMax, err, want)
		}
		if again, err := parseSize(formatSize(want)); want != 0 && (err != nil || again != want) {
			t.Errorf("%d as text is %q", want, formatSize(want))
		}
	}
	for _, text := range []string{"", "many", "10GB", "1.5GiB", "-1", "9999999TiB", "GiB"} {
		if _, err := Load("", none, map[string]string{"logs-max": text}); err == nil || !strings.Contains(err.Error(), "is not a size") {
			t.Errorf("%q: %v, want a refusal", text, err)
		}
	}
}

func TestUnknownKeyInFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("colour: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file, none, nil); err == nil || !strings.Contains(err.Error(), "colour is not a setting") {
		t.Errorf("got %v", err)
	}
}
