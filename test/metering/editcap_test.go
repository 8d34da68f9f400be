package metering

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/metering"
)

// TestEditcap: Wireshark's editcap writes the shipped capture in other
// formats; what is metered of it stays the same.
func TestEditcap(t *testing.T) {
	need(t, "editcap")
	want, _ := meter(t, mixed, metering.Config{Biflow: true})
	for _, format := range []string{"pcap", "nsecpcap", "pcapng", "modpcap"} {
		path := filepath.Join(t.TempDir(), format)
		if out, err := exec.CommandContext(t.Context(), "editcap", "-F", format, mixed, path).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", format, err, out)
		}
		got, s := meter(t, path, metering.Config{Biflow: true})
		if s.Packets != 4917 || got.records != want.records {
			t.Errorf("%s: %d packets, %d records, want %d", format, s.Packets, got.records, want.records)
		}
		if d := cmp.Diff(want.ledger.comparable(), got.ledger.comparable()); d != "" {
			t.Errorf("%s: %.2000s", format, d)
		}
	}
}

// comparable has keys that cmp can look into.
func (l ledger) comparable() map[string]totals {
	out := make(map[string]totals, len(l))
	for k, v := range l {
		out[fmt.Sprint(k)] = v
	}
	return out
}
