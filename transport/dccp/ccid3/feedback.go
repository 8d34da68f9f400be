package ccid3

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// feedback is what a feedback packet says.
type feedback struct {
	recv      float64 // receive rate, octets per second
	hasRecv   bool
	inverse   uint32 // of the loss event rate; 0: not said
	intervals report
	broken    bool // Loss Intervals that make no sense
}

// noLoss is the Loss Event Rate option before any loss (RFC 4342, Section 8.5).
const noLoss = 1<<32 - 1

// read takes the options; those of a nonsensical length are ignored.
func (f *feedback) read(options []wire.Option) {
	for _, o := range options {
		switch o.Type {
		case wire.OptReceiveRate:
			if len(o.Data) == 4 {
				f.recv, f.hasRecv = float64(wire.Uint(o.Data)), true
			}
		case wire.OptLossEventRate:
			if len(o.Data) == 4 {
				f.inverse = uint32(wire.Uint(o.Data))
			}
		case wire.OptLossIntervals:
			if !f.intervals.parse(o.Data) {
				f.broken = true
			}
		}
	}
}

// complete reports whether the acknowledgement is a feedback packet (RFC 4342,
// Section 6): receive rate and loss intervals, and an elapsed time. Linux says
// the loss event rate instead of the intervals, and no elapsed time, for it
// answers at once; without one the RTT is too long if anything, and the rate
// too low.
func (f *feedback) complete() bool {
	return f.hasRecv && !f.broken && (f.intervals.n > 0 || f.inverse > 0)
}

// Acked implements ccid.Sender.
func (v *Sender) Acked(now time.Time, a *ccid.Ack) {
	v.clock = now
	v.vectors = v.vectors || len(a.Vector) > 0
	var f feedback
	f.read(a.Options)
	sent := v.hist.at(a.Ack)
	// Only the latest feedback counts, each once, and only on packets of which
	// it is known when they were sent.
	if !f.complete() || sent == nil || v.got && !v.latest.Less(a.Seq) || a.Ack.Less(v.hist.acked) {
		return
	}
	first := !v.got
	v.got, v.latest, v.hist.acked = true, a.Seq, a.Ack
	v.settled = wire.MaxSeq(v.settled, a.Ack)
	v.count.acked(now, sent.counter)
	known := v.rate.first
	v.measure(now, a, sent)
	worse := v.judge(&f, a.Ack)
	// The interval is the round trip up to when the acknowledged packet was
	// sent. If at no time in it a message had to wait, the application alone
	// limited the rate (RFC 5348, Sections 4.3 and 8.2.1).
	limited := (sent.full < 0 || sent.full <= sent.at-v.rate.rtt) && f.recv > 0
	recv := f.recv
	if recv < 1 {
		// A packet did arrive: a rate of less than an octet in a second is one
		// that was rounded away, and must not hold the sender down for ever.
		recv = v.rate.least()
	}
	recv = v.adjust(recv, a)
	if !first || known || v.rate.p > 0 {
		// The first round trip sets the first rate instead (RFC 5348, Section 4.2).
		v.rate.feedback(now, recv, worse, limited)
	}
	v.retime()
	if v.rate.s > 0 {
		v.timer, v.sentData = now.Add(v.rate.timeout()), false
	}
}

// measure takes the round trip of the acknowledged packet, the peer's delay
// deducted as far as that makes sense (RFC 4342, Section 8.2).
func (v *Sender) measure(now time.Time, a *ccid.Ack, sent *packet) {
	d := now.Sub(v.start) - sent.at
	if a.Elapsed > 0 && a.Elapsed < d {
		d -= a.Elapsed
	}
	v.rate.sample(now, d)
}

// judge takes the loss event rate and reports whether it became worse: a new
// loss event, or a higher rate.
func (v *Sender) judge(f *feedback, ack wire.Seq) (worse bool) {
	p, event := v.rate.p, false
	if f.intervals.n > 0 {
		event = v.loss.merge(&f.intervals, ack)
		p = v.loss.rate()
	} else if f.inverse != noLoss {
		p = 1 / float64(f.inverse)
	}
	worse = event || p > v.rate.p
	if worse {
		v.stats.Losses++
		v.stats.Reductions++
	}
	v.rate.p = p
	return worse
}

// adjust lowers the receive rate by what the receiving host said (RFC 4342,
// Section 5.2): Slow Receiver bids not to go faster, each packet dropped in the
// receive buffer takes one packet from the round trip. Corruption has to
// count as much as a mark (RFC 4340, Section 11.7.2, MUST); as loss intervals
// know nothing of it, it halves the rate.
func (v *Sender) adjust(in float64, a *ccid.Ack) float64 {
	drops, corrupt := v.drops(a)
	if !a.SlowReceiver && drops == 0 && !corrupt {
		return in
	}
	most := in
	perRTT := v.rate.s / v.rate.rtt.Seconds()
	if drops > 0 {
		most = max(in-float64(drops)*perRTT, min(in, perRTT))
	}
	if corrupt {
		most = min(most, in/2)
	}
	return min(in, most/2)
}

// drops counts packets newly reported dropped in the receive buffer, and looks
// for such as are as bad as marked.
func (v *Sender) drops(a *ccid.Ack) (buffer int, corrupt bool) {
	runs := wire.NewDropRuns(a.Ack)
	for runs.Feed(a.Dropped); runs.Next(); {
		run := runs.Run
		if run.Code == wire.NotDropped || run.Code < wire.DropReceiveBuffer {
			continue
		}
		for s := run.Last; !s.Less(run.First()); s = s.Add(-1) {
			p := v.hist.at(s)
			if p == nil || !p.data || p.dropped {
				continue
			}
			p.dropped = true
			if run.Code == wire.DropReceiveBuffer {
				buffer++
			} else {
				corrupt = true
			}
		}
	}
	return buffer, corrupt
}

// known are the loss intervals that the sender knows of, the latest first. A
// receiver need not repeat what it knows has come (RFC 4342, Section 8.6.1).
type known struct {
	start   [numIntervals + 1]wire.Seq // of each interval's first packet
	lengths [numIntervals + 1]float64
	n       int
	latest  wire.Seq // the start of the latest interval that began with a loss
	event   bool     // latest is set
}

// merge takes a report that ends at ack and tells whether it has a new loss
// event.
func (k *known) merge(r *report, ack wire.Seq) (event bool) {
	old := *k
	k.n = 0
	end := ack.Add(-int64(r.skip))
	complete := false // nothing came before, or it is not known where that ended
	for _, i := range r.iv[:r.n] {
		k.start[k.n] = end.Add(1 - i.seqLen())
		k.lengths[k.n] = float64(i.data)
		k.n++
		end = end.Add(-i.seqLen())
		complete = complete || i.loss == 0 || i.lossless == maxLength
	}
	oldest := k.start[k.n-1]
	for i := 0; i < old.n && k.n < len(k.start) && !complete; i++ {
		if old.start[i].Less(oldest) {
			k.start[k.n], k.lengths[k.n] = old.start[i], old.lengths[i]
			k.n++
		}
	}
	if i := r.iv[0]; i.loss > 0 && i.lossless < maxLength {
		event = !k.event || k.latest.Less(k.start[0])
		k.latest, k.event = k.start[0], true
	}
	return event
}

func (k *known) rate() float64 { return lossRate(k.lengths[:k.n]) }
