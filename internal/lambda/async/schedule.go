package async

import "time"

// MaxAge is how long an event is tried.
const MaxAge = 6 * time.Hour

// Outcome is how an attempt to run an event ended.
type Outcome int

// Outcomes of an attempt.
const (
	Done          Outcome = iota // the function answered
	FunctionError                // the function ran and failed
	Refused                      // throttled, or a fault of this system: it did not run, as far as is known
	Gone                         // the function does not exist any more
	Circular                     // it goes round in a circle, and its function does not allow that
)

// Verdict is what becomes of an event after an attempt.
type Verdict struct {
	Retry  bool
	After  time.Duration // with Retry
	Reason string        // AWS's condition if the event is dropped
}

// functionRetries are the pauses before the attempts that follow a function error.
//
// AWS: two more attempts, after one minute and after two.
var functionRetries = []time.Duration{time.Minute, 2 * time.Minute}

const (
	firstBackoff = time.Second
	lastBackoff  = 5 * time.Minute
)

// Next decides what becomes of an event after an attempt that ended with outcome. failed is how
// many attempts ended in a function error, this one included; refused how many were refused,
// this one included; age is the event's. retries bounds the attempts after function errors, at
// most len(functionRetries).
//
// AWS: throttles and faults are retried with a growing pause, 1 s to 5 min, for up to six hours.
func Next(outcome Outcome, failed, refused, retries int, age time.Duration) Verdict {
	var after time.Duration
	switch outcome {
	case Done:
		return Verdict{}
	case Gone:
		return Verdict{Reason: "FunctionDeleted"}
	case Circular:
		return Verdict{Reason: "RecursiveInvocation"}
	case FunctionError:
		if failed > min(retries, len(functionRetries)) {
			return Verdict{Reason: "RetriesExhausted"}
		}
		after = functionRetries[failed-1]
	default:
		after = backoff(refused)
	}
	if age+after > MaxAge {
		return Verdict{Reason: "EventAgeExceeded"}
	}
	return Verdict{Retry: true, After: after}
}

// backoff is the pause after the nth refusal: doubling, bounded.
func backoff(n int) time.Duration {
	d := firstBackoff
	for ; n > 1 && d < lastBackoff; n-- {
		d *= 2
	}
	return min(d, lastBackoff)
}
