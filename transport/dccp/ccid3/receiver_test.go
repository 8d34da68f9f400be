package ccid3

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const ms = time.Millisecond

// origin is the first packet's number; the numbers wrap soon after.
const origin = wire.Seq(1<<48 - 3)

func seq(n int) wire.Seq { return origin.Add(int64(n)) }

// sink drives an HC-Receiver by hand.
type sink struct {
	*Receiver
	t    *testing.T
	now  time.Time
	next int
}

func newSink(t *testing.T, rtt time.Duration) *sink {
	return &sink{Receiver: NewReceiver(ccid.Setup{Now: epoch, Next: origin, MPS: 1000, RTT: rtt}), t: t, now: epoch}
}

func (s *sink) pass(d time.Duration) { s.now = s.now.Add(d) }

// data lets packet n come, with 1000 octets.
func (s *sink) data(n int, counter uint8) {
	s.come(n, ccid.Received{Type: wire.Data, Data: true, Size: 1000, CCVal: counter})
}

func (s *sink) come(n int, r ccid.Received) {
	r.Seq = seq(n)
	s.Received(s.now, &r)
	s.next = max(s.next, n+1)
}

// feedback sends feedback if that is due.
func (s *sink) feedback() (f feedback, elapsed time.Duration, ok bool) {
	if !s.AckDue(s.now) {
		return f, 0, false
	}
	var options []wire.Option
	for r := wire.ReadOptions(s.AppendOptions(s.now, nil, 200)); r.Next(); {
		options = append(options, r.Option)
		if r.Option.Type == wire.OptElapsedTime {
			elapsed, _ = wire.ElapsedTime(r.Option.Data)
		}
	}
	f.read(options)
	s.AckSent(s.now, 1, false)
	if s.AckDue(s.now) {
		s.t.Error("feedback is still due")
	}
	return f, elapsed, true
}

// RFC 5348, Section 6.3: the first data packet is answered at once, with a
// receive rate of zero and no loss.
func TestFirstPacketIsAnsweredAtOnce_RFC5348_6_3(t *testing.T) {
	s := newSink(t, 100*ms)
	if s.AckDue(s.now) || !s.Next().IsZero() {
		t.Error("due before any data")
	}
	s.come(0, ccid.Received{Type: wire.Ack})
	if s.AckDue(s.now) {
		t.Error("due without data")
	}
	s.data(1, 0)
	f, elapsed, ok := s.feedback()
	if !ok || !f.hasRecv || f.recv != 0 || elapsed != 0 || f.intervals.n != 1 || f.intervals.iv[0] != (interval{2, 0, 0}) {
		t.Errorf("%v %+v", ok, f)
	}
}

// RFC 4342, Section 10.3: feedback when the window counter is 4 beyond that of
// the last feedback: once for a round trip, or for each packet of a slow sender.
func TestFeedbackFollowsTheWindowCounter_RFC4342_10_3(t *testing.T) {
	s := newSink(t, 100*ms)
	sent := 0
	for n := range 160 { // 10 packets for a quarter of a round trip
		s.data(n, uint8(n/10%16))
		s.pass(2500 * time.Microsecond)
		if _, _, ok := s.feedback(); ok {
			if sent++; n%40 != 0 {
				t.Errorf("feedback on packet %d", n)
			}
		}
	}
	if sent != 4 {
		t.Errorf("%d feedback packets for 160 packets in four round trips", sent)
	}
	// Out of order: an older counter does not count as one gone round.
	s.data(162, 0)
	s.data(161, 15)
	if _, _, ok := s.feedback(); !ok {
		t.Error("no feedback: 0 is four beyond 12")
	}
	s.data(160, 15)
	if s.AckDue(s.now) {
		t.Error("feedback on an old counter")
	}
	s = newSink(t, 100*ms)
	for n := range 20 { // each packet five steps on
		s.data(n, uint8(n*5%16))
		if _, _, ok := s.feedback(); !ok {
			t.Errorf("no feedback on packet %d of a slow sender", n)
		}
		s.pass(time.Second)
	}
}

