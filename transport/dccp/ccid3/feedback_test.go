package ccid3

import (
	"math"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// RFC 5348, Section 4.4.
func TestNoFeedbackTimer_RFC5348_4_4(t *testing.T) {
	expire := func(r *rig) {
		t.Helper()
		if r.Next().IsZero() {
			t.Fatal("the timer does not run")
		}
		r.now = r.Next()
		r.Advance(r.now)
	}
	// No round trip known: halved each time, to one packet in 64 s.
	r := newRig(t, 0)
	for i, want := range []float64{500, 250, 125, 62.5, 31.25, 1000.0 / 64, 1000.0 / 64} {
		r.send(1)
		at := r.now
		expire(r)
		r.is("no round trip", want)
		if i == 0 && r.now.Sub(at) != 2*time.Second {
			t.Errorf("first expiry after %v", r.now.Sub(at))
		}
		if got, want := r.Next().Sub(r.now), time.Duration(2*1000/want*float64(time.Second)); got != want {
			t.Errorf("next expiry after %v, want 2s/X = %v", got, want)
		}
	}
	// Slow start: halved.
	r = newRig(t, 100*ms)
	r.send(1)
	r.pass(100 * ms)
	r.heard(0, 0, 0)
	r.rate.x = 1e6
	r.send(1)
	if got := r.Next().Sub(r.now); got != 400*ms {
		t.Errorf("timer %v, want 4 R", got)
	}
	expire(r)
	r.is("slow start", 5e5)
	// Idle in slow start: not under twice the first rate, and then at rest.
	for range 20 {
		if !r.Next().IsZero() {
			expire(r)
		}
	}
	r.is("idle in slow start", 62500) // under 2*40 000 nothing happens
	if !r.Next().IsZero() {
		t.Error("the timer of an idle sender goes on")
	}
	r.send(1)
	if r.Next().IsZero() {
		t.Error("the timer does not start again with data")
	}
	// Congestion avoidance, limited by the equation: X_Bps/2.
	r = settled(t)
	r.send(1)
	expire(r)
	r.is("limited by the equation", 112332.234/2)
	// Limited by the receive rate: X_recv.
	r.send(1)
	expire(r)
	r.is("limited by the receive rate", 112332.234/4)
	if s := r.Stats(); s.Timeouts != 2 {
		t.Errorf("%+v", s)
	}
	// Idle in congestion avoidance: not under the first rate, 40 000.
	r = settled(t)
	for range 20 {
		if !r.Next().IsZero() {
			expire(r)
		}
	}
	if r.rate.x < 40000 || r.rate.x > 2*40000 || !r.Next().IsZero() || r.Stats().Timeouts != 0 {
		t.Errorf("idle: X %v, timer %v, %+v", r.rate.x, r.Next(), r.Stats())
	}
	// … but sending into the void goes on halving.
	r = settled(t)
	for range 30 {
		r.send(1)
		expire(r)
	}
	r.is("into the void", 1000.0/64)
}

// RFC 4342, Section 5: the nofeedback timer is four round trips at least. On
// the shortest of paths that is less than a busy host needs to answer.
func TestNoFeedbackTimerOnShortPaths_RFC4342_5(t *testing.T) {
	for rtt, want := range map[time.Duration]time.Duration{100 * time.Microsecond: 100 * ms, 100 * ms: 400 * ms} {
		r := newRig(t, rtt)
		r.send(1)
		if got := r.Next().Sub(r.now); got != want {
			t.Errorf("%v for a round trip of %v, want %v", got, rtt, want)
		}
	}
}

// RFC 4342, Section 6: what lacks the receive rate, or says nothing of losses
// that makes sense, is no feedback; nor is what was superseded.
func TestWhatIsNoFeedback_RFC4342_6(t *testing.T) {
	rate := wire.Option{Type: wire.OptReceiveRate, Data: []byte{0, 0, 1, 0}}
	event := wire.Option{Type: wire.OptLossEventRate, Data: []byte{0, 0, 0, 9}}
	intervals := wire.Option{Type: wire.OptLossIntervals, Data: example[2:]}
	for _, c := range []struct {
		name    string
		ack     int
		options []wire.Option
		ok      bool
	}{
		{"all", 3, []wire.Option{rate, intervals}, true},
		{"Linux", 3, []wire.Option{event, rate}, true},
		{"nothing", 3, nil, false},
		{"no rate", 3, []wire.Option{intervals, event}, false},
		{"no losses", 3, []wire.Option{rate}, false},
		{"short rate", 3, []wire.Option{{Type: wire.OptReceiveRate, Data: []byte{1}}, intervals}, false},
		{"loss event rate of zero", 3, []wire.Option{rate, {Type: wire.OptLossEventRate, Data: make([]byte, 4)}}, false},
		{"broken intervals", 3, []wire.Option{rate, event, {Type: wire.OptLossIntervals, Data: []byte{9}}}, false},
		{"of a packet never sent", 30, []wire.Option{rate, intervals}, false},
		{"of a packet long gone", -30, []wire.Option{rate, intervals}, false},
	} {
		r := newRig(t, 100*ms)
		for range 5 {
			r.send(1)
		}
		r.Acked(r.now.Add(50*ms), &ccid.Ack{Seq: 5, Ack: seq(c.ack), Elapsed: 0, Options: c.options})
		if r.got != c.ok {
			t.Errorf("%s: taken for feedback: %v", c.name, r.got)
		}
	}
	// Feedback that was overtaken.
	r := newRig(t, 100*ms)
	for range 5 {
		r.send(1)
	}
	r.pass(100 * ms)
	r.heard(3, 1000, 10)
	p := r.rate.p
	r.heard(2, 1000, 50)
	r.peer = r.peer.Add(-10)
	r.heard(4, 1000, 50)
	if r.rate.p != p {
		t.Error("older feedback was taken")
	}
}

// RFC 4342, Section 8.2: the peer's delay is no part of the round trip; one
// that is longer than the whole is not believed.
func TestElapsedTimeIsDeducted_RFC4342_8_2(t *testing.T) {
	for _, c := range []struct{ elapsed, want time.Duration }{{30 * ms, 90 * ms}, {-1, 120 * ms}, {time.Hour, 120 * ms}} {
		r := newRig(t, 0)
		r.send(1)
		r.pass(120 * ms)
		r.heardWith(ccid.Ack{Ack: seq(0), Elapsed: c.elapsed}, 0, noLoss)
		if r.rate.rtt != c.want {
			t.Errorf("elapsed %v: round trip %v, want %v", c.elapsed, r.rate.rtt, c.want)
		}
	}
}

// RFC 4342, Section 5.2, by hand: X_inrecv 100 000, s/RTT = 10 000. Three
// packets dropped in the buffer: X_drop = 100 000 - 30 000, X_recv = 35 000.
func TestDropsAndSlowReceiver_RFC4342_5_2(t *testing.T) {
	drops := func(code wire.DropCode, n int) []byte { return wire.AppendDropRun(nil, code, n) }
	for _, c := range []struct {
		name string
		ack  ccid.Ack
		in   float64
		want float64
	}{
		{"neither", ccid.Ack{}, 100000, 100000},
		{"slow receiver", ccid.Ack{SlowReceiver: true}, 100000, 50000},
		{"three dropped", ccid.Ack{Dropped: drops(wire.DropReceiveBuffer, 3)}, 100000, 35000},
		{"both", ccid.Ack{SlowReceiver: true, Dropped: drops(wire.DropReceiveBuffer, 3)}, 100000, 35000},
		// Not under one packet in a round trip: min(X_inrecv, s/RTT)/2.
		{"many dropped", ccid.Ack{Dropped: drops(wire.DropReceiveBuffer, 15)}, 100000, 5000},
		{"many dropped of little", ccid.Ack{Dropped: drops(wire.DropReceiveBuffer, 15)}, 4000, 2000},
		{"constraints", ccid.Ack{Dropped: drops(wire.DropConstraints, 9)}, 100000, 100000},
		// As bad as marked: half the rate.
		{"corrupt", ccid.Ack{Dropped: drops(wire.DropCorrupt, 1)}, 100000, 25000},
	} {
		r := newRig(t, 100*ms)
		for range 20 {
			r.send(1)
		}
		c.ack.Ack = seq(19)
		if got := r.adjust(c.in, &c.ack); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%s: X_recv %v, want %v", c.name, got, c.want)
		}
		// Data Dropped is repeated until acknowledged; it counts once.
		c.ack.SlowReceiver = false
		if got := r.adjust(c.in, &c.ack); got != c.in {
			t.Errorf("%s, repeated: X_recv %v", c.name, got)
		}
	}
}

// RFC 4342, Section 6.3: with Ack Vectors, the peer's acknowledgements are
// acknowledged about once in a round trip; without, never.
func TestAcknowledgementsAreAcknowledged_RFC4342_6_3(t *testing.T) {
	r := newRig(t, 100*ms)
	wish := func() bool { return r.Wishes().AckOfAcks }
	r.send(1)
	r.pass(time.Second)
	r.Heard(r.now, &ccid.Received{})
	r.heard(0, 0, 0)
	r.send(1)
	if wish() {
		t.Error("wished without Ack Vectors")
	}
	r.heardWith(ccid.Ack{Ack: seq(1), Vector: []byte{1}}, 1000, noLoss)
	if !wish() {
		t.Error("not wished after a second")
	}
	r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Size: 1000, Data: true, Ack: true})
	r.next++
	r.pass(time.Second)
	r.send(1)
	if wish() {
		t.Error("wished though nothing came since")
	}
	r.Heard(r.now, &ccid.Received{})
	if !wish() {
		t.Error("not wished")
	}
}
