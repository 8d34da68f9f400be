package link

import (
	"os"
	"testing"

	"ipfixsuite/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// long says whether the longer forms are wished for.
func long() bool { return os.Getenv("IPFIXSUITE_LONG") == "1" }

// between starts a Relay that ends with the test.
func between(t testing.TB, to string, cfg Config) *Relay {
	t.Helper()
	r, err := New(to, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}
