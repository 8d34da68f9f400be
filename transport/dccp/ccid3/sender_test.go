package ccid3

import (
	"math"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// rig drives an HC-Sender by hand: packet n has the number seq(n).
type rig struct {
	*Sender
	t    *testing.T
	now  time.Time
	next int
	peer wire.Seq
	size int
}

func newRig(t *testing.T, rtt time.Duration) *rig {
	s := NewSender(ccid.Setup{Now: epoch, Next: origin, MPS: 1400, RTT: rtt})
	return &rig{Sender: s, t: t, now: epoch, peer: 7000, size: 1000}
}

func (r *rig) pass(d time.Duration) { r.now = r.now.Add(d) }

func (r *rig) send(backlog int) uint8 {
	wc := r.CCVal(r.now)
	r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Size: r.size, Data: true, Backlog: backlog})
	r.next++
	return wc
}

// fill sends all that is allowed now, with more waiting.
func (r *rig) fill() (n int) {
	for {
		if ok, _ := r.Allowed(r.now, r.size); !ok || n > 300000 {
			return n
		}
		r.send(1)
		n++
	}
}

// until sends as fast as is allowed for d.
func (r *rig) until(d time.Duration) (n int) {
	end := r.now.Add(d)
	for {
		n += r.fill()
		_, at := r.Allowed(r.now, r.size)
		if at.IsZero() || at.After(end) { // zero: feedback alone lets it go on
			r.now = end
			return n
		}
		r.now = at
	}
}

// round sends for d as fast as is allowed; then comes feedback on what was
// sent up to 100 ms ago, which makes a round trip of 100 ms exactly.
func (r *rig) round(d time.Duration, recv float64, inverse uint32) {
	r.until(d)
	r.feedback(recv, inverse)
}

func (r *rig) feedback(recv float64, inverse uint32) { r.feedbackAfter(100*ms, recv, inverse) }

// feedbackAfter is feedback after another round trip.
func (r *rig) feedbackAfter(rtt time.Duration, recv float64, inverse uint32) {
	if inverse == 0 {
		inverse = noLoss
	}
	sent := r.now.Add(-rtt).Sub(epoch)
	n := r.next - 1
	for n > 0 && r.hist.at(seq(n)).at > sent {
		n--
	}
	r.heardWith(ccid.Ack{Ack: seq(n), Elapsed: sent - r.hist.at(seq(n)).at}, recv, inverse)
}

// heard takes feedback on packet n: receive rate, loss event rate as 1/p, 0
// for none, in Linux's dialect, which is the shorter one.
func (r *rig) heard(n int, recv float64, inverse uint32) {
	if inverse == 0 {
		inverse = noLoss
	}
	r.heardWith(ccid.Ack{Ack: seq(n), Elapsed: -1}, recv, inverse)
}

func (r *rig) heardWith(a ccid.Ack, recv float64, inverse uint32) {
	r.peer = r.peer.Add(1)
	a.Seq = r.peer
	a.Options = append(a.Options,
		wire.Option{Type: wire.OptReceiveRate, Data: appendRate(nil, wire.OptReceiveRate, uint32(recv))[2:]},
		wire.Option{Type: wire.OptLossEventRate, Data: appendRate(nil, wire.OptLossEventRate, inverse)[2:]})
	r.Acked(r.now, &a)
}

func (r *rig) is(what string, x float64) {
	r.t.Helper()
	if math.Abs(r.rate.x-x) > 1e-6*x {
		r.t.Errorf("%s: X %.3f octets/s, want %.3f", what, r.rate.x, x)
	}
}

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

