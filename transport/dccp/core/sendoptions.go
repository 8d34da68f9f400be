package core

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// appendCommon appends what every packet after the handshake may carry.
func (c *Conn) appendCommon(now time.Time, b []byte) []byte {
	b = c.appendAlways(now, b)
	if c.slow {
		b = wire.AppendOption(b, wire.OptSlowReceiver)
	}
	return c.sender.AppendOptions(now, b)
}

// appendAlways appends the cookies of a client that is not yet OPEN, and the
// echo of a timestamp.
func (c *Conn) appendAlways(now time.Time, b []byte) []byte {
	return c.appendEcho(now, append(b, c.cookies...))
}

// appendEcho answers the peer's latest Timestamp, once (RFC 4340, Section
// 13.3).
func (c *Conn) appendEcho(now time.Time, b []byte) []byte {
	if !c.hasEcho {
		return b
	}
	c.hasEcho = false
	return wire.AppendTimestampEcho(b, c.echo, now.Sub(c.echoAt))
}

// appendNegotiation appends Confirms, and Changes that are new or to be
// repeated.
func (c *Conn) appendNegotiation(now time.Time, b []byte, seq wire.Seq) []byte {
	b = c.feat.takeConfirms(b, c.state == StatePartOpen, c.in.head)
	if c.feat.changeDue(now) {
		b = c.feat.appendChanges(now, b, seq, c.roundTrip())
	}
	return b
}

// appendAck appends Ack Vector and Data Dropped, each of at most room octets;
// whole reports whether they cover all that the peer has to be told.
func (c *Conn) appendAck(b []byte, room int) (_ []byte, whole bool) {
	if !c.sendsVectors() {
		return c.appendDropped(b, room)
	}
	c.vector, whole = c.in.appendVector(c.vector[:0], room)
	b = wire.AppendAckVector(b, c.vector)
	if c.in.drops == 0 {
		return b, whole
	}
	b, told := c.appendDropped(b, room/2)
	return b, whole && told
}

func (c *Conn) appendDropped(b []byte, room int) (_ []byte, whole bool) {
	if c.in.drops == 0 {
		return b, true
	}
	c.vector, whole = c.in.appendDropped(c.vector[:0], room)
	return wire.AppendDataDropped(b, c.vector), whole
}

// sendsVectors: when the peer asked for it, and always with CCID 2, which
// cannot do without (RFC 4341, Section 4).
func (c *Conn) sendsVectors() bool {
	return c.feat.value(local, wire.FeatSendAckVector) == 1 || c.recvCCID == ccid.TCPLike
}

// appendNDP counts the packets without data before this one, if the peer wants
// to know (RFC 4340, Section 7.7, MUST).
func (c *Conn) appendNDP(b []byte) []byte {
	if c.ndp == 0 || c.feat.value(local, wire.FeatSendNDPCount) == 0 || len(b) > wire.MaxHeader-wire.DataAckHeader-minAckRoom {
		return b
	}
	return wire.AppendNDPCount(b, c.ndp)
}
