// Package price turns usage into money by a table that is a data file.
//
// The default table is AWS's for us-east-1; an operator gives another one. Prices fall in tiers by
// the GB-seconds of a month, per architecture, and a month may begin with some that are free. So
// what a part of a month costs follows from the whole month: Month computes the rates that its
// usage comes to, and every part is charged at them. The parts of a month add up to its bill.
//
// A Table is immutable; everything is safe for concurrent use. Amounts are floating-point numbers
// of the table's currency, exact to far more digits than a price has.
package price

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
)

//go:embed aws.json
var aws []byte

// Table is what things cost.
type Table struct {
	Source   string `json:"source"` // where the prices are from
	Date     string `json:"date"`   // of the source
	Currency string `json:"currency"`

	PerMillionRequests float64           `json:"perMillionRequests"`
	PerGBSecond        map[string][]Tier `json:"perGBSecond"` // by architecture
	PerStorageGBSecond float64           `json:"perStorageGBSecond"`

	FreeRequests  float64 `json:"freeRequests"`  // of a month
	FreeGBSeconds float64 `json:"freeGBSeconds"` // of a month, of all architectures together
}

// Tier is the price of the GB-seconds of a month up to a bound; the last has none.
type Tier struct {
	UpTo  float64 `json:"upTo,omitempty"`
	Price float64 `json:"price"`
}

// Default is AWS's table.
func Default() *Table {
	t, err := Parse(aws)
	if err != nil {
		panic(fmt.Sprintf("price: the built-in table: %v", err))
	}
	return t
}

// Load reads the table in a file; without a name it is the default.
func Load(path string) (*Table, error) {
	if path == "" {
		return Default(), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the price table: %w", err)
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Parse reads a table. Members it does not know are errors: a price that is misspelt is not zero.
func Parse(data []byte) (*Table, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var t Table
	if err := d.Decode(&t); err != nil {
		return nil, fmt.Errorf("price table: %w", err)
	}
	if d.More() {
		return nil, errors.New("price table: something stands behind it")
	}
	return &t, t.validate()
}

func (t *Table) validate() error {
	if t.Currency == "" {
		return errors.New("price table: no currency")
	}
	if len(t.PerGBSecond) == 0 {
		return errors.New("price table: no perGBSecond")
	}
	if min(t.PerMillionRequests, t.PerStorageGBSecond, t.FreeRequests, t.FreeGBSeconds) < 0 {
		return errors.New("price table: a number is negative")
	}
	for architecture, tiers := range t.PerGBSecond {
		last := 0.0
		for i, tier := range tiers {
			switch open := i == len(tiers)-1; {
			case tier.Price < 0:
				return fmt.Errorf("price table: %s: a price is negative", architecture)
			case open && tier.UpTo != 0:
				return fmt.Errorf("price table: %s: the last tier has a bound", architecture)
			case !open && tier.UpTo <= last:
				return fmt.Errorf("price table: %s: the bounds of tiers do not rise", architecture)
			}
			last = tier.UpTo
		}
		if len(tiers) == 0 {
			return fmt.Errorf("price table: %s: no tier", architecture)
		}
	}
	return nil
}

// Usage is what is charged.
type Usage struct {
	Requests         int64
	GBSeconds        float64 // 1 GB is 1,024 MB
	StorageGBSeconds float64 // of /tmp beyond what is free
}

// Rates are the prices that a month's usage comes to.
type Rates struct {
	request, storage float64
	duration         map[string]float64
}

// Month computes the rates of a month from all of an account's usage in it, by architecture. An
// architecture that the table does not have is an error: nothing is free by accident.
func (t *Table) Month(usage map[string]Usage) (Rates, error) {
	var requests, all float64
	for architecture, u := range usage {
		if t.PerGBSecond[architecture] == nil {
			return Rates{}, fmt.Errorf("the price table has no prices of %q", architecture)
		}
		requests += float64(u.Requests)
		all += u.GBSeconds
	}
	r := Rates{duration: map[string]float64{}, storage: t.PerStorageGBSecond}
	if requests > 0 {
		r.request = max(0, requests-t.FreeRequests) / requests * t.PerMillionRequests / 1e6
	}
	for architecture, u := range usage {
		if u.GBSeconds == 0 {
			continue
		}
		free := min(all, t.FreeGBSeconds) * u.GBSeconds / all // every architecture has its share
		r.duration[architecture] = tiered(t.PerGBSecond[architecture], u.GBSeconds-free) / u.GBSeconds
	}
	return r, nil
}

// tiered is the price of an amount.
func tiered(tiers []Tier, amount float64) (cost float64) {
	from := 0.0
	for _, t := range tiers {
		to := t.UpTo
		if to == 0 {
			to = math.Inf(1)
		}
		if amount <= from {
			break
		}
		cost += (min(amount, to) - from) * t.Price
		from = to
	}
	return cost
}

// Cost is what a part of the month's usage costs.
func (r Rates) Cost(architecture string, u Usage) float64 {
	return float64(u.Requests)*r.request + u.GBSeconds*r.duration[architecture] + u.StorageGBSeconds*r.storage
}
