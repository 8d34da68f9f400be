package ccid2

import (
	"math/bits"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// ackPath watches the HC-Receiver's packets and decides how many data packets
// one of its acknowledgements should cover (RFC 4341, Section 6.1).
type ackPath struct {
	// The last 64 numbers up to highest: bit i stands for highest-i.
	highest wire.Seq
	seen    uint64
	judged  wire.Seq // numbers up to here are known to be lost or not
	started bool

	lost   int     // acknowledgements lost or marked in this window
	clean  float64 // windows in a row without, less what was made of them
	end    wire.Seq
	began  bool // end is set
	peak   int  // the most packets outstanding in this window
	before int  // and in the one before

	ratio   int // in force
	want    int
	asked   int // what was last asked for; 0: nothing
	askedAt time.Time
}

// heard takes the number of a packet from the HC-Receiver.
func (a *ackPath) heard(s wire.Seq, marked bool) {
	if marked {
		a.lost++
	}
	if !a.started {
		a.started, a.highest, a.judged, a.seen = true, s, s, 1
		return
	}
	switch d := s.Sub(a.highest); {
	case d <= -64:
		return
	case d <= 0:
		a.seen |= 1 << -d
	case d < 64-numDupAck:
		a.highest = s
		a.seen = a.seen<<d | 1
	default:
		// Too far to look back: everything between was lost.
		a.lost += int(min(d-1, maxWindow))
		a.highest, a.judged, a.seen = s, s, 1
		return
	}
	a.judge()
}

// judge infers losses as for data: NUMDUPACK later packets came (RFC 4341,
// Section 6.1.1). Every lost packet counts as an acknowledgement: whether it
// carried data is not known (ibid., SHOULD).
func (a *ackPath) judge() {
	// The place of the third latest packet that came.
	later := a.seen
	for range numDupAck - 1 {
		later &= later - 1
	}
	if later == 0 {
		return
	}
	place := bits.TrailingZeros64(later)
	upTo := a.highest.Add(-int64(place))
	n := upTo.Sub(a.judged) // numbers not judged yet
	if n <= 0 {
		return
	}
	// Shifted out numbers read as lost; heard leaves no gap that long.
	span := a.seen >> place
	if n < 64 {
		span &= 1<<n - 1
	}
	a.lost += int(n) - bits.OnesCount64(span)
	a.judged = upTo
}

// outstanding notes how much of the window is used.
func (a *ackPath) outstanding(pipe int) { a.peak = max(a.peak, pipe) }

// window is called at each acknowledgement: acked is what it acknowledges,
// last the last packet sent. When a window's worth of data was acknowledged,
// the ratio is reconsidered.
func (a *ackPath) window(acked, last wire.Seq, cwnd int) {
	if !a.began {
		a.began, a.end = true, last
		return
	}
	if acked.Less(a.end) {
		return
	}
	use := float64(a.use(cwnd))
	if a.lost > 0 {
		// A window with lost or marked acknowledgements: half as many (RFC
		// 4341, Section 6.1.2).
		a.want, a.clean = a.want*2, 0
	} else {
		// One less for each cwnd/(R*R-R) windows without (ibid.), which brings
		// one acknowledgement more for a window. That may be less than one
		// window.
		a.clean++
		for a.want > 1 {
			each := use / float64(a.want*a.want-a.want)
			if a.clean < each {
				break
			}
			a.want, a.clean = a.want-1, a.clean-each
		}
	}
	a.lost, a.end = 0, last
	a.before, a.peak = a.peak, 0
}

// use is the window in use: an application that sends a message now and then
// has a window of one, however wide cwnd is open.
func (a *ackPath) use(cwnd int) int { return min(cwnd, max(a.peak, a.before)) }

// wish is the Ack Ratio to ask for; rtt limits how often it changes.
func (a *ackPath) wish(now time.Time, cwnd int, rtt time.Duration) uint16 {
	// Not more than half the window, rounded up, though 2 always will do; at
	// least 2 for a window of four (RFC 4341, Section 6.1.2). The window is
	// the one in use: with one message outstanding, a ratio of 2 makes a peer
	// without a timer for delayed acknowledgements wait for ever.
	least, most := 1, max((cwnd+1)/2, 2)
	if a.use(cwnd) >= 4 {
		least = 2
	}
	if cwnd == 1 {
		most = 1
	}
	a.want = min(max(a.want, least), most)
	// A new wish at most every few round trips (ibid., SHOULD NOT more than
	// once in one), unless acknowledgements would come too late for the window.
	late := a.ratio > most || a.asked > most
	if a.want != a.asked && (late || a.asked == 0 || now.Sub(a.askedAt) >= 4*rtt) {
		a.asked, a.askedAt = a.want, now
	}
	if a.asked == a.ratio {
		return 0
	}
	return uint16(a.asked)
}
