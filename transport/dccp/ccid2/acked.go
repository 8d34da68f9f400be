package ccid2

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// verdict is what one acknowledgement brought.
type verdict struct {
	data  int      // data packets newly reported received, that still counted in pipe
	clean int      // of those, not marked, and such as widen the window
	event bool     // a congestion event of its own
	drops int      // packets newly reported dropped in the receive buffer
	first wire.Seq // the packet that the acknowledgement number names …
	fresh bool     // … was not reported before
}

// Acked implements ccid.Sender. What has no Ack Vector acknowledges nothing:
// CCID 2 requires them (RFC 4341, Section 6, MUST).
func (v *Sender) Acked(now time.Time, a *ccid.Ack) {
	v.clock = now
	last := v.hist.hi.Add(-1)
	r := verdict{first: a.Ack}
	v.walk(a, &r)
	v.dropped(a, &r)
	v.infer(&r)
	v.measure(now, a, &r)
	v.respond(now, a, &r, last)
	v.hist.trim()
	v.acks.window(a.Ack, last, v.win.cwnd)
	v.rearm(now, r.data > 0)
}

// walk reads the Ack Vector: a packet leaves the pipe when it is first
// reported received, and only then (RFC 4341, Section 5, MUST NOT twice).
func (v *Sender) walk(a *ccid.Ack, r *verdict) {
	runs := wire.NewAckRuns(a.Ack)
	for runs.Feed(a.Vector); runs.Next(); {
		run := runs.Run
		if run.Last.Less(v.hist.lo) {
			return
		}
		if run.State != wire.AckReceived && run.State != wire.AckECNMark {
			continue
		}
		for s := run.Last; !s.Less(run.First()) && !s.Less(v.hist.lo); s = s.Add(-1) {
			if s.Less(v.hist.hi) {
				v.received(s, run.State == wire.AckECNMark, r)
			}
		}
	}
}

// received takes one packet that an Ack Vector reports received. What was
// reported marked stays marked, whatever comes later (RFC 4340, Section
// 11.4.1, SHOULD): so the order of acknowledgements does not matter.
func (v *Sender) received(s wire.Seq, marked bool, r *verdict) {
	e := v.hist.at(s)
	if e.f&isAcked == 0 {
		r.fresh = r.fresh || s == r.first
		v.hist.arrived(s)
		if e.f&isData != 0 && e.f&gone == 0 {
			v.pipe--
			r.data++
			if !marked && v.win.counts(s) {
				r.clean++
			}
		}
		e.f |= isAcked
	}
	if marked && e.f&(isMarked|isData) == isData {
		e.f |= isMarked
		v.congestion(s, r)
	}
}

// dropped reads Data Dropped options (RFC 4340, Section 11.7.2; RFC 4341,
// Section 5.2). Codes 0 and 1 are no congestion; 2 is the peer's buffer; the
// others count as marks.
func (v *Sender) dropped(a *ccid.Ack, r *verdict) {
	runs := wire.NewDropRuns(a.Ack)
	for runs.Feed(a.Dropped); runs.Next(); {
		run := runs.Run
		if run.Last.Less(v.hist.lo) {
			return
		}
		if run.Code == wire.NotDropped || run.Code < wire.DropReceiveBuffer {
			continue
		}
		for s := run.Last; !s.Less(run.First()) && !s.Less(v.hist.lo); s = s.Add(-1) {
			if !s.Less(v.hist.hi) {
				continue
			}
			// Only what is reported received can have been dropped, and each
			// packet counts once.
			e := v.hist.at(s)
			if e.f&(isAcked|isData|isDropped) != isAcked|isData {
				continue
			}
			e.f |= isDropped
			if run.Code == wire.DropReceiveBuffer {
				r.drops++
			} else {
				v.congestion(s, r)
			}
		}
	}
}

// infer finds losses: what did not arrive though NUMDUPACK later packets did
// leaves the pipe (RFC 4341, Section 5).
func (v *Sender) infer(r *verdict) {
	end := v.hist.lostBefore()
	for s := v.hist.lo; s.Less(end) && s.Less(v.hist.hi); s = s.Add(1) {
		e := v.hist.at(s)
		if e.f&isData == 0 || e.f&(isAcked|isLost) != 0 {
			continue
		}
		if e.f&isTimedOut == 0 {
			v.pipe--
			v.congestion(s, r)
		}
		e.f |= isLost
	}
}

func (v *Sender) congestion(s wire.Seq, r *verdict) {
	v.stats.Losses++
	r.event = r.event || v.win.newEvent(s)
}

// measure takes a round trip, at most one for each window (RFC 4341, Section
// 5), on the packet that the acknowledgement number names; the peer's own
// delay is deducted as far as that makes sense.
func (v *Sender) measure(now time.Time, a *ccid.Ack, r *verdict) {
	if !r.fresh || a.Ack.Less(v.sampleAt) {
		return
	}
	d := now.Sub(v.start) - v.hist.at(a.Ack).at
	if a.Elapsed > 0 && a.Elapsed < d {
		d -= a.Elapsed
	}
	v.est.sample(d)
	v.sampleAt = v.hist.hi
}

// respond moves the window.
func (v *Sender) respond(now time.Time, a *ccid.Ack, r *verdict, last wire.Seq) {
	if a.SlowReceiver || r.drops > 0 {
		v.win.leaveSlowStart()
	}
	if a.SlowReceiver {
		// For about a round trip the rate does not grow (RFC 4340, Section
		// 11.6, SHOULD NOT).
		v.win.hold = now.Add(v.est.rtt())
	}
	if r.drops > 0 {
		// One less for each packet, not under one (RFC 4341, Section 5.2);
		// before the halving, so that neither response hides the other (RFC
		// 4340, Section 11.7.1).
		v.win.cwnd = max(v.win.cwnd-r.drops, 1)
		v.win.leaveSlowStart()
	}
	switch {
	case r.event:
		v.stats.Reductions++
		v.win.halve(last)
	case r.clean > 0 && r.drops == 0 && !now.Before(v.win.hold):
		v.win.grow(r.clean, v.acks.ratio)
	}
}

// rearm restarts the timer when data was acknowledged, and stops it when none
// is outstanding (RFC 6298, Sections 5.2 and 5.3).
func (v *Sender) rearm(now time.Time, news bool) {
	switch {
	case v.pipe == 0:
		v.timer = time.Time{}
	case news:
		v.timer = now.Add(v.timeout())
	}
}
