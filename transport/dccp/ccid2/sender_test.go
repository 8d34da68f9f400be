package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// RFC 4341, Section 4: no connection without Ack Vectors from the receiver.
func TestAckVectorsAreInsistedOn_RFC4341_4(t *testing.T) {
	c := New()
	if len(c.Needs) != 1 || c.ID != ccid.TCPLike {
		t.Fatalf("%+v", c)
	}
	n := c.Needs[0]
	if n.Feature != wire.FeatSendAckVector || !n.Remote || !n.Mandatory || string(n.Values) != "\x01" {
		t.Errorf("%+v", n)
	}
}

// RFC 3390; RFC 4341, Section 5.
func TestInitialWindow_RFC3390(t *testing.T) {
	for mps, want := range map[int]int{100: 4, 1095: 4, 1096: 3, 1460: 3, 2190: 3, 2191: 2, 9000: 2} {
		if r := newRig(t, mps); r.win.cwnd != want || r.fill() != want {
			t.Errorf("MPS %d: cwnd %d, want %d", mps, r.win.cwnd, want)
		}
	}
}

// RFC 4341, Section 5: data goes only while pipe < cwnd.
func TestWindowHoldsDataBack_RFC4341_5(t *testing.T) {
	r := newRig(t, 1000)
	r.fill()
	if ok, at := r.Allowed(r.now, 1); ok || !at.IsZero() {
		t.Errorf("allowed %v, at %v, with a full window", ok, at)
	}
	r.ack(0, "r")
	if ok, _ := r.Allowed(r.now, 1); !ok {
		t.Error("not allowed though a packet has left the network")
	}
}

// RFC 4341, Section 5: pipe falls once for a data packet, never for others.
func TestPipeFallsOncePerDataPacket_RFC4341_5(t *testing.T) {
	r := newRig(t, 1000)
	r.send(2, true) // 0 1
	r.control()     // 2
	r.send(4, true) // 3 4 5 6
	r.ack(2, "r", "m", "r")
	r.is("0 and a packet without data", 4, -1, 5)
	r.ack(2, "r", "m", "r")
	r.is("the same again", 4, -1, 5)
	r.ack(4, "r2", "r", "m", "r")
	r.is("3 and 4; 1 is lost", 2, 2, 2)
	r.ack(4, "r2", "r", "r", "r")
	r.is("1 came after all", 2, 2, 2)
}

// RFC 4341, Section 5, NUMDUPACK: three packets sent later have arrived; they
// need not carry data.
func TestLossTakesThreeLaterPackets_RFC4341_5(t *testing.T) {
	r := newRig(t, 1000)
	r.send(2, true) // 0 1
	r.control()     // 2
	r.control()     // 3
	r.ack(2, "r2", "m")
	r.is("two later", 4, -1, 1)
	r.ack(3, "r3", "m")
	r.is("three later", 2, 2, 0)
	if s := r.Stats(); s.Losses != 1 || s.Reductions != 1 {
		t.Errorf("%+v", s)
	}
	// Reordering by two is none.
	r = newRig(t, 1000)
	r.send(3, true)
	r.ack(2, "r2", "m")
	r.ack(2, "r3")
	if s := r.Stats(); s.Losses != 0 || r.pipe != 0 {
		t.Errorf("a packet that was late by two counts as lost: %+v", s)
	}
}

// RFC 4341, Section 5: losses among what was sent before the first one was
// detected are one congestion event.
func TestOneReductionForAWindow_RFC4341_5(t *testing.T) {
	r := newRig(t, 1000)
	r.win.cwnd = 20
	r.fill()                       // 0 to 19
	r.ack(3, "r3", "m")            // 0 is lost
	r.is("first loss", 10, 10, 16) // 4 to 19
	r.ack(9, "r3", "m", "r", "m", "r3", "m")
	r.is("more losses of the same window", 10, 10, 10)
	r.ack(19, "r10", "r3", "m", "r", "m", "r3", "m")
	r.is("the rest arrived", 10, 10, 0)
	r.fill() // 20 to 29, after the event
	r.ack(23, "r3", "m")
	r.is("a loss of the next window", 5, 5, 6)
	if s := r.Stats(); s.Reductions != 2 || s.Losses != 4 {
		t.Errorf("%+v", s)
	}
}

