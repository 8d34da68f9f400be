package collect

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plain is a message of n decoded records.
func plain(number, n uint32) arrival { return arrival{number: number, records: n, exportTime: 100} }

func at(exportTime uint32, a arrival) arrival { a.exportTime = exportTime; return a }

func TestSequence_RFC7011_3_1(t *testing.T) {
	type step = arrival
	tests := []struct {
		name     string
		fromZero bool
		steps    []step
		want     SequenceStats
	}{
		{"in order", false, []step{plain(7, 10), plain(17, 10), plain(27, 10)}, SequenceStats{}},
		{"joined in the middle", false, []step{plain(1<<30, 10)}, SequenceStats{}},
		{"first messages of a session lost", true, []step{plain(20, 10)}, SequenceStats{Lost: 20}},
		{"numbers carried over from another session", true, []step{plain(500000, 10)}, SequenceStats{}},
		{"a gap", false, []step{plain(0, 10), plain(15, 10)}, SequenceStats{Lost: 5, OutOfOrder: 1}},
		{"late message closes its gap", false, []step{plain(0, 10), plain(20, 10), plain(10, 10), plain(30, 1)}, SequenceStats{Late: 10, OutOfOrder: 2}},
		{"late message in the middle of a gap", false, []step{plain(0, 10), plain(40, 10), plain(20, 10)}, SequenceStats{Lost: 20, Late: 10, OutOfOrder: 2}},
		{"late message over two gaps", false, []step{plain(0, 10), plain(20, 5), plain(35, 5), plain(15, 25)}, SequenceStats{Lost: 5, Late: 15, Duplicate: 10, OutOfOrder: 3}},
		{"duplicate", false, []step{plain(0, 10), plain(10, 10), plain(0, 10)}, SequenceStats{Duplicate: 10, OutOfOrder: 1}},
		{"late once, then duplicate", false, []step{plain(0, 10), plain(20, 10), plain(10, 10), plain(10, 10)}, SequenceStats{Late: 10, Duplicate: 10, OutOfOrder: 3}},
		{"before the first one seen", false, []step{plain(100, 10), plain(90, 10), plain(110, 10)}, SequenceStats{Late: 10, OutOfOrder: 1}},
		{"templates only", false, []step{plain(5, 0), plain(5, 0), plain(5, 10), plain(15, 0)}, SequenceStats{}},
		{"wraps modulo 2^32", false, []step{plain(1<<32-5, 10), plain(5, 10), plain(25, 1), plain(15, 10)}, SequenceStats{Late: 10, OutOfOrder: 2}},
		{"gap across the wrap", false, []step{plain(1<<32-20, 10), plain(5, 10), plain(1<<32-10, 15)}, SequenceStats{Late: 15, OutOfOrder: 2}},
		{"one stray number far ahead", false, []step{plain(0, 10), plain(1<<28, 10), plain(10, 10), plain(20, 10)}, SequenceStats{Unplaced: 10, Strays: 1, OutOfOrder: 1}},
		{"one stray number far behind", false, []step{plain(1<<28, 10), plain(0, 10), plain(1<<28+10, 10)}, SequenceStats{Unplaced: 10, Strays: 1, OutOfOrder: 1}},
		{"a long outage", false, []step{plain(0, 10), plain(1<<20, 10), plain(1<<20+10, 10)}, SequenceStats{Lost: 1<<20 - 10, OutOfOrder: 2}},
		{"restart from zero", false, []step{plain(1<<20, 10), plain(0, 10), plain(10, 10), plain(20, 10)}, SequenceStats{Restarts: 1, OutOfOrder: 2}},
		{"restart with a loss behind it", false, []step{plain(1<<20, 10), plain(0, 10), plain(15, 10)}, SequenceStats{Restarts: 1, Lost: 5, OutOfOrder: 2}},
		{"restart soon after the start, seen by the export time", false, []step{plain(0, 10), plain(10, 10), at(105, plain(0, 10)), at(105, plain(10, 10)), at(106, plain(20, 5))}, SequenceStats{Restarts: 1, OutOfOrder: 2}},
		{"restart within the second, seen by a message that reaches beyond the line", false, []step{plain(0, 59), plain(59, 0), plain(0, 60), plain(60, 60)}, SequenceStats{Restarts: 1, OutOfOrder: 2}},
		{"two exporters on one domain", false, []step{plain(0, 10), plain(1<<28, 10), plain(10, 10), plain(1<<28+10, 10), plain(20, 10)}, SequenceStats{Unplaced: 20, Strays: 2, OutOfOrder: 2}},
		{"a template message twice is no proof of a restart", false, []step{plain(1<<20, 10), plain(0, 0), plain(0, 0), plain(1<<20+10, 10)}, SequenceStats{Strays: 1, OutOfOrder: 2}},
		{"held set is no loss", false, []step{{number: 0, held: 1, exportTime: 100}, plain(10, 10)}, SequenceStats{Waiting: 10, OutOfOrder: 1}},
		{"undecodable set is no loss", false, []step{{number: 0, opaque: 1, exportTime: 100}, plain(10, 10)}, SequenceStats{Unreadable: 10, OutOfOrder: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sequence{fromZero: tt.fromZero}
			for _, a := range tt.steps {
				s.message(a)
			}
			if diff := cmp.Diff(tt.want, s.SequenceStats); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSequence_HeldSets_RFC7011_9_3(t *testing.T) {
	t.Run("decoded after the next message", func(t *testing.T) {
		var s sequence
		s.message(arrival{number: 0, held: 1})
		s.message(plain(10, 10))
		s.resolved(0, 10, true)
		s.message(plain(20, 10))
		want := SequenceStats{OutOfOrder: 1}
		if diff := cmp.Diff(want, s.SequenceStats); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("decoded before the next message", func(t *testing.T) {
		var s sequence
		s.message(arrival{number: 0, records: 3, held: 1})
		s.resolved(0, 7, true)
		s.message(plain(10, 10))
		if diff := cmp.Diff(SequenceStats{}, s.SequenceStats); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a loss beside a held set shows once it is decoded", func(t *testing.T) {
		var s sequence
		s.message(arrival{number: 0, held: 1})
		s.message(arrival{number: 30, held: 1})
		s.message(plain(40, 10))
		s.resolved(0, 10, true)
		s.resolved(30, 10, true)
		want := SequenceStats{Lost: 20, OutOfOrder: 2}
		if diff := cmp.Diff(want, s.SequenceStats); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("expired", func(t *testing.T) {
		var s sequence
		s.message(arrival{number: 0, held: 1})
		s.message(plain(10, 10))
		s.resolved(0, 0, false)
		want := SequenceStats{Unreadable: 10, OutOfOrder: 1}
		if diff := cmp.Diff(want, s.SequenceStats); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("late message with a held set", func(t *testing.T) {
		var s sequence
		s.message(plain(0, 10))
		s.message(plain(20, 10))
		s.message(arrival{number: 10, held: 1})
		if s.Waiting != 10 || s.Lost != 0 {
			t.Errorf("waiting %d, lost %d; want 10, 0", s.Waiting, s.Lost)
		}
		s.resolved(10, 10, true)
		want := SequenceStats{OutOfOrder: 2}
		if diff := cmp.Diff(want, s.SequenceStats); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("at the end", func(t *testing.T) {
		var s sequence
		s.message(arrival{number: 0, held: 2})
		s.settle()
		want := SequenceStats{Unreadable: 2}
		if diff := cmp.Diff(want, s.SequenceStats); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSequence_Truth sends messages over a simulated network that loses,
// repeats and reorders, and compares the account with what really happened.
func TestSequence_Truth(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 7))
		type message struct {
			arrival
			at int
		}
		var wire []message
		number := rng.Uint32()
		if seed%3 == 0 {
			number = -rng.Uint32N(2000) // near the wrap
		}
		first, loss := number, rng.IntN(30)
		var lost, sent, duplicates uint64
		for i := range 300 {
			m := arrival{number: number, records: 1 + rng.Uint32N(30), exportTime: uint32(1000 + i/50)}
			number += m.records
			sent += uint64(m.records)
			// The ends arrive: what is lost there nobody can know.
			if i > 0 && i < 299 && rng.IntN(100) < loss {
				lost += uint64(m.records)
				continue
			}
			delay := 0
			if i > 0 && i < 290 && rng.IntN(10) == 0 {
				delay = rng.IntN(8)
			}
			wire = append(wire, message{m, i + delay})
			if i > 0 && rng.IntN(20) == 0 {
				duplicates += uint64(m.records)
				wire = append(wire, message{m, i + delay + rng.IntN(8)})
			}
		}
		// Stable by arrival.
		var s sequence
		for now := range 320 {
			for _, m := range wire {
				if m.at == now {
					s.message(m.arrival)
				}
			}
		}
		if s.Lost != lost || s.Duplicate != duplicates || s.Restarts != 0 || s.Unplaced != 0 {
			t.Fatalf("seed %d (from %d, %d sent): got %+v, want %d lost, %d duplicate", seed, first, sent, s.SequenceStats, lost, duplicates)
		}
	}
}

func TestSequence_NoAllocations(t *testing.T) {
	var s sequence
	var n uint32
	step := func() {
		for range 500 {
			s.message(plain(n+20, 10))
			if n%40 == 0 {
				s.message(plain(n+10, 10))
			}
			n += 20
		}
	}
	step()
	if got := testing.AllocsPerRun(10, step); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func FuzzSequence(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 10, 10, 1, 0})
	f.Add([]byte{255, 255, 255, 250, 10, 1, 0, 0, 0, 0, 4, 10, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s sequence
		for len(b) >= 7 {
			a := arrival{
				number:  uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]),
				records: uint32(b[4]), held: uint32(b[5] & 3), opaque: uint32(b[5] >> 6), exportTime: uint32(b[6]),
			}
			s.message(a)
			if b[6]&1 == 1 {
				s.resolved(a.number, uint32(b[6]), b[6]&2 == 0)
			}
			b = b[7:]
			checkSequence(t, &s)
		}
		s.settle()
		if s.Waiting != 0 {
			t.Errorf("%d still waiting at the end", s.Waiting)
		}
	})
}

// checkSequence holds the counters against the gaps they are made of.
func checkSequence(t *testing.T, s *sequence) {
	t.Helper()
	if len(s.gaps) > maxGaps {
		t.Fatalf("%d gaps", len(s.gaps))
	}
	var lost, waiting, unreadable uint64
	for _, g := range s.gaps {
		if g.filled > g.to-g.from {
			t.Fatalf("gap %+v is filled beyond its size", g)
		}
		switch {
		case g.pending > 0:
			waiting += uint64(g.missing())
		case g.opaque:
			unreadable += uint64(g.missing())
		default:
			lost += uint64(g.missing())
		}
	}
	if s.Waiting != waiting || s.Lost < lost || s.Unreadable < unreadable || s.Lost > 1<<40 || s.Unreadable > 1<<40 {
		t.Fatalf("counters %+v do not fit the gaps: lost %d, waiting %d, unreadable %d", s.SequenceStats, lost, waiting, unreadable)
	}
}
