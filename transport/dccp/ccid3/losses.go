package ccid3

import "ipfixsuite/transport/dccp/wire"

// span is a loss interval at the receiver.
type span struct {
	start   wire.Seq // the first lost packet, or the connection's first
	lossEnd wire.Seq // one past the last lost or marked packet of the loss event
	other   int64    // packets without data
	data    uint32   // its length, once it is over
	marked  bool     // its first packet came, marked
}

// losses is the receiver's loss history: what it makes of packets that came or
// are known to be lost, in the order of their numbers.
type losses struct {
	iv   [numIntervals + 1]span // the latest first
	n    int
	end  wire.Seq // the last packet that is settled
	loss bool     // there was a loss event

	// Two losses are of one event unless some packet between them has a window
	// counter more than 4 beyond that of the last packet before the first loss
	// (RFC 4342, Section 10.2).
	counter uint8 // of the last packet with data
	before  uint8 // of the last one before the event
	apart   bool  // such a packet came: the next loss is a new event
}

func newLosses(first wire.Seq) losses {
	l := losses{n: 1, end: first.Add(-1)}
	l.iv[0] = span{start: first, lossEnd: first}
	return l
}

// arrived settles packet end+1, which came.
func (l *losses) arrived(data bool, counter uint8) {
	l.end = l.end.Add(1)
	if !data {
		l.iv[0].other++
		return
	}
	l.counter = counter
	if l.loss && (counter-l.before)%16 > 4 {
		l.apart = true
	}
}

// missed settles the next n packets, which are lost; the last other of them had
// no data, as the NDP Count of what came next tells. What is not known to be
// without data counts as data (RFC 4342, Section 6.1, MUST). first is the
// length of the first interval should this be the first event. It reports
// whether a new event began.
func (l *losses) missed(n, other int64, first func() uint32) (event bool) {
	if other = min(other, n); other < n {
		event = l.lost(l.end.Add(1), l.end.Add(n-other), first)
	}
	l.iv[0].other += other
	l.end = l.end.Add(n)
	return event
}

// marked takes that packet end, which has just come, was marked.
func (l *losses) marked(first func() uint32) (event bool) {
	if event = l.lost(l.end, l.end, first); event {
		l.iv[0].marked = true
	}
	return event
}

// lost takes a loss, or marks, from packet s to last.
func (l *losses) lost(s, last wire.Seq, first func() uint32) bool {
	if l.loss && !l.apart {
		l.iv[0].lossEnd = last.Add(1)
		return false
	}
	cur := &l.iv[0]
	if l.loss {
		cur.data = dataLength(s.Sub(cur.start), cur.other)
	} else {
		// The first interval's length is not that of its packets, for the rate
		// was no steady one (RFC 5348, Section 6.3.1, MUST).
		cur.data = first()
	}
	copy(l.iv[1:], l.iv[:])
	l.iv[0] = span{start: s, lossEnd: last.Add(1)}
	l.n = min(l.n+1, len(l.iv))
	l.before, l.loss, l.apart = l.counter, true, false
	return true
}

// returned takes that packet s, settled as lost, has come after all. When it
// alone had made the current event, that did not happen: its interval is part
// of the one before (RFC 5348, Sections 5.1 and 6). The first event stays: it
// has ended slow start.
func (l *losses) returned(s wire.Seq) bool {
	cur := l.iv[0]
	if l.n < 3 || s != cur.start || cur.marked || cur.lossEnd != s.Add(1) {
		return false
	}
	copy(l.iv[:], l.iv[1:l.n])
	l.n--
	l.iv[0].other += cur.other
	l.iv[0].data = 0
	l.apart = true
	return true
}

// dataLength is a loss interval's number of packets with data (RFC 4342,
// Section 6.1.1): at least one.
func dataLength(seqs, other int64) uint32 {
	return uint32(min(max(seqs-other, 1), maxLength))
}

// rate is the loss event rate (RFC 5348, Section 5.4).
func (l *losses) rate() float64 {
	var lengths [numIntervals + 1]float64
	for i, s := range l.iv[:l.n] {
		lengths[i] = float64(s.data)
	}
	lengths[0] = float64(dataLength(l.end.Sub(l.iv[0].start)+1, l.iv[0].other))
	return lossRate(lengths[:l.n])
}

// report is what a Loss Intervals option says that goes with acknowledgement
// number ack. Packets that are not settled are skipped, three at most; what is
// missing before those counts as lossless until it is known to be lost (RFC
// 4342, Section 6.1).
func (l *losses) report(ack wire.Seq) (r report) {
	r.skip = int(min(max(ack.Sub(l.end), 0), numDupAck))
	next := ack.Add(1 - int64(r.skip)) // the packet after the interval
	for i, s := range l.iv[:l.n] {
		iv := interval{
			lossless: uint32(min(max(next.Sub(s.lossEnd), 0), maxLength)),
			loss:     uint32(min(s.lossEnd.Sub(s.start), maxLoss)),
			data:     s.data,
		}
		// Before the first loss the first interval has no length (RFC 4342,
		// Section 6.1.1).
		if i == 0 && l.loss {
			iv.data = dataLength(next.Sub(s.start), s.other)
		}
		if iv.loss > 0 {
			// Where a length is at its limit.
			iv.data = uint32(min(int64(iv.data), iv.seqLen()))
		}
		r.iv[i] = iv
		next = s.start
	}
	r.n = l.n
	return r
}
