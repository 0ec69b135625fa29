package pool

import (
	"testing"
	"time"
)

// TestExpiredByClockJumps: idleness is measured by the monotonic clock, which no jump moves; the
// end of credentials is a time of the day: a jump brings it nearer or farther by as much as it
// does for whoever verifies them.
func TestExpiredByClockJumps(t *testing.T) {
	now := time.Now()
	lastUsed := now.Add(-time.Minute)
	retireAt := now.Add(11 * time.Hour).UTC().Truncate(time.Second) // no monotonic part
	for jump, want := range map[time.Duration]bool{0: false, time.Hour: false, -time.Hour: false, 12 * time.Hour: true} {
		// A wall clock that is set shifts its distance to every time of the day.
		if got := Expired(lastUsed, retireAt.Add(-jump), now, 30*time.Minute); got != want {
			t.Errorf("after a jump of %s: %t", jump, got)
		}
	}
}