// RFC 4341, Section 5: rounded down, cwnd not under 1, ssthresh not under 2.
func TestReductionRoundsDown_RFC4341_5(t *testing.T) {
	for _, c := range []struct{ cwnd, after, ssthresh int }{{9, 4, 4}, {5, 2, 2}, {3, 1, 2}, {2, 1, 2}, {1, 1, 2}} {
		r := newRig(t, 1000)
		r.win.cwnd = c.cwnd
		r.send(4, true)
		r.ack(3, "r3", "m")
		r.is("after a loss", c.after, c.ssthresh, 0)
	}
}

// RFC 4341, Section 5: a mark is a congestion event. RFC 4340, Section 11.4.1:
// received, then marked is marked; marked, then received stays so.
func TestMarksAreCongestion_RFC4340_11_4_1(t *testing.T) {
	r := newRig(t, 1000)
	r.win.cwnd = 8
	r.fill()
	r.ack(1, "c", "r")
	r.is("a mark", 4, 4, 6)
	r.ack(1, "r", "r")
	r.ack(1, "c", "c")
	r.is("repeated", 4, 4, 6)
	r.ack(7, "r6", "r2")
	r.fill() // 8 to 11
	r.ack(10, "r", "m", "r")
	r.ack(10, "c", "m", "c")
	r.is("what was reported received is marked now", 2, 2, 2)
	if s := r.Stats(); s.Reductions != 2 {
		t.Errorf("%+v", s)
	}
}

// RFC 4341, Section 5: in slow start one packet for two newly acknowledged, at
// most Ack Ratio/2 for one acknowledgement.
func TestSlowStart_RFC4341_5(t *testing.T) {
	r := newRig(t, 1000)
	r.Feature(wire.FeatAckRatio, 2)
	r.fill() // 0 to 3
	r.ack(1, "r2")
	r.is("two acknowledged", 5, maxWindow, 2)
	r.fill()       // 4 5 6
	r.ack(6, "r7") // five at once: one packet for a ratio of 2
	r.is("five acknowledged at once, ratio 2", 6, maxWindow, 0)
	r.Feature(wire.FeatAckRatio, 4)
	r.fill() // 7 to 12
	r.ack(12, "r6")
	r.is("six at once, ratio 4", 8, maxWindow, 0)
	// With a ratio of 1 each acknowledgement is of one packet: the halves add up.
	r.Feature(wire.FeatAckRatio, 1)
	r.fill() // 13 to 20
	r.ack(13, "r")
	r.is("one, ratio 1", 8, maxWindow, 7)
	r.ack(14, "r2")
	r.is("two, ratio 1", 9, maxWindow, 6)
}

// RFC 4341, Section 5: above the threshold, one packet for each window
// acknowledged without loss or mark.
func TestCongestionAvoidance_RFC4341_5(t *testing.T) {
	r := newRig(t, 1000)
	r.win.cwnd, r.win.ssthresh = 6, 6
	r.fill() // 0 to 5
	for n := range 5 {
		r.ack(n, "r")
		r.is("within the window", 6, 6, 5-n)
	}
	r.ack(5, "r")
	r.is("a window was acknowledged", 7, 6, 0)
	r.fill() // 6 to 12
	r.ack(10, "r5")
	r.is("five of seven", 7, 6, 2)
	r.ack(12, "r2")
	r.is("the next window", 8, 6, 0)
}

