package environment

import (
	"time"

	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/meter"
)

// Meter is the ledger that every invocation is charged in.
type Meter interface {
	// Begin is told of an invocation when its event is about to reach code.
	Begin(meter.Record) (meter.Entry, error)
	// End is told of its result, before the answer leaves.
	End(meter.Entry, meter.Record) error
	// Cancel takes Begin back: no code has seen the event.
	Cancel(meter.Entry) error
}

var _ Meter = (*meter.Ledger)(nil)

// charge is an invocation's entry in the ledger. A ledger that cannot be written to stops no
// invocation: it keeps what it can and counts what it cannot, and the environment says so once.
type charge struct {
	e      *Environment
	record meter.Record
	entry  meter.Entry
	begun  bool
}

func (e *Environment) newCharge(inv function.Invocation, cold bool) *charge {
	return &charge{e: e, record: meter.Record{
		RequestID: inv.RequestID, Account: e.fn.Account, Function: e.fn.Name, Version: e.fn.Version,
		Memory: e.fn.Memory, EphemeralStorage: e.fn.EphemeralStorage, Architecture: e.fn.Architecture, Cold: cold,
	}}
}

// begin writes that the invocation is in flight; again it does nothing.
func (c *charge) begin() {
	if c.begun || c.e.cfg.Meter == nil {
		return
	}
	c.begun, c.record.Start = true, c.e.cfg.Now()
	entry, err := c.e.cfg.Meter.Begin(c.record)
	c.entry = entry
	c.unwritten(err)
}

// end writes the result.
func (c *charge) end(init, duration time.Duration, outcome string) {
	if c.e.cfg.Meter == nil {
		return
	}
	c.begin() // an answer has a record, whatever came before
	c.record.Init, c.record.Duration, c.record.Billed, c.record.Outcome = init, duration, billed(init, duration), outcome
	c.unwritten(c.e.cfg.Meter.End(c.entry, c.record))
}

// cancel takes begin back.
func (c *charge) cancel() {
	if c.begun {
		c.unwritten(c.e.cfg.Meter.Cancel(c.entry))
	}
}

func (c *charge) unwritten(err error) {
	if err != nil && !c.e.unbilled.Swap(true) {
		c.e.log.Error("the ledger takes no record; invocations go on, this is said once per environment", "request", c.record.RequestID, "error", err)
	}
}
