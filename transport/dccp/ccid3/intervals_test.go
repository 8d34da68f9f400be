package ccid3

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"ipfixsuite/transport/dccp/wire"
)

// example is RFC 4342, Section 8.6.2: what a receiver says of packets 0 to 44
// of which 10, 19 to 21, 23, 32 and 43 were lost, with its nonce echoes.
var example = []byte{
	193, 39, 2,
	0, 0, 10, 128, 0, 1, 0, 0, 10,
	0, 0, 8, 0, 0, 5, 0, 0, 10,
	0, 0, 8, 0, 0, 1, 0, 0, 8,
	0, 0, 10, 128, 0, 0, 0, 0, 15,
}

// RFC 4342, Section 8.6.2: the example, read.
func TestLossIntervalsExampleIsRead_RFC4342_8_6_2(t *testing.T) {
	var r report
	if !r.parse(example[2:]) {
		t.Fatal("not understood")
	}
	want := report{skip: 2, n: 4}
	copy(want.iv[:], []interval{{10, 1, 10}, {8, 5, 10}, {8, 1, 8}, {10, 0, 15}})
	if r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
	// Where the intervals begin, and the rate: 10, 10, 8 and 15 packets, so
	// max(10+10+8, 10+8+15)/3 = 11.
	var k known
	if !k.merge(&r, 44) {
		t.Error("no loss event in it")
	}
	if k.n != 4 || k.start[0] != 32 || k.start[1] != 19 || k.start[2] != 10 || k.start[3] != 0 {
		t.Errorf("%d intervals from %v", k.n, k.start)
	}
	if p := k.rate(); math.Abs(p-1.0/11) > 1e-12 {
		t.Errorf("p %v, want 1/11", p)
	}
	if k.merge(&r, 44) {
		t.Error("the same again is a new loss event")
	}
}

// RFC 4342, Section 8.6.2: the example, written from what came. Its lengths
// tell of one packet without data in L3 and three in L2; as we say nothing with
// nonces, their bits are 0.
func TestLossIntervalsExampleIsWritten_RFC4342_8_6_2(t *testing.T) {
	l := newLosses(0)
	first := func() uint32 { return 15 }
	lost := map[int64]bool{10: true, 19: true, 20: true, 21: true, 23: true, 32: true}
	other := map[int64]bool{25: true, 26: true, 27: true, 40: true, 11: true}
	for n := range int64(43) {
		if lost[n] {
			l.missed(1, 0, first)
		} else {
			// The window counter: a round trip for eight packets.
			l.arrived(!other[n], uint8(n/2%16))
		}
	}
	r := l.report(44)
	got := r.append(nil, 100)
	want := bytes.Clone(example)
	want[6], want[33] = 0, 0
	if !bytes.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	// With less room, the latest intervals.
	if got := r.append(nil, 29); len(got) != 21 || got[1] != 21 || !bytes.Equal(got[2:], want[2:21]) {
		t.Errorf("in 29 octets: %v", got)
	}
	if got := r.append(nil, 11); got != nil {
		t.Errorf("in 11 octets: %v", got)
	}
}

