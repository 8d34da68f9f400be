package core

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// overtaken is how many later packets must have come before a missing one is
// taken for lost: the CCIDs' NUMDUPACK.
const overtaken = 3

// accountFor reads what an acknowledgement says of our packets: first whose
// data was dropped, then which arrived. A packet's fate is decided once.
func (c *Conn) accountFor(p *wire.Packet) {
	o := &c.received
	// A vector that reaches back before our first packet is not to be believed
	// (RFC 4340, Section 11.4, SHOULD).
	if o.vector != nil && !c.issWrapped && int64(wire.AckVectorLen(o.vector)) > p.Ack.Sub(c.iss)+1 {
		c.stats.VectorsInvalid++
		o.vector, o.dropped = nil, nil
	}
	if o.vector != nil && (!c.vectors || c.vectored.Less(p.Ack)) {
		c.vectors, c.vectored = true, p.Ack
	}
	if o.dropped != nil {
		c.markDropped(p.Ack, o.dropped)
	}
	// The number itself acknowledges its packet (Section 7.4), with or without
	// a vector; a vector that says otherwise is wrong. But a Reset may come from
	// where there is no connection, and then names a packet nobody took (Section
	// 8.3.1).
	if p.Type != wire.Reset {
		c.arrived(p.Ack, p.Ack)
	}
	came, oldest := 0, p.Ack
	runs := wire.NewAckRuns(p.Ack)
	for runs.Feed(o.vector); runs.Next(); {
		oldest = runs.Run.First()
		switch runs.Run.State {
		case wire.AckReceived, wire.AckECNMark:
			c.arrived(runs.Run.First(), runs.Run.Last)
			came += runs.Run.Len
		case wire.AckMissing:
			last := runs.Run.Last
			if came < overtaken {
				if !c.asked(p.Ack) {
					continue
				}
				last = wire.MinSeq(last, c.fateSeq.Add(-1))
			}
			c.missing(runs.Run.First(), last, p.Ack)
		}
	}
	if o.vector != nil {
		c.leftOut(p.Ack, oldest.Add(-1), came)
	}
	if c.out.settle() {
		c.overtook = 0
	}
}

// asked reports whether a Sync that asks for fates has come: what went long before
// it will not come.
func (c *Conn) asked(ack wire.Seq) bool { return c.fateAsked && !ack.Less(c.fateSeq) }

// leftOut decides packets older than a vector, up to last; so many in it came. The
// peer speaks of what we have not seen acknowledged (RFC 4340, Section 11.4.2): of
// the rest we know what had come. What then is undecided had not; and Linux, of
// which we have acknowledged all, begins with the next that comes.
func (c *Conn) leftOut(ack, last wire.Seq, came int) {
	switch {
	case came >= overtaken:
	case c.asked(ack):
		last = wire.MinSeq(last, c.fateSeq.Add(-1))
	case c.overtook >= overtaken:
		last = wire.MinSeq(last, c.out.base)
	default:
		return
	}
	c.missing(c.out.base, last, ack)
}

// fateWait is how long after the last message its fate is asked for: the
// acknowledgement was lost, or the message with too few behind it to show.
func (c *Conn) fateWait() time.Duration { return max(3*c.roundTrip(), minSettle) }

// expectFates is told that a message goes.
func (c *Conn) expectFates(now time.Time) {
	c.fateAt, c.fateTries, c.fateDue = now.Add(c.fateWait()), 0, false
}

// askFates has a Sync sent, which the peer answers at once, with an Ack Vector.
// The connection need not wait for more messages to know of the last.
func (c *Conn) askFates(now time.Time) {
	if c.out.messages == 0 || c.fateTries == maxFateTries {
		return
	}
	c.fateAt = now.Add(c.fateWait() << c.fateTries)
	c.fateTries++
	c.fateDue = true
	if c.stallAt.IsZero() { // else a Sync will go anyhow
		c.due.sync, c.syncAck = true, c.in.head
	}
}

// markDropped notes Drop Codes; the vector has to say first that the packets
// were received.
func (c *Conn) markDropped(ack wire.Seq, blocks []byte) {
	runs := wire.NewDropRuns(ack)
	for runs.Feed(blocks); runs.Next(); {
		r := runs.Run
		if r.Code == wire.NotDropped || r.Code == wire.DropDeliveredCorrupt {
			continue
		}
		if r.Code == wire.DropNotListening && !c.deaf {
			c.deaf = true
			c.events.push(Event{Kind: EventNotListening})
		}
		first, last, ok := c.out.clip(r.First(), r.Last)
		for s := first; ok && !last.Less(s); s = s.Add(1) {
			if e := c.out.at(s); e.bits&sentDecided == 0 {
				e.bits |= sentDropped | uint64(r.Code)<<sentCode
			}
		}
	}
}

// arrived decides packets that the peer has received.
func (c *Conn) arrived(first, last wire.Seq) {
	first, last, ok := c.out.clip(first, last)
	for s := first; ok && !last.Less(s); s = s.Add(1) {
		e := c.out.at(s)
		if e.bits&sentDecided != 0 {
			continue
		}
		e.bits |= sentDecided
		c.overtook++
		if e.bits&sentAcks != 0 {
			c.in.acknowledged(wire.Seq(e.bits & ackMask))
		}
		switch {
		case e.bits&sentMessage == 0:
		case e.bits&sentDropped != 0:
			c.lost(e, wire.DropCode(e.bits>>sentCode&7))
		default:
			c.out.messages--
			c.stats.Delivered++
			c.events.push(Event{Kind: EventDelivered, Message: e.id})
		}
	}
}

// missing decides packets that were overtaken.
func (c *Conn) missing(first, last, ack wire.Seq) {
	first, last, ok := c.out.clip(first, last)
	for s := first; ok && !last.Less(s); s = s.Add(1) {
		e := c.out.at(s)
		if s == ack || e.bits&sentDecided != 0 {
			continue
		}
		e.bits |= sentDecided
		if e.bits&sentMessage != 0 {
			c.lost(e, wire.NotDropped)
		}
	}
}

func (c *Conn) lost(e *sentPacket, code wire.DropCode) {
	c.out.messages--
	c.stats.Lost++
	c.events.push(Event{Kind: EventLost, Message: e.id, Drop: code})
}

// unconfirmed tells of a message about which nothing will be known.
func (c *Conn) unconfirmed(e *sentPacket) {
	c.stats.Unconfirmed++
	c.events.push(Event{Kind: EventUnconfirmed, Message: e.id})
}

// forgetOutstanding ends the account.
func (c *Conn) forgetOutstanding() {
	for i := range int64(c.out.n) {
		if e := c.out.at(c.out.base.Add(i)); e.bits&(sentMessage|sentDecided) == sentMessage {
			c.unconfirmed(e)
		}
	}
	c.out = outstanding{}
}
