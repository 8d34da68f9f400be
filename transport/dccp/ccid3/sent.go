package ccid3

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// packet is one that was sent.
type packet struct {
	at      time.Duration // since the sender's start
	full    time.Duration // the latest time up to then at which the network limited the rate; -1: never
	counter uint8         // window counter
	data    bool
	dropped bool // a Data Dropped option named it, and that was acted upon
}

// history is the latest packets sent, by number modulo the ring's length, a
// power of two: up to hi-1, and as far back as the ring goes or low.
type history struct {
	ring    []packet
	low, hi wire.Seq
	acked   wire.Seq // the latest packet that the peer has acknowledged
}

// at returns packet s, nil when it is not remembered.
func (h *history) at(s wire.Seq) *packet {
	if s.Less(h.low) || !s.Less(h.hi) {
		return nil
	}
	return &h.ring[int(s)&(len(h.ring)-1)]
}

// add appends packet s. The ring grows to hold what is not acknowledged, as
// far as maxHistory; packets without data alone do not make it grow.
func (h *history) add(s wire.Seq, p packet) {
	if s.Less(h.hi) {
		return // not in order: a fault of the caller's
	}
	if s != h.hi {
		h.low = s // numbers were used without telling
	}
	need := s.Sub(h.acked)
	switch {
	case h.ring == nil && !p.data:
		h.low, h.hi = s.Add(1), s.Add(1)
		return
	case h.ring == nil:
		h.low = s
		h.ring = make([]packet, 64)
	case p.data && need >= int64(len(h.ring)) && len(h.ring) < maxHistory:
		h.grow()
	}
	h.hi = s.Add(1)
	h.ring[int(s)&(len(h.ring)-1)] = p
	if oldest := h.hi.Add(-int64(len(h.ring))); h.low.Less(oldest) {
		h.low = oldest
	}
}

func (h *history) grow() {
	old := *h
	h.ring = make([]packet, 2*len(old.ring))
	for s := h.low; s.Less(h.hi); s = s.Add(1) {
		h.ring[int(s)&(len(h.ring)-1)] = *old.at(s)
	}
}
