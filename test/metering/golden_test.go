package metering

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"ipfixsuite/metering"
)

// TestSameFileSameRecords: the records of the shipped capture, as they stand
// on the wire and in their order, are the same every time and everywhere. What
// they hold is proven by TestTshark.
func TestSameFileSameRecords(t *testing.T) {
	for _, row := range []struct {
		biflow  bool
		records uint64
		digest  string
	}{
		{false, 242, "ab6abbfb318ae5b2"},
		{true, 125, "6db2af61b09369c5"},
	} {
		for seed := range uint64(3) {
			sum := sha256.New()
			var rec []byte
			m := metering.New(metering.Config{Biflow: row.biflow, Seed: [2]uint64{seed, seed}}, func(f *metering.Flow) {
				rec = f.AppendRecord(append(rec[:0], byte(f.Template())))
				sum.Write(rec)
			})
			st := feed(t, mixed, m)
			if got := fmt.Sprintf("%.8x", sum.Sum(nil)); got != row.digest || st.Records != row.records {
				t.Errorf("biflow %v, seed %d: %d records, digest %s, want %d, %s", row.biflow, seed, st.Records, got, row.records, row.digest)
			}
		}
	}
}