// RFC 4341, Section 5; RFC 6298, Section 5: everything outstanding is gone, the
// threshold is half the window, the window is one packet, the timer doubles.
func TestTransmitTimeout_RFC4341_5(t *testing.T) {
	r := newRig(t, 1000)
	r.Feature(wire.FeatAckRatio, 1)
	r.send(1, true)
	r.pass(100 * time.Millisecond)
	r.ack(0, "r") // RTT 100 ms: RTO 300 ms
	r.win.cwnd = 8
	r.fill() // 1 to 8
	sent := r.now
	if at := r.Next(); !at.Equal(sent.Add(300 * time.Millisecond)) {
		t.Fatalf("timer at %v", at.Sub(sent))
	}
	r.Advance(sent.Add(299 * time.Millisecond))
	r.is("not yet", 8, maxWindow, 8)
	for i, rto := range []int{300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 64000, 64000} {
		at := r.Next()
		if got := at.Sub(r.now); got != time.Duration(rto)*time.Millisecond {
			t.Fatalf("timeout %d after %v, want %d ms", i, got, rto)
		}
		r.now = at
		r.Advance(r.now)
		if i == 0 {
			r.is("timeout", 1, 4, 0)
		}
		if !r.Next().IsZero() {
			t.Error("the timer runs though nothing is outstanding")
		}
		if n := r.fill(); n != 1 {
			t.Fatalf("%d packets after a timeout", n)
		}
	}
	if s := r.Stats(); s.Timeouts != 10 || s.Losses != 17 {
		t.Errorf("%+v", s)
	}
	// What timed out arrives after all: not taken out of the pipe again.
	r.ack(8, "r8")
	r.is("late", 1, 2, 1)
	// New data acknowledged: slow start, and the timer is what RTTs say again.
	r.pass(100 * time.Millisecond)
	r.ack(18, "r", "m9")
	if r.est.backoff != 0 || r.pipe != 0 {
		t.Errorf("backoff %d, pipe %d", r.est.backoff, r.pipe)
	}
}

// RFC 6298, Section 2, by hand: SRTT and RTTVAR in milliseconds.
//
//	100: first: SRTT 100, VAR 50                           RTO 100+4*50 = 300
//	200: VAR 3/4*50+1/4*100 = 62.5, SRTT 7/8*100+25 = 112.5    RTO 362.5
//	112.5: VAR 46.875, SRTT 112.5                              RTO 300
//	20: VAR 3/4*46.875+1/4*92.5 = 58.28125, SRTT 100.9375      RTO 334.0625
func TestRetransmissionTimer_RFC6298_2(t *testing.T) {
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	var e estimator
	if e.rto() != time.Second {
		t.Errorf("%v before any measurement (Section 2.1)", e.rto())
	}
	for _, c := range []struct{ sample, srtt, rto float64 }{
		{100, 100, 300}, {200, 112.5, 362.5}, {112.5, 112.5, 300}, {20, 100.9375, 334.0625},
	} {
		e.sample(ms(c.sample))
		if d := (e.srtt - ms(c.srtt)).Abs() + (e.rto() - ms(c.rto)).Abs(); d > 10*time.Nanosecond {
			t.Errorf("after %v ms: SRTT %v, RTO %v; want %v, %v ms", c.sample, e.srtt, e.rto(), c.srtt, c.rto)
		}
	}
	for range 100 {
		e.sample(time.Millisecond)
	}
	if e.rto() != minRTO {
		t.Errorf("RTO %v with an RTT of 1 ms", e.rto())
	}
	e.sample(time.Hour)
	if e.rto() != maxRTO {
		t.Errorf("RTO %v with an RTT of an hour", e.rto())
	}
}

