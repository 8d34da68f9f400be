package ccid3

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// RFC 5348, Section 6; RFC 4342, Section 10.3: a new loss event is told at
// once, as soon as three packets came behind the hole, and so is one that was
// none; a second loss of the same event is not.
func TestLossEventIsToldAtOnce_RFC5348_6(t *testing.T) {
	s := newSink(t, 100*ms)
	for n := range 10 {
		s.data(n, 0)
	}
	s.feedback()
	s.data(11, 1)
	s.data(12, 1)
	if s.AckDue(s.now) {
		t.Error("due, two packets behind the hole")
	}
	s.data(13, 1)
	f, _, ok := s.feedback()
	if !ok || f.intervals.n != 2 || f.intervals.iv[0] != (interval{3, 1, 4}) || f.intervals.skip != 0 {
		t.Fatalf("%v %+v", ok, f)
	}
	for _, n := range []int{15, 16, 17} {
		s.data(n, 2)
	}
	if s.AckDue(s.now) {
		t.Error("due for a second loss within a round trip")
	}
	// A later event, and its packet comes after all.
	for n := 18; n < 30; n++ {
		s.data(n, 6)
	}
	s.feedback()
	for _, n := range []int{31, 32, 33} {
		s.data(n, 7)
	}
	if f, _, ok = s.feedback(); !ok || f.intervals.n != 3 {
		t.Fatalf("%v %+v", ok, f)
	}
	s.data(30, 7)
	if f, _, ok = s.feedback(); !ok || f.intervals.n != 2 || f.intervals.iv[0] != (interval{19, 5, 24}) {
		t.Errorf("%v %+v", ok, f)
	}
	if got := s.Stats().Losses; got != 3 {
		t.Errorf("%d losses counted", got)
	}
}

// RFC 5348, Section 5.1: a mark is seen at once; what is missing before it is
// lost, and began the event.
func TestMarkSettlesWhatIsMissingBeforeIt_RFC5348_5_1(t *testing.T) {
	s := newSink(t, 100*ms)
	for n := range 10 {
		s.data(n, 0)
	}
	s.feedback()
	s.data(11, 1)
	s.come(12, ccid.Received{Type: wire.Data, Data: true, Size: 1000, CCVal: 1, CE: true})
	f, _, ok := s.feedback()
	if !ok || f.intervals.n != 2 || f.intervals.iv[0] != (interval{0, 3, 3}) {
		t.Errorf("%v %+v", ok, f)
	}
	// A mark on a packet without data is no congestion of the data.
	for n := 13; n < 40; n++ {
		s.data(n, 8)
	}
	s.feedback()
	s.come(40, ccid.Received{Type: wire.Ack, CE: true})
	if s.AckDue(s.now) {
		t.Error("due for a marked acknowledgement")
	}
}

// Reordering by up to two is none, and duplicates count once.
func TestReorderingAndDuplicates(t *testing.T) {
	s := newSink(t, 100*ms)
	s.data(0, 0)
	s.feedback()
	for _, n := range []int{3, 1, 2, 2, 1, 5, 6, 5, 4, 4, 8, 8, 8, 8, 7} {
		s.data(n, 1)
	}
	if s.AckDue(s.now) || s.loss.rate() != 0 || s.n != 0 || s.loss.end != seq(8) {
		t.Errorf("due %v, p %v, %d pending, settled to %d", s.AckDue(s.now), s.loss.rate(), s.n, s.loss.end.Sub(origin))
	}
	if s.meter.octets != 9000 {
		t.Errorf("%d octets counted of 9 packets", s.meter.octets)
	}
}

// RFC 4342, Section 6.1, with RFC 4340, Section 7.7: an NDP Count tells that
// what is missing had no data.
func TestNDPCountSavesALossEvent_RFC4342_6_1(t *testing.T) {
	s := newSink(t, 100*ms)
	for n := range 10 {
		s.data(n, 0)
	}
	s.feedback()
	s.come(12, ccid.Received{Type: wire.Data, Data: true, Size: 1000, CCVal: 1, NDP: 2, HasNDP: true})
	s.data(13, 1)
	s.data(14, 1)
	if s.AckDue(s.now) || s.loss.rate() != 0 {
		t.Errorf("p %v, though only acknowledgements were lost", s.loss.rate())
	}
}

// RFC 5348, Section 6.3.1: the first interval is what makes the equation give
// the largest receive rate; with 11.2332 packets in a round trip that is a loss
// event rate of 1 % (see TestEquationInverted_RFC5348_6_3_1).
func TestFirstLossIntervalGivesTheReceiveRate_RFC5348_6_3_1(t *testing.T) {
	s := newSink(t, 0)
	s.SetRTT(112332 * time.Microsecond) // 11.2332 packets in a round trip, one each 10 ms
	at := 0
	for ; at < 100; at++ {
		s.data(at, 0)
		s.feedback()
		s.pass(10 * ms)
	}
	at++
	for range 3 {
		s.data(at, 0)
		at++
		s.pass(10 * ms)
	}
	if f, _, ok := s.feedback(); !ok || f.intervals.n != 2 || f.intervals.iv[1].data < 95 || f.intervals.iv[1].data > 105 {
		t.Errorf("%v %+v, want an interval of about 100", ok, f.intervals)
	}
	// The first packet is lost: half a packet in a round trip, that is p =
	// 0.211 by the equation, or 5 packets.
	s = newSink(t, 100*ms)
	for n := 1; n < 4; n++ {
		s.data(n, 0)
	}
	if f, _, ok := s.feedback(); !ok || f.intervals.n != 2 || f.intervals.iv[1] != (interval{data: 5}) {
		t.Errorf("%v %+v, want an interval of 5", ok, f.intervals)
	}
}

// RFC 4342, Section 8.5: the inverse, rounded up; 2^32-1 before any loss; only
// when it was agreed upon.
func TestLossEventRateOption_RFC4342_8_5(t *testing.T) {
	s := newSink(t, 100*ms)
	s.data(0, 0)
	if f, _, _ := s.feedback(); f.inverse != 0 {
		t.Errorf("sent though not agreed: %d", f.inverse)
	}
	s.Feature(wire.FeatSendLossEventRate, 1)
	s.data(1, 5)
	if f, _, _ := s.feedback(); f.inverse != 1<<32-1 {
		t.Errorf("%d before any loss", f.inverse)
	}
	for _, c := range []struct {
		lengths []uint32
		want    uint32
	}{{[]uint32{100}, 100}, {[]uint32{30, 31}, 31}, {[]uint32{20, 20, 21}, 21}} {
		s.loss.n, s.loss.loss = len(c.lengths)+1, true
		s.loss.iv[0].start = s.loss.end
		for i, d := range c.lengths {
			s.loss.iv[i+1].data = d
		}
		if got := s.inverse(); got != c.want {
			t.Errorf("%v: %d, want %d", c.lengths, got, c.want)
		}
	}
}
