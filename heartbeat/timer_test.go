package heartbeat

import (
	"testing"
	"time"
)

// even is randomness that moves no interval.
func even() float64 { return 0.5 }

// run transmits a request until it has been sent n times and returns the
// intervals.
func run(t *Timer, now time.Time, n int) []time.Duration {
	t.Start(now)
	var gaps []time.Duration
	last := now
	for t.Sent() < n && !t.Next().IsZero() {
		now = t.Next()
		if t.Due(now) && t.Sent() > 1 {
			gaps = append(gaps, now.Sub(last))
		}
		last = now
	}
	return gaps
}

// The first interval is the measured one within its bounds, then requests are
// urgent, then their distance doubles to a minute.
func TestTimer_RFC6347_4_2_4_1(t *testing.T) {
	timer := NewTimer(TimerConfig{}, even)
	gaps := run(timer, ms(0), 60)
	if gaps[0] != DefaultFirst {
		t.Errorf("first interval %v", gaps[0])
	}
	var at time.Duration
	for i, g := range gaps {
		switch {
		case i > 0 && at < DefaultUrgent:
			if g != DefaultSpacing {
				t.Errorf("interval %v after %v", g, at)
			}
		case i > 0:
			if want := min(2*gaps[i-1], time.Minute); g != want {
				t.Errorf("interval %v after %v, want %v", g, at, want)
			}
		}
		at += g
	}
	if gaps[len(gaps)-1] != time.Minute {
		t.Errorf("ends with %v", gaps[len(gaps)-1])
	}
}

func TestTimer_FollowsRoundTrip_RFC6298_2(t *testing.T) {
	for _, c := range []struct{ rtt, want time.Duration }{
		{0, DefaultMinFirst},
		{10 * time.Millisecond, DefaultMinFirst},
		{40 * time.Millisecond, 120 * time.Millisecond}, // one sample: R + 4 * R/2
		{time.Second, DefaultMaxFirst},
	} {
		timer := NewTimer(TimerConfig{}, even)
		timer.Start(ms(0))
		timer.Due(ms(0))
		timer.Answered(ms(0).Add(c.rtt))
		if timer.RTT() != c.rtt {
			t.Errorf("RTT %v, want %v", timer.RTT(), c.rtt)
		}
		if gaps := run(timer, ms(5000), 2); gaps[0] != c.want {
			t.Errorf("RTT %v: first interval %v, want %v", c.rtt, gaps[0], c.want)
		}
	}
}

// An answer after a retransmission measures nothing; the interval stays longer
// until one request goes without.
func TestTimer_Retransmitted_RFC6298_3(t *testing.T) {
	timer := NewTimer(TimerConfig{}, even)
	answer := func(sent int) { run(timer, ms(0), sent); timer.Answered(ms(9000)) }
	timer.Start(ms(0))
	timer.Due(ms(0))
	timer.Answered(ms(40))
	answer(2)
	if timer.RTT() != 40*time.Millisecond {
		t.Errorf("RTT %v", timer.RTT())
	}
	for i, want := range []int{170, 270, 300, 300} {
		if gaps := run(timer, ms(0), 2); gaps[0] != time.Duration(want)*time.Millisecond {
			t.Errorf("after %d: first interval %v, want %d ms", i, gaps[0], want)
		}
		timer.Answered(ms(9000))
	}
	timer.Start(ms(0))
	timer.Due(ms(0))
	timer.Answered(ms(40))
	if gaps := run(timer, ms(0), 2); gaps[0] >= 170*time.Millisecond {
		t.Errorf("first interval %v after a clean one", gaps[0])
	}
}

func TestTimer_Reliable_RFC6520_3(t *testing.T) {
	timer := NewTimer(TimerConfig{Reliable: true}, even)
	if gaps := run(timer, ms(0), 5); timer.Sent() != 1 || len(gaps) != 0 {
		t.Errorf("sent %d times", timer.Sent())
	}
	timer.Answered(ms(70))
	if timer.RTT() != 70*time.Millisecond || timer.Due(ms(99999)) {
		t.Error("not over")
	}
}

// RFC 6298, Section 2, by hand: R = 100, then 200: RTTVAR 3/4*50+1/4*100 =
// 62.5, SRTT 7/8*100+1/8*200 = 112.5, RTO 362.5.
func TestRTT_RFC6298_2(t *testing.T) {
	var r RTT
	if r.Timeout(time.Second) != time.Second {
		t.Error("timeout of what is unknown")
	}
	r.Sample(100 * time.Millisecond)
	if r.Mean() != 100*time.Millisecond || r.Timeout(0) != 300*time.Millisecond {
		t.Errorf("mean %v, timeout %v", r.Mean(), r.Timeout(0))
	}
	r.Sample(200 * time.Millisecond)
	if r.Mean() != 112500*time.Microsecond || r.Timeout(0) != 362500*time.Microsecond {
		t.Errorf("mean %v, timeout %v", r.Mean(), r.Timeout(0))
	}
}

func TestMachines_Allocations(t *testing.T) {
	l := NewLiveness(LivenessConfig{}, ms(0), steady)
	timer := NewTimer(TimerConfig{}, steady)
	now := ms(0)
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Second)
		if l.Advance(now) == Probe {
			timer.Start(now)
			timer.Due(now)
			timer.Answered(now)
			l.Answered(now)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
