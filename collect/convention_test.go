package collect

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestConvention_Softflowd replays the numbers of softflowd 1.1.0, -v 10: each
// includes its own message, options data is not counted.
func TestConvention_Softflowd(t *testing.T) {
	var s stream
	var number uint32
	changes := 0
	for i := range 200 {
		n := uint32(20 + i*7%11)
		a := arrival{records: n, exportTime: 100}
		if i%20 == 0 {
			a.records, a.options = n+1, 1
		}
		number += n
		a.number = number
		if i == 150 {
			continue // lost
		}
		if s.take(a) {
			changes++
		}
	}
	want := SequenceStats{Lost: uint64(20 + 150*7%11), OutOfOrder: 1}
	if diff := cmp.Diff(want, s.SequenceStats); diff != "" || changes != 1 || !s.after {
		t.Errorf("%d changes: %s", changes, diff)
	}
}

// An exporter by the rule is never taken for another, whatever is lost.
func TestConvention_RFC7011_3_1(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var s stream
		var number uint32
		for i := range 20000 {
			a := arrival{number: number, records: 1 + rng.Uint32N(15), exportTime: 100}
			if i%50 == 0 {
				a.options = 1
			}
			number += a.records
			if rng.IntN(100) < 40 {
				continue
			}
			if s.take(a) {
				t.Fatalf("seed %d: changed at message %d", seed, i)
			}
		}
	}
}