// RFC 4341, Section 5: one measurement for a window of data, the peer's delay
// deducted; an Elapsed Time beyond the whole time is not believed.
func TestRoundTripIsMeasuredOnceAWindow_RFC4341_5(t *testing.T) {
	r := newRig(t, 1000)
	r.fill() // 0 to 3
	r.pass(150 * time.Millisecond)
	r.ackWith(ccid.Ack{Ack: seq(1), Elapsed: 50 * time.Millisecond}, "r2")
	if r.Stats().RTT != 100*time.Millisecond {
		t.Errorf("RTT %v", r.Stats().RTT)
	}
	r.pass(time.Second)
	r.ack(2, "r3")
	if r.Stats().RTT != 100*time.Millisecond {
		t.Errorf("RTT %v after a second measurement in one window", r.Stats().RTT)
	}
	r.fill()
	r.pass(100 * time.Millisecond)
	r.ackWith(ccid.Ack{Ack: seq(r.next - 1), Elapsed: time.Hour}, "r2")
	if r.Stats().RTT != 100*time.Millisecond {
		t.Errorf("RTT %v with an Elapsed Time of an hour", r.Stats().RTT)
	}
}

// RFC 2861, Section 3.2; RFC 4341, Section 5.1: each timeout of silence halves
// the window, down to that of a new connection.
func TestIdlePeriodHalvesTheWindow_RFC2861_3_2(t *testing.T) {
	start := func() *rig {
		r := newRig(t, 1000)
		r.send(1, false)
		r.pass(100 * time.Millisecond)
		r.ack(0, "r") // RTO 300 ms
		r.win.cwnd = 40
		r.send(1, true)
		r.pass(10 * time.Millisecond)
		r.ack(1, "r")
		return r
	}
	rto := start().est.base()
	for _, c := range []struct {
		rtos float64
		want int
	}{{0.9, 40}, {1.1, 20}, {2.1, 10}, {3.1, 5}, {4.1, 4}, {100, 4}} {
		r := start()
		r.pass(time.Duration(c.rtos*float64(rto)) - 10*time.Millisecond)
		r.Allowed(r.now, 1000)
		if r.win.cwnd != c.want {
			t.Errorf("%v timeouts: window %d, want %d", c.rtos, r.win.cwnd, c.want)
		}
	}
	r := newRig(t, 1000)
	r.win.cwnd, r.win.ssthresh = 40, 10
	r.send(1, false)
	r.pass(time.Minute)
	r.Allowed(r.now, 1000)
	if r.win.ssthresh != 30 {
		t.Errorf("threshold %d, want three quarters of the window", r.win.ssthresh)
	}
}

// RFC 2861, Section 3.2: a window that is not filled is not widened, and after
// a timeout half of what was not used is given back.
func TestApplicationLimitedWindow_RFC2861_3_2(t *testing.T) {
	r := newRig(t, 1000)
	r.win.cwnd, r.win.ssthresh = 32, 16
	for range 20 {
		r.send(6, false)
		r.pass(50 * time.Millisecond)
		r.ack(r.next-1, "r6")
		if r.win.cwnd > 32 {
			t.Fatalf("the window grew to %d", r.win.cwnd)
		}
	}
	// A second and RTOs of about 0.2 s: 32, 19, 12, 9, 7, …
	if r.win.cwnd > 12 || r.win.cwnd < 6 || r.win.ssthresh != 24 {
		t.Errorf("window %d, threshold %d", r.win.cwnd, r.win.ssthresh)
	}
	// The same, with the window filled each time, does grow.
	r = newRig(t, 1000)
	r.win.cwnd, r.win.ssthresh = 6, 6
	for range 20 {
		n := r.fill()
		r.pass(50 * time.Millisecond)
		r.ack(r.next-1, "r"+string(rune('0'+n/10))+string(rune('0'+n%10)))
	}
	if r.win.cwnd < 20 {
		t.Errorf("window %d after 20 full windows", r.win.cwnd)
	}
}

