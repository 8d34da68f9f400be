package rotation

import (
	"os"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// long is how long the tests of endurance take: seconds, unless a duration is
// asked for.
func long(t *testing.T, otherwise time.Duration) time.Duration {
	t.Helper()
	s := os.Getenv("IPFIXSUITE_ROTATION_TIME")
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("IPFIXSUITE_ROTATION_TIME: %v", err)
	}
	return d
}

// withoutGap fails the test when data had no way for more than 5 ms each time
// that it tried: once, a machine below this one may have held the program up,
// which nothing here shows.
func withoutGap(t *testing.T, try func(i int) time.Duration) {
	t.Helper()
	for i := range 3 {
		gap := try(i)
		if gap <= 5*time.Millisecond || t.Failed() {
			return
		}
		t.Logf("no way for data for %v", gap)
	}
	t.Error("no way for data for more than 5 ms, each time")
}
