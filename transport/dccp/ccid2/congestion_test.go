package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

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
