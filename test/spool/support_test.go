package spool

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ipfixsuite/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// long says whether the longer forms are wished for.
func long() bool { return os.Getenv("IPFIXSUITE_LONG") == "1" }

// segments are the files of a spool that hold records.
const segments = "spool-*"

// octets is how much there is in them.
func octets(t *testing.T, dir string) (sum int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, segments))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		st, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has got its name, or was delivered
		}
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	return sum
}
