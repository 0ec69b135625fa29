package environment_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/environment/environmenttest"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/meter"
	"lambent.dev/lambent/internal/sandbox"
)

// ledger counts what it is told.
type ledger struct {
	mu        sync.Mutex
	begun     int
	records   []meter.Record
	cancelled int
	err       error
}

func (l *ledger) Begin(meter.Record) (meter.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun++
	return meter.Entry{}, l.err
}

func (l *ledger) End(_ meter.Entry, r meter.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	return l.err
}

func (l *ledger) Cancel(meter.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancelled++
	return l.err
}

func (l *ledger) config(m *environmenttest.Machine) environment.Config {
	cfg := m.Config()
	cfg.Meter = l
	return cfg
}

var billedMs = regexp.MustCompile(`(?m)^REPORT RequestId: (\S+)\tDuration: \S+ ms\tBilled Duration: (\d+) ms\tMemory Size: 128 MB`)

// isLog: every record is charged what the last REPORT line of its request says, and no other.
func (l *ledger) isLog(t *testing.T, m *environmenttest.Machine, ids ...string) {
	t.Helper()
	want := map[string]string{}
	for _, match := range billedMs.FindAllStringSubmatch(strings.Join(m.Logs.Messages(), ""), -1) {
		want[match[1]] = match[2]
	}
	var got []string
	for _, r := range l.records {
		got = append(got, r.RequestID)
		if ms := strconv.FormatInt(r.Billed, 10); ms != want[r.RequestID] || r.Billed == 0 {
			t.Errorf("%s: billed %s ms, REPORT says %s", r.RequestID, ms, want[r.RequestID])
		}
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) || l.begun != len(got)+l.cancelled {
		t.Errorf("records %v of %d begun, %d cancelled; want %v", got, l.begun, l.cancelled, ids)
	}
}

// TestCharge: an answer has one record, however it came about, and lines that code prints are none.
func TestCharge(t *testing.T) {
	for _, test := range []struct{ how, outcome string }{{"answer", "success"}, {"exit", "error"}, {"hang", "timeout"}} {
		t.Run(test.how, func(t *testing.T) {
			m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
				return r.Serve(func(id string, event []byte) []byte {
					fmt.Fprintf(r.Stdout, "REPORT RequestId: forged\tDuration: 1.00 ms\tBilled Duration: 77777 ms\tMemory Size: 9 MB\n")
					switch {
					case id != "last":
					case test.how == "exit":
						// What it sends acknowledges the event, which the host's loopback may put off.
						r.Post("invocation/none/response", nil)
						r.Exit(sandbox.Exit{Code: 3})
					case test.how == "hang":
						<-r.Killed()
					}
					return event
				})
			})
			var l ledger
			e := start(t, l.config(m))
			invoke(t, e, "first")
			invoke(t, e, "last")
			l.isLog(t, m, "first", "last")
			if r := l.records[1]; r.Outcome != test.outcome || r.Account != fn.Account || r.Function != "f" || r.Version != "$LATEST" || r.Cold || r.EphemeralStorage != 512 {
				t.Errorf("%+v", r)
			}
			if r := l.records[0]; !r.Cold || r.Init <= 0 {
				t.Errorf("the first was cold: %+v", r)
			}
		})
	}
}

// TestChargeOfNothing: an event that no code saw leaves no record, and a ledger that fails stops no
// invocation.
func TestChargeOfNothing(t *testing.T) {
	serve := func(r *environmenttest.Runtime) int {
		return r.Serve(func(_ string, event []byte) []byte { return event })
	}
	m := environmenttest.New(t, serve)
	var l ledger
	e := start(t, l.config(m))
	invoke(t, e, "one")
	if err := e.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Invoke(t.Context(), invocation("gone")); !errors.Is(err, environment.ErrGone) {
		t.Errorf("%v", err)
	}
	l.isLog(t, m, "one")

	m = environmenttest.New(t, serve)
	broken := ledger{err: os.ErrClosed}
	e = start(t, broken.config(m))
	if got, _ := invoke(t, e, "one"); got.Outcome != "success" {
		t.Errorf("%+v", got)
	}
}

// TestChargeConcurrently: 200 invocations in 20 environments have 200 records.
func TestChargeConcurrently(t *testing.T) {
	m := environmenttest.New(t, func(r *environmenttest.Runtime) int {
		return r.Serve(func(_ string, event []byte) []byte { return event })
	})
	var l ledger
	cfg := l.config(m)
	var ids []string
	var waits []func()
	for g := range 20 {
		e := start(t, cfg)
		for i := range 10 {
			ids = append(ids, fmt.Sprintf("%d-%d", g, i))
		}
		waits = append(waits, lifecycle.Go("client", func() {
			for i := range 10 {
				_, err := e.Invoke(t.Context(), invocation(fmt.Sprintf("%d-%d", g, i)))
				for errors.Is(err, environment.ErrBusy) { // on a slow machine; the pool tries again, too
					_, err = e.Invoke(t.Context(), invocation(fmt.Sprintf("%d-%d", g, i)))
				}
				if err != nil {
					t.Error(err)
				}
			}
		}))
	}
	for _, wait := range waits {
		wait()
	}
	l.isLog(t, m, ids...)
}
