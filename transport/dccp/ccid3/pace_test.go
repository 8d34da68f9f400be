package ccid3

import (
	"math"
	"testing"
	"time"
)

// On such a path a receiver that stands still has a bounded number of packets to
// bear, and not what the rate allows until the nofeedback timer.
func TestNoMoreIsUnderWay(t *testing.T) {
	for _, rtt := range []time.Duration{100 * time.Microsecond, 2 * ms, 20 * ms, 30 * ms} {
		r := newRig(t, rtt)
		sent := func(d time.Duration) (n int) {
			for end := r.now.Add(d); !r.now.After(end); r.pass(10 * time.Microsecond) {
				n += r.fill()
			}
			return n
		}
		sent(rtt)
		for range 9 { // slow start, to thousands of packets in a millisecond
			r.feedbackAfter(rtt, 1e9, 0)
			sent(rtt)
		}
		r.feedbackAfter(rtt, 1e9, 0)
		const silence = 99 * ms
		perSecond := r.Stats().Rate / 1000
		want, most := perSecond*silence.Seconds(), max(1024, 4*perSecond*rtt.Seconds())
		if rtt < 25*ms {
			want = min(want, most)
		}
		before := r.hist.hi.Sub(r.settled) - 1
		if n := float64(sent(silence)) + float64(before); n < 0.9*want-8 || n > 1.1*want+float64(before)+8 {
			t.Errorf("round trip %v: %.0f packets under way without feedback, at %.0f a second; want %.0f", rtt, n, perSecond, want)
		}
		// Feedback lets it go on, and so does the nofeedback timer.
		if r.feedbackAfter(rtt, 1e9, 0); sent(rtt) == 0 {
			t.Errorf("round trip %v: feedback came, and nothing goes", rtt)
		}
		sent(silence)
		r.now = r.Next()
		if r.Advance(r.now); sent(rtt) == 0 {
			t.Errorf("round trip %v: nothing goes after the nofeedback timer", rtt)
		}
	}
}

// RFC 5348, Section 4.5, by hand: samples of 100 ms, then one of 144 ms, q2 =
// 0.9: R_sqmean = 0.9*sqrt(0.1)+0.1*sqrt(0.144) = 0.32255238, sqrt(0.144) =
// 0.37947332: the instantaneous rate is 0.85 of X.
func TestOscillationReduction_RFC5348_4_5(t *testing.T) {
	var r rate
	r.s, r.x = 1000, 1000
	for range 20 {
		r.sample(epoch, 100*ms)
	}
	if math.Abs(r.inst()-r.x) > 1e-6*r.x {
		t.Errorf("X_inst %v of X %v with a constant round trip", r.inst(), r.x)
	}
	r.sample(epoch, 144*ms)
	if got := r.inst() / r.x; math.Abs(got-0.85) > 1e-6 {
		t.Errorf("X_inst is %v of X, want 0.85", got)
	}
	if math.Abs(r.sqrt-0.32255238) > 1e-7 {
		t.Errorf("R_sqmean %v", r.sqrt)
	}
	// R = 0.9*100+0.1*144 (Section 4.3).
	if r.rtt != 104400*time.Microsecond {
		t.Errorf("R %v", r.rtt)
	}
}

// RFC 5348, Section 4.6: packets are spread evenly; a time that was not used
// may be made up for, but not more than a round trip's.
func TestPacing_RFC5348_4_6(t *testing.T) {
	r := settled(t) // 8.9 ms between packets, 11.2 in a round trip
	r.until(200 * ms)
	last := r.now
	for range 50 {
		_, at := r.Allowed(r.now, 1000)
		r.now = at
		if n := r.fill(); n != 1 {
			t.Fatalf("%d packets at once", n)
		}
		if d := r.now.Sub(last); last != r.now && d > 9500*time.Microsecond {
			t.Errorf("a gap of %v", d)
		}
		last = r.now
	}
	// Early by half a millisecond at most (Section 8.3).
	if early := r.pace.next(r.now).Sub(r.now) - r.pace.gap; early > ms/2 || early < -ms/2 {
		t.Errorf("%v ahead of the schedule", early)
	}
	for _, c := range []struct {
		idle  time.Duration
		burst int
	}{{20 * ms, 3}, {50 * ms, 6}, {100 * ms, 12}, {time.Minute, 12}} {
		r.until(200 * ms)
		r.pass(c.idle)
		if n := r.fill(); n > c.burst+1 || n < c.burst-1 {
			t.Errorf("%d packets at once after %v of silence, want about %d", n, c.idle, c.burst)
		}
	}
}

// At a million packets a second half a millisecond is waited for, no less, and
// the rate is kept.
func TestPacingAtHighRates(t *testing.T) {
	r := settled(t)
	r.rate.x, r.rate.sqrt = 1e9, r.rate.last
	_, r.now = r.Allowed(r.now, 1000)
	r.send(1) // from now on at the new rate
	start, wakes, n := r.now, 0, 0
	for r.now.Sub(start) < 100*ms {
		n += r.fill()
		_, at := r.Allowed(r.now, 1000)
		if at.Sub(r.now) < ms/2 {
			t.Fatalf("to be woken after %v", at.Sub(r.now))
		}
		r.now = at
		wakes++
	}
	// The round trip's worth that had not been used before may come on top.
	if n < 99000 || n > 202000 || wakes > 200 {
		t.Errorf("%d packets in 100 ms, %d timers", n, wakes)
	}
}
