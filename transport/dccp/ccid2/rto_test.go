package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

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
