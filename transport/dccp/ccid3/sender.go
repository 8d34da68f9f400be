package ccid3

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// Sender is the HC-Sender.
type Sender struct {
	start time.Time
	rate  rate
	pace  pacer
	count counter
	full  time.Duration // when a message last waited and might not go; -1: never
	hist  history
	loss  known

	timer    time.Time // nofeedback timer; zero: not running
	sentData bool      // since the timer was set
	settled  wire.Seq  // nothing up to here is under way: acknowledged, or given up by the timer
	got      bool      // feedback, at least once
	latest   wire.Seq  // the number of the latest feedback packet

	// Acknowledgements of acknowledgements (RFC 4342, Section 6.3).
	vectors bool // the peer sends Ack Vectors, whose state is ours to free
	ackedAt time.Time
	heard   bool // something came since then

	clock time.Time
	stats ccid.SenderStats
}

// NewSender makes an HC-Sender.
func NewSender(s ccid.Setup) *Sender {
	v := &Sender{start: s.Now, clock: s.Now, ackedAt: s.Now, full: -1}
	v.hist = history{low: s.Next, hi: s.Next, acked: s.Next.Add(-1)}
	v.settled = v.hist.acked
	if s.RTT > 0 {
		v.rate.sample(s.Now, s.RTT)
		v.pace.credit = v.rate.rtt
	}
	return v
}

// Allowed implements ccid.Sender.
func (v *Sender) Allowed(now time.Time, _ int) (bool, time.Time) {
	v.clock = now
	if v.crowded() {
		v.full = now.Sub(v.start)
		return false, time.Time{}
	}
	at := v.pace.allowed(now, v.rate.rtt)
	if !now.Before(at) {
		return true, time.Time{}
	}
	// A message waits and may not go: not the application limits the rate.
	v.full = now.Sub(v.start)
	return false, v.pace.wake(now, at, v.rate.rtt)
}

// crowded reports whether more is under way than a receiver that keeps up would
// leave unacknowledged. On a short path the rate is halved only when its host has
// been silent for longer than a busy one may be (minNoFeedback). Until then
// thousands of packets would go, more than its socket holds; and what stands in
// that makes the round trip, and with it the rate's share of it, ever longer. So
// nothing more goes until it is heard of.
func (v *Sender) crowded() bool {
	return v.rate.first && v.rate.s > 0 && v.rate.patience() < minNoFeedback && v.hist.hi.Sub(v.settled) > v.rate.flight()
}

// CCVal implements ccid.Sender.
func (v *Sender) CCVal(now time.Time) uint8 {
	v.clock = now
	return v.count.value(now, v.rate.rtt)
}

// AppendOptions implements ccid.Sender: there are none.
func (v *Sender) AppendOptions(_ time.Time, b []byte) []byte { return b }

// Sent implements ccid.Sender.
func (v *Sender) Sent(now time.Time, s ccid.Sent) {
	v.clock = now
	wc := v.count.value(now, v.rate.rtt)
	if s.Ack {
		v.ackedAt, v.heard = now, false
	}
	if s.Data {
		v.count.sent(wc)
		v.data(now, s)
	}
	v.hist.add(s.Seq, packet{at: now.Sub(v.start), full: v.full, counter: wc, data: s.Data})
}

func (v *Sender) data(now time.Time, s ccid.Sent) {
	if v.rate.s == 0 {
		v.rate.open(now)
	}
	v.rate.size(s.Size)
	v.sentData = true
	v.pace.sent(now)
	v.retime()
	if v.timer.IsZero() {
		v.timer = now.Add(v.rate.timeout())
	}
	if s.Backlog > 0 && now.Before(v.pace.allowed(now, v.rate.rtt)) {
		v.full = now.Sub(v.start)
	}
}

// retime lets the pacer follow the rate.
func (v *Sender) retime() { v.pace.gap, v.pace.credit = v.rate.gap(), v.rate.rtt }

// Heard implements ccid.Sender. The rate of acknowledgements is low, nothing
// controls it (RFC 4342, Section 6.2).
func (v *Sender) Heard(time.Time, *ccid.Received) { v.heard = true }

// Feature implements ccid.Sender: none matters.
func (v *Sender) Feature(wire.Feature, uint64) {}

// SetMPS implements ccid.Sender. The mean size of messages, not their limit,
// stands in the equation.
func (v *Sender) SetMPS(int) {}

// Next implements ccid.Sender.
func (v *Sender) Next() time.Time { return v.timer }

// Advance implements ccid.Sender: the nofeedback timer.
func (v *Sender) Advance(now time.Time) {
	v.clock = now
	if v.timer.IsZero() || now.Before(v.timer) {
		return
	}
	idle := !v.sentData
	v.settled = v.hist.hi.Add(-1)
	before := v.rate.x
	v.rate.expired(now, idle)
	v.retime()
	if idle && v.rate.x >= before {
		// Nothing more to lose by idleness: it rests until data is sent.
		v.timer = time.Time{}
		return
	}
	if !idle {
		v.stats.Timeouts++
	}
	v.timer, v.sentData = now.Add(v.rate.timeout()), false
}

// Wishes implements ccid.Sender.
func (v *Sender) Wishes() ccid.Wishes {
	// About once in a round trip, but only if that frees state at the peer
	// (RFC 4342, Section 6.3, MUST with Ack Vectors).
	return ccid.Wishes{AckOfAcks: v.vectors && v.heard && v.clock.Sub(v.ackedAt) >= v.rate.rtt}
}

// Stats implements ccid.Sender. Losses and Reductions are loss events.
func (v *Sender) Stats() ccid.SenderStats {
	s := v.stats
	s.Rate, s.LossRate, s.RTT = v.rate.x, v.rate.p, v.rate.rtt
	if v.rate.s > 0 {
		s.RTO = v.rate.timeout()
	}
	return s
}
