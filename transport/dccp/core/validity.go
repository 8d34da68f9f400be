package core

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// Windows of sequence and acknowledgement numbers (RFC 4340, Section 7.5.1).

// seqWindow is [SWL, SWH], from the remote's Sequence Window W: a quarter of
// it up to GSR, the rest beyond.
func (c *Conn) seqWindow() (low, high wire.Seq) {
	w := int64(c.feat.value(remote, wire.FeatSequenceWindow))
	low, high = c.gsr.Add(1-w/4), c.gsr.Add(w-w/4)
	// Not before the first packet, while there is a beginning to speak of.
	if !c.isrWrapped && low.Less(c.isr) {
		low = c.isr
	}
	return low, high
}

// ackWindow is [AWL, AWH], from our own Sequence Window.
func (c *Conn) ackWindow() (low, high wire.Seq) {
	w := int64(c.feat.value(local, wire.FeatSequenceWindow))
	low, high = c.gss.Add(1-w), c.gss
	if !c.issWrapped && low.Less(c.iss) {
		low = c.iss
	}
	return low, high
}

// active reports whether valid packets came within the last three round trips
// (RFC 4340, Section 7.5.3).
func (c *Conn) active(now time.Time) bool { return now.Sub(c.heard) <= 3*c.roundTrip() }

// advanceGSR takes a valid number into account.
func (c *Conn) advanceGSR(seq wire.Seq) {
	if c.gsr.Less(seq) {
		c.gsr = seq
		// From half the circle on, "before ISR" has lost its meaning.
		if c.gsr.Sub(c.isr) < 0 {
			c.isrWrapped = true
		}
	}
}

// nextSeq takes the number for a packet that is sent now.
func (c *Conn) nextSeq() wire.Seq {
	c.gss = c.gss.Add(1)
	if c.gss.Sub(c.iss) < 0 {
		c.issWrapped = true
	}
	return c.gss
}

// syncValid is Step 5: a Sync or SyncAck needs a valid acknowledgement number
// and no more than a number that is not old; on an active connection the
// stricter window holds (Section 7.5.3, SHOULD).
func (c *Conn) syncValid(now time.Time, p *wire.Packet) bool {
	sl, sh := c.seqWindow()
	al, ah := c.ackWindow()
	if ah.Less(al) || !p.Ack.Between(al, ah) || p.Seq.Less(sl) {
		return false
	}
	return !c.active(now) || !sh.Less(p.Seq)
}

// sequenceValid is the check of Step 6.
func (c *Conn) sequenceValid(p *wire.Packet) bool {
	sl, sh := c.seqWindow()
	al, ah := c.ackWindow()
	switch p.Type {
	case wire.CloseReq, wire.Close, wire.Reset:
		// What ends a connection is neither old nor acknowledges old packets.
		sl, al = c.gsr.Add(1), c.gar
	case wire.Sync, wire.SyncAck:
		// Step 5 has moved the window; it may be that GSR is beyond.
		return true
	}
	// Before the first packet of ours there is nothing to acknowledge: the
	// window is empty, its ends crossed.
	return p.Seq.Between(sl, sh) && (!p.Type.HasAck() || !ah.Less(al) && p.Ack.Between(al, ah))
}
