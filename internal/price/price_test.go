package price_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent/internal/price"
)

func near(got, want float64) bool { return math.Abs(got-want) < 0.005 }

// TestCost: worked examples; the first is of AWS's pricing page.
func TestCost(t *testing.T) {
	free := *price.Default()
	free.FreeRequests, free.FreeGBSeconds = 1e6, 400_000
	for _, test := range []struct {
		name         string
		table        *price.Table
		architecture string
		usage        price.Usage
		want         float64
	}{
		{"AWS: 3 M x 120 ms x 1536 MB", &free, "x86_64", price.Usage{Requests: 3e6, GBSeconds: 3e6 * 0.120 * 1.5}, 2.73},
		{"without the free tier", price.Default(), "x86_64", price.Usage{Requests: 3e6, GBSeconds: 540_000}, 0.60 + 9.000018},
		{"arm64", price.Default(), "arm64", price.Usage{Requests: 1e6, GBSeconds: 1e6}, 0.20 + 13.3334},
		{"storage", price.Default(), "x86_64", price.Usage{StorageGBSeconds: 1e9}, 30.9},
		{"all within the free tier", &free, "arm64", price.Usage{Requests: 1e6, GBSeconds: 400_000}, 0},
		{"end of tier 1", price.Default(), "x86_64", price.Usage{GBSeconds: 6e9}, 100_000.2},
		{"tier 2", price.Default(), "x86_64", price.Usage{GBSeconds: 7e9}, 115_000.2},
		{"tier 3", price.Default(), "x86_64", price.Usage{GBSeconds: 16e9}, 100_000.2 + 135_000 + 13_333.4},
		{"arm tier 3", price.Default(), "arm64", price.Usage{GBSeconds: 19.75e9}, 7.5e9*0.0000133334 + 11.25e9*0.0000120001 + 1e9*0.0000106667},
		{"nothing", price.Default(), "x86_64", price.Usage{}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			rates, err := test.table.Month(map[string]price.Usage{test.architecture: test.usage})
			if err != nil {
				t.Fatal(err)
			}
			if got := rates.Cost(test.architecture, test.usage); !near(got, test.want) {
				t.Errorf("cost %v, want %v", got, test.want)
			}
		})
	}
}

// TestParts: the parts of a month add up to its bill, across tiers and architectures.
func TestParts(t *testing.T) {
	table := *price.Default()
	table.FreeRequests, table.FreeGBSeconds = 1e6, 400_000
	month := map[string]price.Usage{"x86_64": {Requests: 9e6, GBSeconds: 8e9}, "arm64": {Requests: 1e6, GBSeconds: 2e9}}
	rates, err := table.Month(month)
	if err != nil {
		t.Fatal(err)
	}
	whole := rates.Cost("x86_64", month["x86_64"]) + rates.Cost("arm64", month["arm64"])
	parts := rates.Cost("arm64", month["arm64"])
	for range 1000 {
		parts += rates.Cost("x86_64", price.Usage{Requests: 9000, GBSeconds: 8e6})
	}
	if math.Abs(parts/whole-1) > 1e-12 {
		t.Errorf("parts %v, whole %v", parts, whole)
	}
	if _, err := table.Month(map[string]price.Usage{"riscv": {Requests: 1}}); err == nil {
		t.Error("an unknown architecture is free")
	}
}

func TestLoad(t *testing.T) {
	if d := price.Default(); d.Currency != "USD" || d.Date == "" || !strings.Contains(d.Source, "us-east-1") {
		t.Errorf("%+v", d)
	}
	file := filepath.Join(t.TempDir(), "prices.json")
	for _, test := range []struct{ text, want string }{
		{`{"currency":"EUR","perGBSecond":{"x86_64":[{"price":1}]}}`, ""},
		{`{"currency":"EUR","perGBSecond":{"x86_64":[{"price":1}]},"perMilionRequests":1}`, "unknown field"},
		{`{"currency":"EUR","perGBSecond":{"x86_64":[{"price":1}]}} x`, "behind it"},
		{`{"perGBSecond":{"x86_64":[{"price":1}]}}`, "no currency"},
		{`{"currency":"EUR"}`, "no perGBSecond"},
		{`{"currency":"EUR","perGBSecond":{"x86_64":[]}}`, "no tier"},
		{`{"currency":"EUR","perGBSecond":{"x86_64":[{"price":-1}]}}`, "negative"},
		{`{"currency":"EUR","perGBSecond":{"x86_64":[{"price":1}]},"freeRequests":-1}`, "negative"},
		{`{"currency":"EUR","perGBSecond":{"x86_64":[{"price":1,"upTo":5}]}}`, "last tier"},
		{`{"currency":"EUR","perGBSecond":{"x86_64":[{"price":1,"upTo":5},{"price":1,"upTo":5},{"price":1}]}}`, "do not rise"},
	} {
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := price.Load(file)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.text, err, test.want)
		}
	}
	if _, err := price.Load(file + "x"); err == nil {
		t.Error("a table that does not exist")
	}
}