// RFC 4342, Sections 6.1.1 and 8.6.1: what makes no sense is ignored.
func TestLossIntervalsThatMakeNoSense_RFC4342_8_6_1(t *testing.T) {
	iv := func(lossless, loss, data byte) []byte { return []byte{0, 0, lossless, 0, 0, loss, 0, 0, data} }
	cat := func(skip byte, ivs ...[]byte) []byte { return append([]byte{skip}, bytes.Join(ivs, nil)...) }
	for _, c := range []struct {
		name string
		in   []byte
		ok   bool
	}{
		{"good", cat(3, iv(5, 1, 6), iv(9, 0, 200)), true},
		{"null first interval", cat(0, iv(5, 1, 6), iv(0, 0, 200)), true},
		{"empty", nil, false},
		{"skip alone", []byte{0}, false},
		{"a part of an interval", cat(0, iv(5, 1, 6), []byte{1, 2}), false},
		{"skip length 4", cat(4, iv(5, 1, 6)), false},
		{"more data than packets", cat(0, iv(5, 1, 7)), false},
		{"no data", cat(0, iv(5, 1, 0)), false},
		{"no loss in a later interval", cat(0, iv(5, 0, 5), iv(5, 1, 6)), false},
	} {
		var r report
		if r.parse(c.in) != c.ok || !c.ok && r.n != 0 {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	// A second option goes on, without skipping, and not behind the first interval.
	var r report
	r.parse(cat(2, iv(5, 1, 6)))
	if r.parse(cat(1, iv(7, 1, 8))) || !r.parse(cat(0, iv(7, 1, 8), iv(3, 0, 4))) || r.parse(cat(0, iv(7, 1, 8))) {
		t.Error("second options")
	}
	if r.n != 3 || r.skip != 2 || r.iv[1].lossless != 7 {
		t.Errorf("%+v", r)
	}
	// 28 intervals: the latest nine are kept.
	r = report{}
	var many [][]byte
	for i := range 28 {
		many = append(many, iv(byte(i), 1, 1))
	}
	if !r.parse(cat(0, many...)) || r.n != 9 || r.iv[8].lossless != 8 {
		t.Errorf("%+v", r)
	}
}

// RFC 5348, Section 5.4, by hand.
func TestAverageLossInterval_RFC5348_5_4(t *testing.T) {
	for _, c := range []struct {
		name    string
		lengths []float64
		mean    float64
	}{
		// One interval is no loss.
		{"no loss", []float64{1000}, 0},
		{"one loss, the current interval is short", []float64{3, 100}, 100},
		{"one loss, the current interval is long", []float64{300, 100}, 300},
		// (30+40)/2 = 35 without the current one, (20+30)/2 = 25 with it.
		{"two", []float64{20, 30, 40}, 35},
		// Weights 1 1 1 1 .8 .6 .4 .2, together 6. Without the current one:
		// 10+20+30+40+.8*50+.6*60+.4*70+.2*80 = 220; 220/6. With it:
		// 5+10+20+30+.8*40+.6*50+.4*60+.2*70 = 165.
		{"nine", []float64{5, 10, 20, 30, 40, 50, 60, 70, 80}, 220.0 / 6},
		// 95+10+20+30+32+30+24+14 = 255.
		{"nine, the current one is long", []float64{95, 10, 20, 30, 40, 50, 60, 70, 80}, 255.0 / 6},
		{"more are forgotten", []float64{5, 10, 20, 30, 40, 50, 60, 70, 80, 9999}, 220.0 / 6},
	} {
		p := lossRate(c.lengths)
		if c.mean == 0 && p != 0 || c.mean > 0 && math.Abs(p*c.mean-1) > 1e-12 {
			t.Errorf("%s: p %v, want 1/%v", c.name, p, c.mean)
		}
	}
}

// RFC 4342, Section 8.6.1: a receiver that knows what has arrived may leave it
// out; the sender remembers.
func TestIntervalsThatAreNotRepeatedAreKept_RFC4342_8_6_1(t *testing.T) {
	var k known
	report := func(ack wire.Seq, ivs ...interval) bool {
		r := report{n: len(ivs)}
		copy(r.iv[:], ivs)
		return k.merge(&r, ack)
	}
	report(100, interval{19, 1, 20}, interval{29, 1, 30}, interval{50, 0, 44})
	// 81 to 100 are known to end at 110 now.
	if report(110, interval{29, 1, 30}) {
		t.Error("an interval that grew is a new event")
	}
	if got := k.lengths[:k.n]; !slices.Equal(got, []float64{30, 30, 44}) {
		t.Errorf("%v", got)
	}
	if !report(120, interval{4, 1, 5}, interval{34, 1, 35}) {
		t.Error("no event")
	}
	if got := k.lengths[:k.n]; !slices.Equal(got, []float64{5, 35, 30, 44}) {
		t.Errorf("%v", got)
	}
	// The latest event was none: its interval is part of the one before.
	if report(130, interval{49, 1, 50}) {
		t.Error("an event that was taken back is a new one")
	}
	if got := k.lengths[:k.n]; !slices.Equal(got, []float64{50, 30, 44}) {
		t.Errorf("%v", got)
	}
	// A length at its limit does not say where the interval began: no new event
	// each time it stays there while the packets go on.
	for n := range 3 {
		if report(wire.Seq(1<<25+n*100), interval{maxLength, 1, maxLength}) {
			t.Error("a very long interval is a new event")
		}
		if k.n != 1 {
			t.Errorf("%d intervals, though it is not known where the only one begins", k.n)
		}
	}
}

func FuzzLossIntervals(f *testing.F) {
	f.Add(example[2:], []byte(nil), uint64(44))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, example[2:], uint64(3))
	f.Fuzz(func(t *testing.T, one, two []byte, ack uint64) {
		var r report
		var k known
		for _, b := range [][]byte{one, two} {
			was := r
			if !r.parse(b) && (r.n != was.n || r.skip != was.skip) {
				t.Fatalf("%+v after %+v", r, was)
			}
		}
		if r.n == 0 {
			return
		}
		k.merge(&r, wire.MakeSeq(ack))
		k.merge(&r, wire.MakeSeq(ack+1))
		if p := k.rate(); p < 0 || p > 1 || math.IsNaN(p) {
			t.Fatalf("p %v of %+v", p, r)
		}
		// What was read is written alike, but for nonces, and read again.
		b := r.append(nil, 253)
		var again report
		if !again.parse(b[2:]) || again.skip != r.skip || !slices.Equal(again.iv[:again.n], r.iv[:r.n]) {
			t.Fatalf("%+v comes back as %+v", r, again)
		}
	})
}