// RFC 4340, Section 11.7.2; RFC 4341, Section 5.2.
func TestDataDropped_RFC4341_5_2(t *testing.T) {
	blocks := func(code wire.DropCode, n int) []byte { return wire.AppendDropRun(nil, code, n) }
	for _, c := range []struct {
		name     string
		code     wire.DropCode
		cwnd     int
		ssthresh int
	}{
		// Receive buffer: one less for each packet, and slow start ends.
		{"receive buffer", wire.DropReceiveBuffer, 9, 9},
		{"constraints", wire.DropConstraints, 13, maxWindow},
		{"not listening", wire.DropNotListening, 13, maxWindow},
		// As bad as marks.
		{"corrupt", wire.DropCorrupt, 6, 6},
		{"delivered corrupt", wire.DropDeliveredCorrupt, 6, 6},
		{"reserved", 5, 6, 6},
	} {
		r := newRig(t, 1000)
		r.win.cwnd = 12
		r.fill()
		a := ccid.Ack{Ack: seq(2), Dropped: blocks(c.code, 3)}
		r.ackWith(a, "r3")
		r.is(c.name, c.cwnd, c.ssthresh, 9)
		// It is repeated until it is acknowledged; it counts once.
		a.Dropped = append(blocks(wire.NotDropped, 1), blocks(c.code, 3)...)
		a.Ack = seq(3)
		cwnd := r.win.cwnd
		r.ackWith(a, "r4")
		if r.win.cwnd < cwnd {
			t.Errorf("%s: repeated, the window fell from %d to %d", c.name, cwnd, r.win.cwnd)
		}
	}
	// Not under one; and only what arrived can have been dropped.
	r := newRig(t, 1000)
	r.win.cwnd = 3
	r.send(12, true)
	r.ackWith(ccid.Ack{Ack: seq(11), Dropped: blocks(wire.DropReceiveBuffer, 12)}, "r2", "m10")
	r.is("two of twelve", 1, 2, 10)
	r.ackWith(ccid.Ack{Ack: seq(11), Dropped: blocks(wire.DropReceiveBuffer, 12)}, "r2", "m9", "r")
	r.is("never under one", 1, 2, 9)
	// A loss and drops together: no larger than either response alone (RFC
	// 4340, Section 11.7.1).
	r = newRig(t, 1000)
	r.win.cwnd = 12
	r.fill()
	r.ackWith(ccid.Ack{Ack: seq(3), Dropped: blocks(wire.DropReceiveBuffer, 2)}, "r3", "m")
	r.is("loss and drops", 5, 5, 8)
}

// RFC 4340, Section 11.6; RFC 4341, Section 5.2: slow start ends, and for a
// round trip nothing grows.
func TestSlowReceiver_RFC4341_5_2(t *testing.T) {
	r := newRig(t, 1000)
	r.fill() // 0 to 3
	r.pass(100 * time.Millisecond)
	r.ackWith(ccid.Ack{Ack: seq(1), SlowReceiver: true}, "r2")
	r.is("slow", 4, 4, 2)
	r.fill() // 4 5
	r.pass(50 * time.Millisecond)
	r.ack(5, "r6")
	r.is("half a round trip later", 4, 4, 0)
	r.fill() // 6 to 9
	r.pass(100 * time.Millisecond)
	r.ack(9, "r4")
	r.is("afterwards", 5, 4, 0)
}

// RFC 4341, Section 6: what has no Ack Vector acknowledges nothing; nor does
// an acknowledgement of what was never sent.
func TestAcknowledgementsThatSayNothing_RFC4341_6(t *testing.T) {
	r := newRig(t, 1000)
	r.fill()
	r.ack(3)
	r.is("no vector", 4, -1, 4)
	r.ack(500, "r64", "r64")
	r.is("not sent yet", 4, -1, 4)
	r.ackWith(ccid.Ack{Ack: first.Add(-1000)}, "r10")
	r.is("long gone", 4, -1, 4)
	r.Acked(r.now, &ccid.Ack{Ack: seq(3), Vector: []byte{0xbf, 0x80}})
	r.is("reserved state", 4, -1, 4)
}

