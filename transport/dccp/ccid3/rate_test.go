package ccid3

import (
	"testing"
	"time"
)

// RFC 5348, Section 4.2: one packet a second, nofeedback after two; from the
// first round trip on, W_init/R.
func TestFirstRate_RFC5348_4_2(t *testing.T) {
	r := newRig(t, 0)
	if n := r.fill(); n != 1 {
		t.Fatalf("%d packets at once", n)
	}
	r.is("without a round trip", 1000)
	if at := r.Next(); !at.Equal(epoch.Add(2 * time.Second)) {
		t.Errorf("nofeedback timer at %v", at.Sub(epoch))
	}
	if ok, at := r.Allowed(r.now, 1000); ok || at.Before(epoch.Add(999*ms)) || at.After(epoch.Add(time.Second)) {
		t.Errorf("second packet: %v, at %v", ok, at.Sub(epoch))
	}
	r.pass(100 * ms)
	r.heard(0, 0, 0)
	r.is("first feedback", 4000/0.1)
	// The packet that had waited for its second goes in time with the new rate.
	if n := r.fill(); n == 0 {
		t.Error("still waiting for the second to pass")
	}
	// W_init = min(4s, max(2s, 4380)), with s for the MSS (RFC 4342, Section 5:
	// two to four packets).
	for size, want := range map[int]float64{100: 400, 1000: 4000, 1095: 4380, 1400: 4380, 2190: 4380, 3000: 6000} {
		r := newRig(t, 100*ms) // a round trip from the handshake
		r.size = size
		r.send(1)
		r.is("handshake's round trip", want/0.1)
		if !r.Next().Equal(epoch.Add(400 * ms)) {
			t.Errorf("nofeedback timer after %v, want 4 R", r.Next().Sub(epoch))
		}
	}
}

// RFC 5348, Section 4.3, step 4: before any loss the rate doubles in a round
// trip, at most to twice what arrives, once the first two round trips are over.
func TestSlowStartDoubles_RFC5348_4_3(t *testing.T) {
	r := newRig(t, 100*ms)
	r.round(100*ms, 0, 0)
	r.is("1 RTT: not limited by the first feedback's zero", 80000)
	r.round(100*ms, 40000, 0)
	r.is("2 RTT", 160000)
	r.round(50*ms, 40000, 0)
	r.is("2.5 RTT: at most once in a round trip", 160000)
	r.round(50*ms, 70000, 0)
	r.is("3 RTT: twice the receive rate", 140000)
	// Not under the first rate, however little arrives.
	for range 4 {
		r.round(100*ms, 10, 0)
	}
	r.is("W_init/R", 40000)
}

// RFC 5348, Section 4.3, step 4: the equation, within twice the receive rate.
func TestCongestionAvoidance_RFC5348_4_3(t *testing.T) {
	r := settled(t)
	r.round(100*ms, 110000, 1000)
	// 0.1 %, 100 ms, 1000 octets: half of 767 687; twice 110 000 is less.
	r.is("p fell to 0.1 %", 220000)
	for range 3 {
		r.round(100*ms, 20000, 1000)
	}
	r.is("20 000 octets/s arrive", 40000)
	for range 3 {
		r.round(100*ms, 1, 1)
	}
	// Everything is lost: s/64 (t_mbi).
	r.is("least rate", 1000.0/64)
	// A rate that the peer has rounded to nothing keeps nobody there.
	r.round(100*ms, 0, 1000)
	r.is("rounded to nothing", 2*1000.0/64)
}

// RFC 5348, Sections 4.3 and 8.2.1: a sender that had nothing to send is not
// held to twice what it sent; a loss then halves what it is held to.
func TestDataLimitedInterval_RFC5348_4_3(t *testing.T) {
	r := settled(t)
	// Two packets in each of several round trips, all that the application has.
	trickle := func(recv float64, inverse uint32) {
		r.pass(50 * ms)
		r.send(0)
		r.pass(50 * ms)
		r.send(0)
		r.pass(100 * ms)
		r.feedback(recv, inverse)
	}
	for range 10 {
		trickle(20000, 100)
	}
	// The largest receive rate of before is kept: 110 000, so the equation rules.
	r.is("data-limited, no loss", 112332.234)
	// p = 2 %: 73 249 by the table. X_recv_set {110 000} is halved, 0.85 * 20 000
	// is less: the limit is 55 000.
	trickle(20000, 50)
	r.is("data-limited, a new loss event", 55000)
	trickle(20000, 50)
	r.is("afterwards, twice the 55 000 that are left", 73248.962)
	// Not data-limited any more: the values of the last two round trips rule.
	for range 4 {
		r.round(100*ms, 10000, 50)
	}
	r.is("limited by what arrives", 20000)
}
