package harness

import (
	"testing"
	"time"
)

// Until waits for something to become true.
func Until(t testing.TB, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !true(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("a minute, and still not: %s", what)
		}
	}
}
