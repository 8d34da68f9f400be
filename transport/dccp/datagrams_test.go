package dccp

import (
	"testing"

	"ipfixsuite/transport"
)

// TestDatagramsCostNoAllocation: what TestMessagesCostNoAllocation says of
// messages holds for DTLS's records.
func TestDatagramsCostNoAllocation(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	c, s := connect(t, l, to, Config{Track: true})
	from, at := c.Datagrams(), s.Datagrams()
	batch := make([]transport.Datagram, 16)
	for i := range batch {
		batch[i].Data = append([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, byte(i), 1, 0}, make([]byte, 256)...)
	}
	got := make([]transport.Datagram, len(batch))
	var fates []transport.Fate
	round := func() {
		if n, err := from.WriteBatch(batch); n != len(batch) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		for n := 0; n < len(batch); {
			m, err := at.ReadBatch(t.Context(), got)
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		fates = from.Fates(fates[:0])
	}
	for range 200 {
		round()
	}
	// The runtime's own, for goroutines that timers start, are few.
	if n := testing.AllocsPerRun(100, round); n >= 4 {
		t.Errorf("%v allocations for %d datagrams", n, len(batch))
	} else {
		t.Logf("%v allocations for %d datagrams", n, len(batch))
	}
}