// settle brings the sender to congestion avoidance at p = 1 %, R = 100 ms, with
// 1000 octets: X_Bps = 112 332 (half of the table's 224 664 for 50 ms).
func settled(t *testing.T) *rig {
	r := newRig(t, 100*ms)
	for range 30 {
		r.round(100*ms, 110000, 100)
	}
	r.is("settled", 112332.234)
	if n := r.Stats().Reductions; n != 1 {
		t.Errorf("%d loss events, want 1", n)
	}
	return r
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

// RFC 4342, Section 8.1.
func TestWindowCounter_RFC4342_8_1(t *testing.T) {
	r := newRig(t, 100*ms)
	// A step for each quarter of 100 ms; a packet each 10 ms.
	var got []uint8
	for range 12 {
		got = append(got, r.send(0))
		r.pass(10 * ms)
	}
	for i, want := range []uint8{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3} {
		if got[i] != want {
			t.Fatalf("counters %v", got)
		}
	}
	// Not more than 5 from one packet to the next, whatever the silence (MUST).
	at := got[11]
	for _, d := range []time.Duration{130, 400, 1600, 60000} {
		r.pass(d * ms)
		wc := r.send(0)
		if step := (wc - at) % 16; step != 5 {
			t.Errorf("%d steps after %v", step, d*ms)
		}
		at = wc
	}
	// An acknowledgement of a packet with counter c: what follows has c+4 at
	// least (SHOULD), but not more than 5 beyond the packet before.
	r = newRig(t, time.Second)
	r.send(0)
	r.pass(20 * ms)
	r.heard(0, 0, 0)
	if wc := r.send(0); wc != 4 {
		t.Errorf("counter %d after the acknowledgement of one with 0", wc)
	}
	r.pass(20 * ms)
	r.heard(1, 1000, 0)
	r.pass(time.Minute)
	if wc := r.send(0); wc != 9 {
		t.Errorf("counter %d, want 4+5", wc)
	}
	// Without a round trip, one of 200 ms.
	r = newRig(t, 0)
	r.send(0)
	r.pass(110 * ms)
	if wc := r.send(0); wc != 2 {
		t.Errorf("counter %d after 110 of 200 ms", wc)
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

func TestHistoryIsBounded(t *testing.T) {
	r := newRig(t, 100*ms)
	for range 3 * maxHistory {
		r.send(1)
	}
	if n := len(r.hist.ring); n > maxHistory {
		t.Errorf("%d packets remembered", n)
	}
	if r.hist.at(seq(0)) != nil || r.hist.at(seq(r.next)) != nil || r.hist.at(seq(r.next-1)) == nil ||
		r.hist.at(seq(r.next-maxHistory)) == nil || r.hist.at(seq(r.next-maxHistory-1)) != nil {
		t.Error("which packets are remembered")
	}
	// A sender without data remembers nothing.
	r = newRig(t, 100*ms)
	for range 1000 {
		r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Ack: true})
		r.next++
	}
	if r.hist.ring != nil || !r.Next().IsZero() {
		t.Errorf("%d packets without data remembered, timer %v", len(r.hist.ring), r.Next())
	}
	r.send(1)
	r.next += 1 << 40 // numbers used without telling
	r.send(1)
	r.pass(100 * ms)
	r.heard(r.next-1, 1000, 0)
	if !r.got || r.hist.at(seq(r.next-2)) != nil {
		t.Error("after a gap in the numbers")
	}
}

func TestSenderDoesNotAllocate(t *testing.T) {
	r := newRig(t, 100*ms)
	options := []wire.Option{
		{Type: wire.OptReceiveRate, Data: []byte{0, 1, 0, 0}},
		{Type: wire.OptLossIntervals, Data: example[2:]},
	}
	a := ccid.Ack{Options: options, Elapsed: ms, Vector: []byte{3}}
	round := func() {
		for range 20 {
			r.until(100 * ms)
			r.peer = r.peer.Add(1)
			a.Seq, a.Ack = r.peer, seq(r.next-1)
			r.Acked(r.now, &a)
			r.Wishes()
			r.Advance(r.now)
			r.Next()
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n != 0 {
		t.Errorf("%v allocations for 20 round trips", n)
	}
}

// FuzzSender lets a sender believe whatever a peer makes up.
func FuzzSender(f *testing.F) {
	f.Add([]byte{0, 5, 1, 0, 1, 0, 3, 0, 1, 0, 0, 0}, example[2:])
	f.Add([]byte{0, 5, 2, 255, 1, 9, 3, 255, 1, 2, 1, 0}, []byte{0, 0, 0, 0, 127, 255, 255, 0, 0, 1})
	f.Fuzz(func(t *testing.T, in, intervals []byte) {
		r := newRig(t, 0)
		for range 200 {
			if len(in) < 2 {
				return
			}
			v := int(in[1])
			switch in[0] % 6 {
			case 0:
				r.size = 1 + v*5
				for range v % 20 {
					r.send(v % 2)
				}
			case 1:
				r.pass(time.Duration(v) * ms)
			case 2:
				r.pass(time.Duration(v) * time.Second)
				r.Advance(r.now)
			case 3:
				r.heard(r.next-1-v%8, float64(v)*float64(v)*1000, uint32(v))
			case 4:
				r.heardWith(ccid.Ack{Ack: seq(r.next - 1), Elapsed: time.Duration(v) * ms, SlowReceiver: v%2 == 0, Dropped: in[2:min(len(in), 5)],
					Options: []wire.Option{{Type: wire.OptLossIntervals, Data: intervals}}}, float64(v)*10, 0)
			case 5:
				r.fill()
			}
			in = in[2:]
			if r.rate.s == 0 {
				continue
			}
			x := r.rate.inst()
			if math.IsNaN(x) || x < r.rate.least()*(1-1e-9) || r.pace.gap < 0 || r.pace.gap > maxBackoff+time.Second {
				t.Fatalf("X_inst %v, gap %v, %+v", x, r.pace.gap, r.rate)
			}
			// What may go at once is a round trip's worth at most.
			if r.now.Sub(r.pace.next(r.now)) > r.rate.rtt {
				t.Fatalf("behind the schedule by more than a round trip: %+v", r.rate)
			}
		}
	})
}
