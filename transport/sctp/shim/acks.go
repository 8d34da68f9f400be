package shim

import (
	"encoding/binary"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// ackResult is what an acknowledgement brought.
type ackResult struct {
	valid    bool
	stale    bool          // older than one that came before
	progress bool          // something outstanding was acknowledged
	rtt      time.Duration // a measured round trip; 0: none
}

// sack takes a SACK. One that acknowledges what was never sent, or whose
// blocks are out of order, is invalid as a whole; the engine never sees it.
func (l *ledger) sack(now time.Time, s *wire.SACK) ackResult {
	if !l.acceptable(s.Cumulative) || !l.blocksValid(s) {
		return ackResult{}
	}
	if after(l.base-1, s.Cumulative) {
		return ackResult{valid: true, stale: true}
	}
	r := l.cumulative(now, s.Cumulative)
	for i := range s.Gaps() {
		start, end := s.Gap(i)
		for tsn := s.Cumulative + uint32(start); !after(tsn, s.Cumulative+uint32(end)); tsn++ {
			f := l.fragments.at(int(tsn - l.base))
			if !f.acked {
				f.acked = true
				r.progress = true
				l.measure(now, tsn, f, &r)
			}
		}
	}
	return r
}

// acceptable tells whether the TSN was sent, or is the one before the first.
func (l *ledger) acceptable(cumulative uint32) bool {
	return after(l.next(), cumulative)
}

// blocksValid demands blocks in rising order, apart from each other, of TSNs
// that were sent.
func (l *ledger) blocksValid(s *wire.SACK) bool {
	if after(l.base-1, s.Cumulative) {
		return true // stale: not looked at
	}
	outstanding := l.next() - 1 - s.Cumulative
	last := uint32(0)
	for i := range s.Gaps() {
		start, end := s.Gap(i)
		if uint32(start) <= last || start > end || uint32(end) > outstanding {
			return false
		}
		last = uint32(end)
	}
	return true
}

// cumulative settles everything up to tsn, which is acceptable and not stale.
func (l *ledger) cumulative(now time.Time, tsn uint32) ackResult {
	r := ackResult{valid: true}
	for !after(l.base, tsn) {
		f := l.fragments.at(0)
		if !f.acked {
			r.progress = true
			l.measure(now, l.base, f, &r)
		}
		e := l.entry(f.message)
		l.fragments.pop()
		l.base++
		if e.pending--; e.pending == 0 && e.cut {
			l.settle(e)
		}
	}
	if after(l.base, l.advanced) {
		l.advanced = l.base
	}
	return r
}

// settle ends the first entry.
func (l *ledger) settle(e *entry) {
	l.bytes -= e.Size
	l.entries.pop()
	l.first++
}

// measure takes one round trip at a time, of chunks sent once (RFC 9260,
// Section 6.3.1, rules C4 and C5).
func (l *ledger) measure(now time.Time, tsn uint32, f *fragment, r *ackResult) {
	if f.times == 1 && !after(l.timed, tsn) && !l.entry(f.message).abandoned {
		l.timed = l.next()
		r.rtt = max(now.Sub(f.sent), 1)
	}
}

// skip moves the point up to which everything is given up or acknowledged and
// tells whether the peer has to be told of it (RFC 3758, Section 3.5, C1 to
// C3).
func (l *ledger) skip() bool {
	for l.advanced != l.next() {
		f := l.fragments.at(int(l.advanced - l.base))
		if !l.entry(f.message).abandoned {
			break
		}
		l.advanced++
	}
	return l.advanced != l.base
}

// appendForward writes the FORWARD TSN chunk for the point that skip reached:
// the last stream sequence number given up on each stream, unordered messages
// left out (RFC 3758, Sections 3.2 and 3.5, C4). room bounds it, in octets; what does
// not fit is told by the next one.
func (l *ledger) appendForward(b []byte, room int) []byte {
	at := len(b)
	b = wire.BeginChunk(b, wire.ForwardTSN, 0)
	b = binary.BigEndian.AppendUint32(b, 0)
	list := len(b)
	point := l.base
	for ; point != l.advanced; point++ {
		e := l.entry(l.fragments.at(int(point - l.base)).message)
		if e.Unordered {
			continue
		}
		if i := findStream(b[list:], e.Stream); i >= 0 {
			binary.BigEndian.PutUint16(b[list+i+2:], e.ssn)
			continue
		}
		if len(b)-at+4 > room {
			break
		}
		b = binary.BigEndian.AppendUint16(b, e.Stream)
		b = binary.BigEndian.AppendUint16(b, e.ssn)
	}
	binary.BigEndian.PutUint32(b[at+wire.ChunkHeaderLen:], point-1)
	return wire.EndChunk(b, at)
}

func findStream(list []byte, stream uint16) int {
	for i := 0; i < len(list); i += 4 {
		if binary.BigEndian.Uint16(list[i:]) == stream {
			return i
		}
	}
	return -1
}
