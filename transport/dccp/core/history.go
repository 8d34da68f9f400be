package core

import "ipfixsuite/transport/dccp/wire"

// history is what the HC-Receiver knows of the packets that came: the source
// of Ack Vectors and Data Dropped options, and what tells a duplicate from a
// late packet. One octet a packet, in a ring.
type history struct {
	ring []byte
	head wire.Seq // the greatest that came: GSR
	n    int      // how many packets it speaks of, head included
	// tail is the oldest that acknowledgements must still speak of: the peer
	// has not yet acknowledged one that covers it (RFC 4340, Section 11.4.2).
	tail  wire.Seq
	solid wire.Seq // since this packet each one came, up to the head
	drops int      // how many are in a drop state
}

const (
	minHistory = 64
	// maxHistory bounds a connection's memory, and the time that an Ack Vector
	// takes. What falls off counts as lost in the network.
	maxHistory = 8192
	// maxUntold is how much may be under way since an Ack Vector came: a peer
	// like us can speak of all that.
	maxUntold = maxHistory - 64

	stateMask = 3
	dropBit   = 0x80
	dropShift = 4
)

// arrival is what history makes of a packet's number.
type arrival uint8

const (
	fresh arrival = iota
	duplicate
	stale // too old to tell
)

func (h *history) start(seq wire.Seq) {
	if h.ring == nil {
		h.ring = make([]byte, minHistory)
	}
	h.drops = 0
	h.head, h.tail, h.solid, h.n = seq.Add(-1), seq, seq, 0
}

func (h *history) slot(seq wire.Seq) *byte { return &h.ring[int(seq)&(len(h.ring)-1)] }

// look tells whether a packet came before; nothing changes.
func (h *history) look(seq wire.Seq) arrival {
	d := h.head.Sub(seq)
	switch {
	case d < 0:
		return fresh
	case d >= int64(h.n):
		return stale
	case wire.AckState(*h.slot(seq)&stateMask) != wire.AckMissing:
		return duplicate
	}
	return fresh
}

// add marks a fresh packet as received. keep is how far behind the head a late
// packet must still be known: the low part of the sequence window.
func (h *history) add(seq wire.Seq, keep int) {
	ahead := seq.Sub(h.head)
	if ahead <= 0 {
		h.set(seq, byte(wire.AckReceived))
		return
	}
	if ahead > maxHistory {
		// A Sync has moved the window: nothing before it can still come.
		h.n, h.drops, h.tail = 0, 0, seq
		h.head = seq.Add(-1)
		ahead = 1
	}
	if ahead > 1 || h.n == 0 {
		h.solid = seq
	}
	need := int(min(max(seq.Sub(h.tail)+1, int64(keep)), maxHistory, int64(h.n)+ahead))
	if need > len(h.ring) {
		h.grow(need)
	}
	for range ahead {
		h.head = h.head.Add(1)
		if h.n == len(h.ring) {
			h.forget()
		}
		h.n++
		*h.slot(h.head) = byte(wire.AckMissing)
	}
	h.set(seq, byte(wire.AckReceived))
}

func (h *history) set(seq wire.Seq, state byte) { *h.slot(seq) = state }

// forget lets the oldest packet fall off.
func (h *history) forget() {
	oldest := h.head.Add(-int64(h.n))
	if *h.slot(oldest)&dropBit != 0 {
		h.drops--
	}
	h.n--
	if !oldest.Less(h.tail) {
		h.tail = oldest.Add(1)
	}
}

func (h *history) grow(need int) {
	size := len(h.ring)
	for size < need {
		size *= 2
	}
	old := *h
	h.ring = make([]byte, size)
	for i := range int64(h.n) {
		seq := h.head.Add(-i)
		*h.slot(seq) = *old.slot(seq)
	}
}

// drop marks a received packet's data as not delivered.
func (h *history) drop(seq wire.Seq, code wire.DropCode) {
	if h.look(seq) != duplicate {
		return
	}
	s := h.slot(seq)
	if *s&dropBit == 0 {
		h.drops++
	}
	*s = *s&stateMask | dropBit | byte(code)<<dropShift
}

// acknowledged is told that the peer has an acknowledgement of everything up
// to seq: later ones need not speak of it again.
func (h *history) acknowledged(seq wire.Seq) {
	for !seq.Less(h.tail) && !h.head.Less(h.tail) {
		if int64(h.n) > h.head.Sub(h.tail) {
			if s := h.slot(h.tail); *s&dropBit != 0 {
				*s &= stateMask
				h.drops--
			}
		}
		h.tail = h.tail.Add(1)
	}
}

// window is how many packets, back from the head, acknowledgements speak of:
// at least the head.
func (h *history) window() int {
	return int(min(max(h.head.Sub(h.tail)+1, 1), int64(h.n)))
}

// appendVector appends an Ack Vector of at most room octets, as it goes into
// options; whole reports whether it covers the acknowledgement window.
func (h *history) appendVector(b []byte, room int) (v []byte, whole bool) {
	start, w := len(b), h.window()
	i, came := 0, min(int(h.head.Sub(h.solid)+1), w)
	for i < came && len(b)-start < room {
		run := min(came-i, wire.MaxAckRun)
		b = append(b, byte(wire.AckReceived)<<6|byte(run-1))
		i += run
	}
	for i < w {
		s := *h.slot(h.head.Add(-int64(i))) & stateMask
		run := 1
		for run < wire.MaxAckRun && i+run < w && *h.slot(h.head.Add(-int64(i + run)))&stateMask == s {
			run++
		}
		if len(b)-start >= room {
			return b, false
		}
		b = append(b, s<<6|byte(run-1))
		i += run
	}
	return b, true
}

// appendDropped appends the blocks of a Data Dropped option, back to the oldest
// drop; none when nothing was dropped.
func (h *history) appendDropped(b []byte, room int) (blocks []byte, whole bool) {
	start, w, left := len(b), h.window(), h.drops
	code := func(i int) wire.DropCode {
		c := *h.slot(h.head.Add(-int64(i)))
		if c&dropBit == 0 {
			return wire.NotDropped
		}
		return wire.DropCode(c >> dropShift & 7)
	}
	for i := 0; i < w && left > 0; {
		c, run := code(i), 1
		for i+run < w && code(i+run) == c {
			run++
		}
		if c != wire.NotDropped {
			left -= run
		}
		b = wire.AppendDropRun(b, c, run)
		if len(b)-start > room {
			return b[:start+room], false
		}
		i += run
	}
	return b, true
}