// RFC 4342, Section 8.3, and RFC 5348, Section 6.2: the rate of the last round
// trip or of the time since the last feedback, whichever is longer.
func TestReceiveRate_RFC5348_6_2(t *testing.T) {
	s := newSink(t, 100*ms)
	// 10 packets of 1000 octets in each 100 ms: 100 000 octets a second.
	var f feedback
	at := 0
	run := func(packets int) {
		for range packets {
			s.pass(10 * ms)
			s.data(at, uint8(at*4/10%16))
			at++
			if g, _, ok := s.feedback(); ok {
				f = g
			}
		}
	}
	run(50)
	if f.recv < 99000 || f.recv > 101000 {
		t.Errorf("%v octets a second, want 100000", f.recv)
	}
	// Early feedback, a fifth of a round trip after the last: still the rate of
	// a round trip at least.
	for f.recv = 0; f.recv == 0; {
		run(1)
	}
	s.pass(10 * ms)
	at++ // lost
	for range 3 {
		s.data(at, uint8((at-3)*4/10%16))
		at++
	}
	g, _, ok := s.feedback()
	if !ok || g.intervals.n != 2 || g.recv < 90000 || g.recv > 140000 {
		t.Errorf("%v: %v octets a second in early feedback", ok, g.recv)
	}
	// After a long silence a lone packet is one for a round trip: the sender's
	// rate is not limited by its own silence (RFC 5348, Section 6.2).
	s.pass(64 * time.Second)
	s.data(at, 1)
	rtt := s.Stats().RTT
	if f, _, ok = s.feedback(); !ok || f.recv < 0.9*1000/rtt.Seconds() || f.recv > 1.1*1000/rtt.Seconds() {
		t.Errorf("%v: %v octets a second for one packet, round trip %v", ok, f.recv, rtt)
	}
}

// RFC 4342, Section 8.1: the round trip from the window counters.
func TestRoundTripFromWindowCounters_RFC4342_8_1(t *testing.T) {
	tick := func(c *rttClock, at time.Duration, s int, v uint8) { c.tick(epoch.Add(at*ms), seq(s), v%16) }
	// One packet for each quarter of 25 ms: 100 ms.
	var c rttClock
	for n := range 40 {
		tick(&c, time.Duration(n)*25, n, uint8(n))
	}
	if c.own != 100*ms {
		t.Errorf("%v, want 100ms", c.own)
	}
	// The picture of the section: K K K+1 K+3 K+4 K+3 K+4: from the first K to
	// the first K+4.
	c = rttClock{}
	for i, p := range []struct{ at, v int }{{0, 8}, {10, 8}, {20, 9}, {30, 9}, {40, 9}, {50, 10}, {100, 12}, {125, 13}} {
		tick(&c, time.Duration(p.at), i, uint8(p.v))
		if i == 6 {
			c.own = 0 // what three and two quarters told
		}
	}
	if c.own != 105*ms {
		t.Errorf("%v, want 125-20 ms", c.own)
	}
	// Steps of five tell nothing.
	c = rttClock{other: 70 * ms}
	for n := range 40 {
		tick(&c, time.Duration(n)*1000, n, uint8(5*n))
	}
	if c.rtt() != 70*ms {
		t.Errorf("%v from a sender slower than its round trip", c.rtt())
	}
	// Nor do counters that may have gone round while packets were lost.
	c = rttClock{other: 70 * ms}
	for n := range 40 {
		tick(&c, time.Duration(n)*64000, 4*n, uint8(20*n))
	}
	if c.rtt() != 70*ms {
		t.Errorf("%v from a sender of which three packets in four are lost", c.rtt())
	}
	// After a silence the counters of before it are none to measure from.
	c = rttClock{}
	at, v := time.Duration(0), uint8(0)
	for n := range 40 {
		tick(&c, at, n, v)
		at, v = at+25, v+1
		if n == 20 {
			at, v = at+10000, v+4
		}
	}
	if c.own != 100*ms {
		t.Errorf("%v after a silence, want 100ms", c.own)
	}
	if c = (rttClock{}); c.rtt() != 200*ms {
		t.Errorf("%v from nothing (RFC 4340, Section 3.4)", c.rtt())
	}
}