// RFC 4341, Section 6.2: the peer's acknowledgements are acknowledged at least
// once for each window.
func TestAcknowledgementsAreAcknowledgedOnceAWindow_RFC4341_6_2(t *testing.T) {
	r := newRig(t, 1000)
	r.win.cwnd, r.win.ssthresh = 10, 10
	wished, since := 0, 0
	for range 100 {
		r.send(1, true)
		since++
		r.ack(r.next-1, "r")
		if r.Wishes().AckOfAcks {
			wished++
			if since > r.win.cwnd {
				t.Fatalf("%d packets since the last, with a window of %d", since, r.win.cwnd)
			}
			since = 0
			r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Data: true, Ack: true, Backlog: 1})
			r.next++
			if r.Wishes().AckOfAcks {
				t.Fatal("wished again at once")
			}
		}
	}
	if wished < 5 {
		t.Errorf("wished %d times for 100 packets", wished)
	}
	// Nothing came: nothing to acknowledge.
	r = newRig(t, 1000)
	r.send(50, true)
	if r.Wishes().AckOfAcks {
		t.Error("wished though nothing came")
	}
}

// RFC 4340, Section 7.5.2: the sequence window is to be about five times what
// is sent in a round trip; until it is granted, no more goes than it bears.
func TestSequenceWindow_RFC4340_7_5_2(t *testing.T) {
	r := newRig(t, 1000)
	r.Feature(wire.FeatSequenceWindow, wire.DefaultSequenceWindow)
	if w := r.Wishes().SequenceWindow; w != 0 {
		t.Errorf("wish for %d with a window of 4", w)
	}
	r.win.cwnd = 500
	w := r.Wishes().SequenceWindow
	if w < 2500 || w > 10000 {
		t.Errorf("wish for %d with a window of 500", w)
	}
	if n := r.fill(); n != 50 {
		t.Errorf("%d packets sent within a sequence window of 100", n)
	}
	r.Feature(wire.FeatSequenceWindow, w)
	if r.Wishes().SequenceWindow != 0 {
		t.Error("wish repeated though granted")
	}
	if n := r.fill(); n != 450 {
		t.Errorf("%d more once it is granted", n)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	r := newRig(t, 1000)
	r.send(1, true)
	for range 3 * maxHistory {
		r.control()
	}
	if n := len(r.hist.ring); n > maxHistory || r.hist.len() > maxHistory {
		t.Errorf("%d packets remembered in %d places", r.hist.len(), n)
	}
	if r.pipe != 0 || r.Stats().Losses != 1 {
		t.Errorf("pipe %d, %+v: the packet that was forgotten is still waited for", r.pipe, r.Stats())
	}
	// A sender without data remembers nothing.
	r = newRig(t, 1000)
	for range 1000 {
		r.control()
	}
	if r.hist.ring != nil {
		t.Errorf("%d places for packets without data", len(r.hist.ring))
	}
	// Numbers that were used without telling.
	r.send(1, true)
	r.next += maxHistory / 2
	r.send(1, true)
	r.next += 1 << 40
	r.send(2, true)
	r.ack(r.next-1, "r2")
	if r.pipe != 0 {
		t.Errorf("pipe %d", r.pipe)
	}
}

func TestSenderDoesNotAllocate(t *testing.T) {
	r := newRig(t, 1000)
	r.Feature(wire.FeatAckRatio, 2)
	a := ccid.Ack{Vector: vector("r2", "m", "r9"), Elapsed: time.Millisecond}
	h := ccid.Received{Type: wire.Ack}
	round := func() {
		for range 100 {
			r.fill()
			r.pass(time.Millisecond)
			r.peer = r.peer.Add(1)
			h.Seq, a.Seq = r.peer, r.peer
			a.Ack = seq(r.next - 1)
			r.Heard(r.now, &h)
			r.Acked(r.now, &a)
			r.Wishes()
			if !r.Next().IsZero() {
				r.now = r.Next()
				r.Advance(r.now)
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n != 0 {
		t.Errorf("%v allocations for 100 windows", n)
	}
}
