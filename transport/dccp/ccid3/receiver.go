package ccid3

import (
	"math"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// arrival is a packet that came while one before it is missing.
type arrival struct {
	seq     wire.Seq
	counter uint8
	data    bool
	ce      bool
	ndp     int64
}

// Receiver is the HC-Receiver.
type Receiver struct {
	loss    losses
	pending [numDupAck + 1]arrival // behind a hole, by number
	n       int

	highest wire.Seq // the greatest number that came
	came    time.Time
	meter   meter
	clock   rttClock

	counter     uint8 // the greatest window counter that came
	lastCounter uint8 // … when the last feedback was sent
	began       bool  // a data packet came
	due         bool  // feedback is to go at once
	news        bool  // data came since the last feedback
	last        time.Time
	told        bool // AppendOptions gave feedback
	sendRate    bool // Send Loss Event Rate is on
	stats       ccid.ReceiverStats
}

// NewReceiver makes an HC-Receiver.
func NewReceiver(s ccid.Setup) *Receiver {
	return &Receiver{
		loss:    newLosses(s.Next),
		highest: s.Next.Add(-1),
		came:    s.Now,
		clock:   rttClock{other: s.RTT},
	}
}

// Received implements ccid.Receiver.
func (v *Receiver) Received(now time.Time, r *ccid.Received) {
	newer := v.highest.Less(r.Seq)
	if newer {
		v.highest, v.came = r.Seq, now
	}
	p := arrival{seq: r.Seq, counter: r.CCVal % 16, data: r.Data, ce: r.CE && r.Data}
	if r.HasNDP {
		p.ndp = int64(min(r.NDP, maxLength))
	}
	fresh := !v.seen(r.Seq)
	if r.Data && fresh {
		v.data(now, r, newer)
	}
	if v.settle(now, p) {
		// A new loss event, and so a higher loss event rate, or one that proved
		// not to be: at once (RFC 5348, Section 6, SHOULD; RFC 4342, Section 10.3).
		v.due = true
	}
}

// seen reports whether packet s came before, as far as is known: what is
// settled did, or was lost.
func (v *Receiver) seen(s wire.Seq) bool {
	if !v.loss.end.Less(s) {
		return true
	}
	for _, p := range v.pending[:v.n] {
		if p.seq == s {
			return true
		}
	}
	return false
}

// data takes account of a data packet for the receive rate and for when
// feedback is due (RFC 4342, Section 10.3).
func (v *Receiver) data(now time.Time, r *ccid.Received, newer bool) {
	v.meter.add(now, r.Size)
	v.news = true
	if newer {
		v.counter = r.CCVal % 16
		v.clock.tick(now, r.Seq, v.counter)
	}
	switch {
	case !v.began:
		// The first packet is answered at once (RFC 5348, Section 6.3).
		v.began, v.due = true, true
	case newer && (v.counter-v.lastCounter)%16 >= 4:
		v.due = true
	}
}

// settle takes a packet into the loss history when everything before it is
// settled, and what stands behind it; it reports whether the loss events
// changed.
func (v *Receiver) settle(now time.Time, p arrival) (changed bool) {
	switch d := p.seq.Sub(v.loss.end); {
	case d <= 0:
		return p.data && v.loss.returned(p.seq)
	case !v.insert(p):
		return false
	}
	for v.n > 0 {
		p := v.pending[0]
		if hole := p.seq.Sub(v.loss.end) - 1; hole > 0 {
			// NDUPACK packets behind a hole make it a loss (RFC 4342, Section
			// 6.1); so does a mark behind it (RFC 5348, Section 5.1).
			if v.n < numDupAck && !v.marked() {
				return changed
			}
			v.stats.Losses += uint64(hole)
			changed = v.loss.missed(hole, p.ndp, func() uint32 { return v.firstInterval(now) }) || changed
		}
		v.n = copy(v.pending[:], v.pending[1:v.n])
		v.loss.arrived(p.data, p.counter)
		if p.ce {
			v.stats.Losses++
			changed = v.loss.marked(func() uint32 { return v.firstInterval(now) }) || changed
		}
	}
	return changed
}

// insert puts a packet in its place among those pending; false for one that is
// there. settle leaves fewer than NDUPACK of them.
func (v *Receiver) insert(p arrival) bool {
	i := v.n
	for i > 0 && !v.pending[i-1].seq.Less(p.seq) {
		i--
	}
	if i < v.n && v.pending[i].seq == p.seq {
		return false
	}
	copy(v.pending[i+1:v.n+1], v.pending[i:v.n])
	v.pending[i] = p
	v.n++
	return true
}

func (v *Receiver) marked() bool {
	for _, p := range v.pending[:v.n] {
		if p.ce {
			return true
		}
	}
	return false
}

// firstInterval is the length that the first loss interval is given: that at
// which the equation gives the largest receive rate so far, which is about
// half of what the sender had reached, and no less than half a packet in a
// round trip (RFC 5348, Section 6.3.1, MUST).
func (v *Receiver) firstInterval(now time.Time) uint32 {
	rtt := v.clock.rtt()
	perSecond := max(v.meter.most, v.meter.rate(now, rtt)) / v.meter.size()
	perRTT := max(perSecond*rtt.Seconds(), 0.5)
	return uint32(min(max(math.Round(1/lossRateFor(perRTT)), 1), maxLength))
}

// AckDue implements ccid.Receiver.
func (v *Receiver) AckDue(now time.Time) bool {
	return v.due || v.news && !now.Before(v.timer())
}

// timer is the feedback timer: a backup for data that comes after the last
// feedback without the window counter reaching the next (RFC 4342, Section
// 10.3). Half the sender's nofeedback timer.
func (v *Receiver) timer() time.Time { return v.last.Add(2 * v.clock.rtt()) }

// Next implements ccid.Receiver.
func (v *Receiver) Next() time.Time {
	switch {
	case v.due:
		return v.came // at once
	case v.news:
		return v.timer()
	}
	return time.Time{}
}

// Sizes of the options.
const (
	rateLen    = 6
	elapsedMax = 6
)

// AppendOptions implements ccid.Receiver: when feedback is due, all that makes
// a feedback packet (RFC 4342, Section 6), or nothing if it does not fit.
func (v *Receiver) AppendOptions(now time.Time, b []byte, room int) []byte {
	v.told = false
	need := elapsedMax + rateLen + 3 + intervalLen
	if v.sendRate {
		need += rateLen
	}
	if !v.AckDue(now) || room < need {
		return b
	}
	v.told = true
	start := len(b)
	b = wire.AppendElapsedTime(b, now.Sub(v.came))
	b = appendRate(b, wire.OptReceiveRate, v.receiveRate(now))
	if v.sendRate {
		b = appendRate(b, wire.OptLossEventRate, v.inverse())
	}
	r := v.loss.report(v.highest)
	return r.append(b, room-(len(b)-start))
}

func appendRate(b []byte, t wire.OptionType, x uint32) []byte {
	return append(b, byte(t), rateLen, byte(x>>24), byte(x>>16), byte(x>>8), byte(x))
}

// receiveRate is X_recv; zero in the first feedback (RFC 5348, Section 6.3).
func (v *Receiver) receiveRate(now time.Time) uint32 {
	if v.last.IsZero() {
		return 0
	}
	return uint32(min(v.meter.rate(now, v.clock.rtt()), math.MaxUint32))
}

// inverse is the loss event rate's, rounded up (RFC 4342, Section 8.5).
func (v *Receiver) inverse() uint32 {
	p := v.loss.rate()
	if p == 0 {
		return noLoss
	}
	// Up, but not for the rounding of 1/p itself.
	return uint32(min(math.Ceil(1/p-1e-6), noLoss-1))
}

// AckSent implements ccid.Receiver.
func (v *Receiver) AckSent(now time.Time, _ wire.Seq, data bool) {
	v.stats.Acks++
	if !v.told {
		if !data && v.AckDue(now) {
			// Not even a packet of its own had room: it would not help to try
			// again at once.
			v.due, v.news = false, false
		}
		return
	}
	if !v.last.IsZero() {
		v.stats.Rate = v.meter.rate(now, v.clock.rtt())
		v.meter.most = max(v.meter.most, v.stats.Rate)
	}
	v.meter.checkpoint(now)
	v.last, v.lastCounter = now, v.counter
	v.due, v.news, v.told = false, false, false
}

// Feature implements ccid.Receiver.
func (v *Receiver) Feature(f wire.Feature, value uint64) {
	if f == wire.FeatSendLossEventRate {
		v.sendRate = value == 1
	}
}

// SetRTT implements ccid.Receiver.
func (v *Receiver) SetRTT(rtt time.Duration) { v.clock.other = rtt }

// Stats implements ccid.Receiver.
func (v *Receiver) Stats() ccid.ReceiverStats {
	s := v.stats
	s.LossRate, s.RTT = v.loss.rate(), v.clock.rtt()
	return s
}
