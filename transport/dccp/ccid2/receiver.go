package ccid2

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// Receiver is the HC-Receiver. What it acknowledges with, the Ack Vector, is
// the connection's business; it says when.
type Receiver struct {
	ratio   int // data packets for one acknowledgement
	rtt     time.Duration
	highest wire.Seq  // the latest packet
	came    time.Time // when it did
	waiting int       // data packets since the last acknowledgement
	due     time.Time // when they have waited long enough; zero: none wait
	urgent  bool
	marked  time.Time // when a mark was last acknowledged at once
	stats   ccid.ReceiverStats
}

// NewReceiver makes an HC-Receiver.
func NewReceiver(s ccid.Setup) *Receiver {
	return &Receiver{ratio: wire.DefaultAckRatio, rtt: s.RTT, highest: s.Next.Add(-1), came: s.Now}
}

// Received implements ccid.Receiver. Only data is acknowledged.
func (v *Receiver) Received(now time.Time, r *ccid.Received) {
	jump := r.Seq.Sub(v.highest)
	if jump > 0 {
		v.highest, v.came = r.Seq, now
	}
	if !r.Data {
		return
	}
	if v.waiting == 0 {
		// No packet's acknowledgement waits longer than T (RFC 4340, Section
		// 11.3, SHOULD).
		v.due = now.Add(delayedAck)
	}
	v.waiting++
	if jump != 1 {
		// Out of order, perhaps a loss: at once (RFC 4340, Section 11.3, SHOULD).
		v.urgent = true
		v.stats.Losses += uint64(min(max(jump-1, 0), maxWindow))
	}
	if r.CE {
		v.mark(now)
	}
}

// mark acknowledges a marked packet at once, but not more than once in a
// round trip (RFC 4340, Section 11.3).
func (v *Receiver) mark(now time.Time) {
	rtt := v.rtt
	if rtt == 0 {
		rtt = defaultRTT
	}
	if v.marked.IsZero() || now.Sub(v.marked) >= rtt {
		v.marked, v.urgent = now, true
	}
}

// AckDue implements ccid.Receiver.
func (v *Receiver) AckDue(now time.Time) bool {
	return v.waiting >= v.ratio || v.waiting > 0 && (v.urgent || !now.Before(v.due))
}

// AppendOptions implements ccid.Receiver: how long the acknowledged packet has
// waited, when it has.
func (v *Receiver) AppendOptions(now time.Time, b []byte, room int) []byte {
	if d := now.Sub(v.came); d >= wire.TimeUnit && room >= 6 {
		b = wire.AppendElapsedTime(b, d)
	}
	return b
}

// AckSent implements ccid.Receiver.
func (v *Receiver) AckSent(time.Time, wire.Seq, bool) {
	v.waiting, v.urgent, v.due = 0, false, time.Time{}
	v.stats.Acks++
}

// Feature implements ccid.Receiver. Without a ratio the sender leaves the rate
// of acknowledgements to us (RFC 4340, Section 11.3): one for two packets.
func (v *Receiver) Feature(f wire.Feature, value uint64) {
	if f != wire.FeatAckRatio {
		return
	}
	v.ratio = int(min(value, 1<<16-1))
	if v.ratio == 0 {
		v.ratio = wire.DefaultAckRatio
	}
}

// SetRTT implements ccid.Receiver.
func (v *Receiver) SetRTT(rtt time.Duration) { v.rtt = rtt }

// Next implements ccid.Receiver.
func (v *Receiver) Next() time.Time { return v.due }

// Stats implements ccid.Receiver.
func (v *Receiver) Stats() ccid.ReceiverStats {
	s := v.stats
	s.RTT = v.rtt
	return s
}
