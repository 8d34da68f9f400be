package ccid2

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// Sender is the HC-Sender.
type Sender struct {
	start time.Time
	clock time.Time // of the latest call
	win   window
	pipe  int // data packets outstanding (RFC 4341, Section 5)
	hist  history
	est   estimator
	acks  ackPath

	timer    time.Time // the transmit timeout; zero: not running
	sampleAt wire.Seq  // the next round trip is measured on this packet or later
	seqWin   uint64    // the Sequence Window in force
	wantWin  uint64

	unacked int  // packets sent since one that acknowledged
	heard   bool // something came since then
	stats   ccid.SenderStats
}

// NewSender makes an HC-Sender.
func NewSender(s ccid.Setup) *Sender {
	iw := initialWindow(s.MPS)
	v := &Sender{
		start:    s.Now,
		clock:    s.Now,
		hist:     history{lo: s.Next, hi: s.Next},
		sampleAt: s.Next,
		// The threshold starts arbitrarily high (RFC 4341, Section 5).
		win:  window{cwnd: iw, initial: iw, ssthresh: maxWindow},
		acks: ackPath{ratio: wire.DefaultAckRatio, want: 1},
	}
	if s.RTT > 0 {
		v.est.sample(s.RTT)
	}
	v.Feature(wire.FeatSequenceWindow, wire.DefaultSequenceWindow)
	return v
}

// Allowed implements ccid.Sender. The window opens by acknowledgements and by
// the timeout, for which Next asks to be woken.
func (v *Sender) Allowed(now time.Time, _ int) (bool, time.Time) {
	v.clock = now
	v.win.idle(now, v.est.base())
	// Data goes while pipe < cwnd (RFC 4341, Section 5, MUST NOT otherwise).
	return v.pipe < v.win.now(), time.Time{}
}

// CCVal implements ccid.Sender: zero (RFC 4341, Section 3.2).
func (v *Sender) CCVal(time.Time) uint8 { return 0 }

// AppendOptions implements ccid.Sender: there are none.
func (v *Sender) AppendOptions(_ time.Time, b []byte) []byte { return b }

// Sent implements ccid.Sender.
func (v *Sender) Sent(now time.Time, s ccid.Sent) {
	v.clock = now
	for v.hist.len() > 0 && s.Seq.Sub(v.hist.lo) >= maxHistory {
		v.forget()
	}
	v.hist.add(s.Seq, now.Sub(v.start), s.Data)
	v.unacked++
	if s.Ack {
		v.unacked, v.heard = 0, false
	}
	if !s.Data {
		return
	}
	v.pipe++
	v.acks.outstanding(v.pipe)
	v.win.sent(now, s.Seq, v.pipe, s.Backlog > 0, v.est.base())
	if v.timer.IsZero() {
		v.timer = now.Add(v.timeout())
	}
}

// forget drops the oldest packet from a full history as lost.
func (v *Sender) forget() {
	if e := v.hist.at(v.hist.lo); e.f&isData != 0 && e.f&gone == 0 {
		v.pipe--
		v.stats.Losses++
	}
	v.hist.lo = v.hist.lo.Add(1)
}

// Heard implements ccid.Sender. Only marks on packets without data count for
// the acknowledgements' congestion control (RFC 4341, Section 6.1.1).
func (v *Sender) Heard(_ time.Time, r *ccid.Received) {
	v.heard = true
	v.acks.heard(r.Seq, r.CE && !r.Data)
}

// Feature implements ccid.Sender.
func (v *Sender) Feature(f wire.Feature, value uint64) {
	switch f {
	case wire.FeatAckRatio:
		v.acks.ratio = int(min(value, 1<<16-1))
	case wire.FeatSequenceWindow:
		v.seqWin = value
		// Half of it at most is outstanding: the peer takes what lies within
		// three quarters of it beyond the latest packet that arrived, and a
		// window that is lost as a whole must leave room for what follows
		// (RFC 4340, Section 7.5.1).
		v.win.limit = int(min(max(value/2, 1), maxWindow))
	}
}

// SetMPS implements ccid.Sender. The window is not reopened for smaller
// packets (RFC 4341, Section 5.3); only what counts as a fresh one follows.
func (v *Sender) SetMPS(mps int) { v.win.initial = initialWindow(mps) }

// Next implements ccid.Sender.
func (v *Sender) Next() time.Time { return v.timer }

// Advance implements ccid.Sender.
func (v *Sender) Advance(now time.Time) {
	v.clock = now
	if v.timer.IsZero() || now.Before(v.timer) {
		return
	}
	v.timer = time.Time{}
	if v.pipe == 0 {
		return
	}
	v.stats.Timeouts++
	// Nothing came back in time: everything outstanding is deemed gone (RFC
	// 4341, Section 5).
	for s := v.hist.lo; s.Less(v.hist.hi); s = s.Add(1) {
		if e := v.hist.at(s); e.f&isData != 0 && e.f&gone == 0 {
			e.f |= isTimedOut
			v.stats.Losses++
		}
	}
	v.pipe = 0
	v.win.collapse(v.hist.hi.Add(-1))
	v.est.backoff++
	v.sampleAt = v.hist.lo // any packet's round trip is welcome
}

// timeout is how long to wait for an acknowledgement. The peer may wait for
// company before it acknowledges, time that is not part of our samples.
func (v *Sender) timeout() time.Duration {
	if v.acks.ratio > 1 {
		return min(v.est.rto()+delayedAck, maxRTO)
	}
	return v.est.rto()
}

// Wishes implements ccid.Sender.
func (v *Sender) Wishes() ccid.Wishes {
	w := ccid.Wishes{AckRatio: v.acks.wish(v.clock, v.win.cwnd, v.est.rtt())}
	// About five windows (RFC 4340, Section 7.5.2), and as the wish takes a
	// round trip to come true, twice that; in powers of two, so that it is
	// seldom.
	if need := uint64(10 * v.win.cwnd); need > v.wantWin {
		v.wantWin = wire.DefaultSequenceWindow
		for v.wantWin < need {
			v.wantWin *= 2
		}
	}
	if v.wantWin > v.seqWin {
		w.SequenceWindow = v.wantWin
	}
	// At least once for each window (RFC 4341, Section 6.2, SHOULD).
	w.AckOfAcks = v.heard && v.unacked >= max(v.win.now()/2, 1)
	return w
}

// Stats implements ccid.Sender.
func (v *Sender) Stats() ccid.SenderStats {
	s := v.stats
	s.Window, s.Flight, s.Threshold = v.win.now(), v.pipe, v.win.ssthresh
	s.RTT, s.RTO = v.est.srtt, v.est.rto()
	return s
}
