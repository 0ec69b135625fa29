package environment

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// The platform's log lines, in AWS's format. Each is one log event with its line break.

// initStartLine opens a log stream.
func initStartLine(version, arn string) string {
	return fmt.Sprintf("INIT_START Runtime Version: %s\tRuntime Version ARN: %s\n", version, arn)
}

// initReportLine tells of an initialisation that failed; phase is init or invoke.
func initReportLine(phase string, took time.Duration, f failure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INIT_REPORT Init Duration: %.2f ms\tPhase: %s\tStatus: %s", millis(took), phase, f.status)
	if f.status != statusTimeout {
		fmt.Fprintf(&b, "\tError Type: %s", f.kind)
	}
	return b.String() + "\n"
}

func startLine(requestID, version string) string {
	return fmt.Sprintf("START RequestId: %s Version: %s\n", requestID, version)
}

func endLine(requestID string) string {
	return fmt.Sprintf("END RequestId: %s\n", requestID)
}

// report is what a REPORT line says.
type report struct {
	requestID      string
	duration, init time.Duration // init is 0 unless the environment started for this invocation
	memory, used   int           // MB
	failure        failure
}

// line renders the report.
//
// AWS: recorded lines end in a tab, those that carry a status do not.
func (r report) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		r.requestID, millis(r.duration), billed(r.init, r.duration), r.memory, r.used)
	if r.init > 0 {
		fmt.Fprintf(&b, "Init Duration: %.2f ms\t", millis(r.init))
	}
	if r.failure.status != "" {
		fmt.Fprintf(&b, "Status: %s", r.failure.status)
		if r.failure.status != statusTimeout {
			fmt.Fprintf(&b, "\tError Type: %s", r.failure.kind)
		}
	}
	return b.String() + "\n"
}

// billed is what an invocation costs in milliseconds: initialisation and duration together,
// rounded up to 1 ms.
//
// AWS: initialisation is billed for every kind of function since 2025-08.
func billed(init, duration time.Duration) int64 {
	return int64(math.Ceil(float64(init+duration) / float64(time.Millisecond)))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// megabytes rounds bytes up, at least 1 and at most limit.
func megabytes(bytes int64, limit int) int {
	return int(min(max((bytes+1<<20-1)>>20, 1), int64(limit)))
}
