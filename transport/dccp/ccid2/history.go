package ccid2

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// flags of a sent packet.
type flags uint8

const (
	isData     flags = 1 << iota
	isAcked          // an Ack Vector reported it received, marked or not
	isMarked         // … marked, and that was acted upon
	isLost           // deemed lost: NUMDUPACK later ones arrived
	isTimedOut       // outstanding when the timer expired
	isDropped        // a Data Dropped option named it, and that was acted upon
)

// gone packets no longer count in pipe, whatever is said of them later.
const gone = isAcked | isLost | isTimedOut

type entry struct {
	at time.Duration // when it was sent, since the sender's start
	f  flags
}

// history is what was sent and may still be reported on: packets lo to hi-1.
// A packet's place is its number modulo the ring's length, a power of two.
type history struct {
	ring   []entry
	lo, hi wire.Seq
	top    [numDupAck]wire.Seq // the latest packets reported received, latest first
	tops   int
}

func (h *history) at(s wire.Seq) *entry { return &h.ring[int(s)&(len(h.ring)-1)] }

func (h *history) len() int { return int(h.hi.Sub(h.lo)) }

// add appends packet s. Packets without data before any with data are not
// worth remembering: they only count as later packets that arrived.
func (h *history) add(s wire.Seq, at time.Duration, data bool) {
	if s.Less(h.hi) {
		return // not in order: a fault of the caller's
	}
	if h.lo == h.hi {
		h.lo, h.hi = s, s
		if !data {
			h.lo, h.hi = s.Add(1), s.Add(1)
			return
		}
	}
	for {
		if h.len() == len(h.ring) {
			h.grow()
		}
		next := h.hi
		h.hi = h.hi.Add(1)
		if next == s {
			f := flags(0)
			if data {
				f = isData
			}
			*h.at(s) = entry{at, f}
			return
		}
		// A number that was used without telling.
		*h.at(next) = entry{at, 0}
	}
}

// grow doubles the ring. The sender keeps the length under maxHistory.
func (h *history) grow() {
	old := history{ring: h.ring, lo: h.lo, hi: h.hi}
	h.ring = make([]entry, max(2*len(h.ring), 64))
	for s := h.lo; s.Less(h.hi); s = s.Add(1) {
		*h.at(s) = *old.at(s)
	}
}

// arrived notes the number of a packet that is newly reported received.
func (h *history) arrived(s wire.Seq) {
	i := h.tops
	for i > 0 && h.top[i-1].Less(s) {
		i--
	}
	if i == numDupAck {
		return
	}
	copy(h.top[i+1:], h.top[i:])
	h.top[i] = s
	h.tops = min(h.tops+1, numDupAck)
}

// lostBefore is the number before which everything that did not arrive is
// lost: NUMDUPACK later packets did, with data or not (RFC 4341, Section 5).
func (h *history) lostBefore() wire.Seq {
	if h.tops < numDupAck {
		return h.lo
	}
	return h.top[numDupAck-1]
}

// trim forgets from the front what needs no more word.
func (h *history) trim() {
	for h.lo.Less(h.hi) {
		if f := h.at(h.lo).f; f&isData != 0 && f&(isAcked|isLost) == 0 {
			return
		}
		h.lo = h.lo.Add(1)
	}
}
