package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

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
