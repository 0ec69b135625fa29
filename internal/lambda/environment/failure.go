package environment

import (
	"fmt"
	"syscall"
	"time"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/runtimes/bootstrap"
)

// Status words of REPORT and INIT_REPORT lines.
const (
	statusError   = "error"
	statusTimeout = "timeout"
)

// Outcomes of a Report.
const (
	OutcomeSuccess = "success"
	OutcomeFailure = "failure" // the function answered with an error
	OutcomeError   = "error"   // the runtime did not answer: it crashed or could not start
	OutcomeTimeout = "timeout"
)

// failure is why a runtime gave no answer. The zero value is none.
type failure struct {
	status string // statusError or statusTimeout
	kind   string // AWS's error type
	reason string // what follows "Error: " in messages and log lines
	body   []byte // the runtime's own payload, if it left one
}

// exited is the failure of a runtime that ended.
func exited(e sandbox.Exit) failure {
	switch {
	case e.OOM:
		return failure{status: statusError, kind: outOfMemory, reason: "Runtime exited with error: signal: killed"}
	case e.Signal != 0:
		return failure{status: statusError, kind: exitError, reason: "Runtime exited with error: signal: " + syscall.Signal(e.Signal).String()}
	case e.Code != 0:
		return failure{status: statusError, kind: exitError, reason: fmt.Sprintf("Runtime exited with error: exit status %d", e.Code)}
	default:
		return failure{status: statusError, kind: exitError, reason: "Runtime exited without providing a reason"}
	}
}

// notStarted is the failure of a runtime that ended before it was initialised: as exited, but for
// a custom runtime that was not there or could not be started.
//
// AWS: recorded in issues of aws-lambda-go (554) and others; Go's words for what the kernel said.
func notStarted(e sandbox.Exit) failure {
	f := exited(e)
	switch {
	case e.OOM || e.Signal != 0:
		return f
	case e.Code == bootstrap.ExitNone:
		f.reason = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
	case e.Code == bootstrap.ExitPermission:
		f.reason = "fork/exec /var/task/bootstrap: permission denied"
	case e.Code == bootstrap.ExitFormat:
		f.reason = "fork/exec /var/task/bootstrap: exec format error"
	case e.Code == bootstrap.ExitNotFound:
		f.reason = "fork/exec /var/task/bootstrap: no such file or directory"
	default:
		return f
	}
	f.kind = "Runtime.InvalidEntrypoint"
	return f
}

const (
	exitError   = "Runtime.ExitError"
	outOfMemory = "Runtime.OutOfMemory"
)

// timedOut is the failure of a runtime that took longer than limit.
func timedOut(limit time.Duration) failure {
	return failure{status: statusTimeout, kind: "Sandbox.Timedout", reason: fmt.Sprintf("Task timed out after %.2f seconds", limit.Seconds())}
}

// payload is the document that the caller of an invocation gets.
//
// AWS: recorded in 2025 for exits and time-outs; a runtime's own report of a failed
// initialisation is passed on as it is, its requestId left empty.
func (f failure) payload(requestID string) []byte {
	if f.body != nil {
		return f.body
	}
	return fmt.Appendf(nil, `{"errorType":%q,"errorMessage":%q}`, f.kind, "RequestId: "+requestID+" Error: "+f.reason)
}

// line is the log line that explains the failure, empty when the runtime has explained itself.
func (f failure) line(requestID string, now time.Time) string {
	switch {
	case f.status == "" || f.body != nil:
		return ""
	case f.status == statusTimeout:
		return fmt.Sprintf("%s %s %s\n\n", now.UTC().Format("2006-01-02T15:04:05.000Z"), requestID, f.reason)
	default:
		return fmt.Sprintf("RequestId: %s Error: %s\n%s\n", requestID, f.reason, f.kind)
	}
}