// RFC 4342, Section 10.3: the feedback timer tells of data that came after the
// last feedback, before the sender's nofeedback timer gives it up.
func TestFeedbackTimer_RFC4342_10_3(t *testing.T) {
	s := newSink(t, 100*ms)
	s.data(0, 0)
	s.feedback()
	if !s.Next().IsZero() {
		t.Error("the timer runs without data")
	}
	s.pass(10 * ms)
	s.data(1, 1)
	if at := s.Next(); !at.Equal(epoch.Add(200 * ms)) {
		t.Fatalf("timer at %v", at.Sub(epoch))
	}
	s.now = s.Next()
	if _, elapsed, ok := s.feedback(); !ok || elapsed != 190*ms {
		t.Errorf("%v, elapsed %v", ok, elapsed)
	}
	// Without room: nothing, and not again and again.
	s.data(2, 9)
	if b := s.AppendOptions(s.now, nil, 20); b != nil {
		t.Errorf("% x", b)
	}
	s.AckSent(s.now, 2, true)
	if !s.AckDue(s.now) {
		t.Error("forgotten though a data packet had no room for it")
	}
	// Options that were made and not sent are forgotten with the next.
	s.AppendOptions(s.now, nil, 200)
	s.AppendOptions(s.now, nil, 20)
	s.AckSent(s.now, 2, true)
	if !s.AckDue(s.now) {
		t.Error("forgotten though it never went")
	}
	s.AppendOptions(s.now, nil, 20)
	s.AckSent(s.now, 3, false)
	if s.AckDue(s.now) {
		t.Error("due for ever")
	}
}

func TestReceiverDoesNotAllocate(t *testing.T) {
	s := newSink(t, 100*ms)
	b := make([]byte, 0, 200)
	r := ccid.Received{Type: wire.Data, Data: true, Size: 1000}
	n := 0
	round := func() {
		for range 1000 {
			n++
			if n%50 == 0 {
				continue // lost
			}
			r.Seq, r.CCVal = seq(n), uint8(n/5%16)
			r.CE = n%333 == 0
			s.Received(s.now, &r)
			s.pass(5 * ms)
			if s.AckDue(s.now) {
				b = s.AppendOptions(s.now, b[:0], 200)
				s.AckSent(s.now, 1, false)
			}
		}
	}
	round()
	if a := testing.AllocsPerRun(10, round); a != 0 {
		t.Errorf("%v allocations for 1000 packets", a)
	}
	if s.Stats().LossRate == 0 || s.Stats().Acks == 0 {
		t.Errorf("%+v", s.Stats())
	}
}

// FuzzReceiver lets packets of all kinds come in any order.
func FuzzReceiver(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 2, 0, 5, 0, 9, 1, 3, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		s := newSink(t, 50*ms)
		at := 0
		for len(in) >= 4 {
			// How far the number moves, how much time passes, flags, counter.
			at += int(int8(in[0]))
			if in[2]&64 != 0 {
				at += int(in[1]) << 16
			}
			s.pass(time.Duration(in[1]) * ms)
			s.come(at, ccid.Received{
				Data: in[2]&1 != 0, CE: in[2]&2 != 0, HasNDP: in[2]&4 != 0, NDP: uint64(in[3]) << (in[2] >> 4),
				CCVal: in[3], Size: int(in[1]),
			})
			if s.n >= numDupAck {
				t.Fatalf("%d packets pending", s.n)
			}
			if in[2]&8 != 0 {
				s.feedback()
			}
			r := s.loss.report(s.highest)
			b := r.append(nil, 200)
			var again report
			if !again.parse(b[2:]) {
				t.Fatalf("we report what makes no sense: %+v", r)
			}
			if p := s.loss.rate(); p < 0 || p > 1 {
				t.Fatalf("p %v", p)
			}
			in = in[4:]
		}
	})
}
