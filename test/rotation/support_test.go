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
