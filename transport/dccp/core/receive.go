package core

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// HandlePacket takes a packet that belongs to this connection by its addresses
// and ports, and whose checksum held (Steps 1 and 2 of RFC 4340, Section 8.5);
// LISTEN, Step 3, is Listener's. p and what it points to are not kept; the
// EventData that it may lead to is a view of it and has to be read before the
// next call.
func (c *Conn) HandlePacket(now time.Time, p *wire.Packet) {
	c.stats.PacketsReceived++
	c.hasData = false
	if p.Type == wire.Listen {
		c.stats.Unexpected++ // RFC 5596's is not for us: a reserved type (Section 5.1)
		return
	}
	if c.state == StateClosed || c.state == StateTimeWait {
		c.afterClose(now, p)
		return
	}
	if c.state == StateRequest && !c.enterFromRequest(now, p) {
		return
	}
	if c.step5(now, p) && c.step6(now, p) && c.step7(now, p) && c.step8(now, p) {
		c.steps9to16(now, p)
		c.drained(now)
	}
}

// afterClose is the TIMEWAIT part of Step 2: the connection is no more, and
// the peer is told so, without any state.
func (c *Conn) afterClose(now time.Time, p *wire.Packet) {
	c.stats.AfterClose++
	if c.state != StateTimeWait {
		return // whoever drives us asks a Listener from now on
	}
	if r, ok := StrayReset(p, wire.ResetNoConnection); ok && c.allowReset(now) {
		c.reset, c.isStray, c.due.reset = r, true, true
	}
}

func (c *Conn) allowReset(now time.Time) bool {
	if c.resets.allow(now) {
		return true
	}
	c.stats.ResetsLimited++
	return false
}

// enterFromRequest is Step 4: only a Response, or a Reset, to one of our
// Requests is of use; it sets the variables for the other end's numbers.
func (c *Conn) enterFromRequest(now time.Time, p *wire.Packet) bool {
	low, high := c.ackWindow()
	answer := p.Type == wire.Response || p.Type == wire.Reset
	if !answer || high.Less(low) || !p.Ack.Between(low, high) {
		c.stats.Unexpected++
		// A half-open connection at the peer is cleaned up by this (Section
		// 7.5.4); ours goes on. If the packet acknowledges what we never sent,
		// only numbers taken from it are valid there.
		if p.Type != wire.Reset && c.allowReset(now) {
			c.reset, c.isStray = wire.Packet{Type: wire.Reset, Ack: p.Seq}, false
			if p.Type.HasAck() && !p.Ack.Between(low, high) {
				c.reset, c.isStray = StrayReset(p, wire.ResetPacketError)
			}
			c.reset.Code, c.reset.ResetData = wire.ResetPacketError, [3]byte{byte(p.Type)}
			c.due.reset = true
		}
		return false
	}
	if p.Type == wire.Response && p.Service != c.ports.Service {
		// It must equal that of the Request (Section 5.3, MUST).
		c.stats.Unexpected++
		return false
	}
	c.startReceiving(p.Seq)
	return true
}

// startReceiving sets the variables of the other end's numbers, so that the
// packet with number isr is the first valid one.
func (c *Conn) startReceiving(isr wire.Seq) {
	c.isr, c.gsr = isr, isr.Add(-1)
	c.in.start(isr)
	c.feat.fgsr = isr.Add(-1)
}

// step5 prepares the numbers for a Sync: it may be far ahead.
func (c *Conn) step5(now time.Time, p *wire.Packet) bool {
	if p.Type != wire.Sync && p.Type != wire.SyncAck {
		return true
	}
	if !c.syncValid(now, p) {
		c.stats.SyncInvalid++
		return false
	}
	return true
}

// step6 checks sequence numbers; what fails elicits a Sync, at a limited rate.
func (c *Conn) step6(now time.Time, p *wire.Packet) bool {
	if p.Short {
		if c.feat.value(remote, wire.FeatShortSeqnos) == 0 {
			c.stats.ShortInvalid++
			return false
		}
		p.Seq = wire.Extend(uint32(p.Seq), c.gsr)
		p.Ack = wire.Extend(uint32(p.Ack), c.gss)
	}
	if !c.sequenceValid(p) {
		c.stats.SequenceInvalid++
		// The answer to a Reset lets an honest peer make a valid one.
		ack := p.Seq
		if p.Type == wire.Reset {
			ack = c.gsr
		}
		c.sendSync(now, ack)
		return false
	}
	// A duplicate has no further effect, and what is too old to be told from
	// one counts as lost in the network.
	switch c.in.look(p.Seq) {
	case duplicate:
		c.stats.Duplicates++
		return false
	case stale:
		c.stats.Stale++
		return false
	}
	c.advanceGSR(p.Seq)
	if p.Type.HasAck() && p.Type != wire.Sync {
		c.gar = wire.MaxSeq(c.gar, p.Ack)
		c.noteSpan(p.Ack)
	}
	return true
}

// step7 answers types that make no sense here with a Sync.
func (c *Conn) step7(now time.Time, p *wire.Packet) bool {
	open := c.state >= StateOpen
	late := open && !p.Seq.Less(c.osr)
	unexpected := false
	switch p.Type {
	case wire.CloseReq:
		unexpected = c.server
	case wire.Response:
		unexpected = c.server || late
	case wire.Request:
		unexpected = !c.server || late
	case wire.Data:
		unexpected = c.state == StateRespond
	}
	if unexpected {
		c.stats.Unexpected++
		c.sendSync(now, p.Seq)
	}
	return !unexpected
}

func (c *Conn) sendSync(now time.Time, ack wire.Seq) {
	if !c.syncs.allow(now) {
		c.stats.SyncsLimited++
		return
	}
	c.due.sync, c.syncAck = true, ack
}

// step8 processes options and marks the packet as received.
func (c *Conn) step8(now time.Time, p *wire.Packet) bool {
	c.heard, c.keepAlives = now, 0
	keep := int(min(c.feat.value(remote, wire.FeatSequenceWindow)/4, maxHistory))
	c.in.add(p.Seq, keep)
	if f := c.readOptions(now, p); f.code != 0 {
		c.fail(now, f.code, f.data)
		return false
	}
	o := &c.received
	if p.Type.HasAck() && p.Type != wire.Sync {
		c.measure(now, p)
		c.accountFor(p)
	}
	// A Request leaves us in RESPOND, without congestion control.
	if c.state == StateRespond && p.Type == wire.Request || p.Type == wire.Reset && c.sender == nil {
		return true
	}
	if !c.halves(now) {
		c.fail(now, wire.ResetOptionError, [3]byte{byte(wire.OptConfirmL), byte(wire.FeatCCID)})
		return false
	}
	c.tellHalves(now, p, o)
	return true
}

// tellHalves passes the packet on to congestion control.
func (c *Conn) tellHalves(now time.Time, p *wire.Packet, o *receivedOptions) {
	isData := p.Type == wire.Data || p.Type == wire.DataAck || p.Type == wire.Request && len(p.Data) > 0 ||
		p.Type == wire.Response && len(p.Data) > 0
	size := 0
	if isData {
		size = len(p.Data)
	}
	r := &o.received
	*r = ccid.Received{Seq: p.Seq, Type: p.Type, CCVal: p.CCVal, Size: size, Data: isData,
		NDP: o.ndp, HasNDP: o.hasNDP, Options: o.toReceiver}
	c.sender.Heard(now, r)
	// A SyncAck's number alone acknowledges no data.
	if p.Type.HasAck() && p.Type != wire.Sync && (p.Type != wire.SyncAck || o.vector != nil) {
		a := &o.ack
		*a = ccid.Ack{Seq: p.Seq, Ack: p.Ack, Data: isData, Vector: o.vector, Dropped: o.dropped,
			NDP: o.ndp, HasNDP: o.hasNDP, Elapsed: o.elapsed, RTT: o.rtt, SlowReceiver: o.slow, Options: o.toSender}
		c.sender.Acked(now, a)
		if rtt := c.sender.Stats().RTT; rtt > 0 && rtt != c.rtt.smoothed {
			c.rtt.smoothed = rtt
			c.receiver.SetRTT(rtt)
		}
		c.sendAt = time.Time{}
	}
	c.receiver.Received(now, r)
	c.ackPending = c.ackPending || isData
	c.wishes()
}

// measure takes a round trip when the packet that is timed is answered by what
// its receiver sends at once. Any other packet may bear the same number much
// later. An Ack for our Response may also be a repeated one: what takes long is
// not taken for a round trip.
func (c *Conn) measure(now time.Time, p *wire.Packet) {
	m := &c.rtt
	if !m.running || p.Ack != m.seq {
		return
	}
	d := now.Sub(m.at) - max(c.received.elapsed, 0)
	switch p.Type {
	case wire.Response, wire.SyncAck:
	case wire.Ack, wire.DataAck:
		if c.state != StateRespond || d > partOpenRetry {
			return
		}
	default:
		return
	}
	m.running = false
	m.sample(d)
	if c.receiver != nil {
		c.receiver.SetRTT(m.smoothed)
	}
}

func (c *Conn) steps9to16(now time.Time, p *wire.Packet) {
	if p.Type == wire.Reset { // Step 9
		c.resetByPeer(now, p)
		return
	}
	switch c.state {
	case StateRequest: // Step 10
		c.state = StatePartOpen
		c.due.handshake = false
		c.limitAt = now.Add(handshakeLimit)
		c.startRetry(now, partOpenRetry)
	case StateRespond: // Step 11
		if p.Type == wire.Request {
			c.preferences()
			c.due.handshake = true
		} else {
			c.open(now, p)
		}
	}
	if c.state == StatePartOpen { // Step 12
		if p.Type == wire.Response {
			c.due.ack = true
			if p.Seq == c.gsr {
				c.keepCookies()
			}
		} else if p.Type != wire.Sync {
			c.open(now, p)
		}
	}
	if p.Type == wire.CloseReq && c.state < StateCloseReq { // Step 13
		c.dropQueue()
		c.enterClosing(now)
	}
	if p.Type == wire.Close { // Step 14
		c.finish(now, wire.ResetClosed, [3]byte{}, true)
		return
	}
	if p.Type == wire.SyncAck {
		c.probed(now, p.Ack)
	}
	if p.Type == wire.Sync { // Step 15
		c.stats.SyncsReceived++
		c.due.syncAck, c.syncAckOf = true, p.Seq
	}
	c.step16(p)
}

// open completes the handshake.
func (c *Conn) open(now time.Time, p *wire.Packet) {
	c.osr = p.Seq
	c.state = StateOpen
	c.retryAt, c.limitAt = time.Time{}, time.Time{}
	c.cookies, c.feat.kept = nil, nil
	c.feat.keepCCIDs()
	c.due.ack = c.server // lets the client leave PARTOPEN when we have no data
	c.startKeepAlive(now)
	c.startProbing(now)
	c.events.push(Event{Kind: EventOpened})
}

// step16 hands the data over, or says why not.
func (c *Conn) step16(p *wire.Packet) {
	if !p.Type.HasData() {
		return
	}
	handshake := p.Type == wire.Request || p.Type == wire.Response
	if handshake && len(p.Data) == 0 {
		return // there, no data is no message
	}
	switch need := c.feat.value(local, wire.FeatMinCsCov); {
	case handshake,
		// No data before the peer has confirmed that we cannot read ECN bits
		// (Section 12.1, MUST).
		c.feat.value(local, wire.FeatECNIncapable) == 0,
		p.CsCov != 0 && (need == 0 || uint64(p.CsCov) < need):
		c.stats.DataRefused++
		c.in.drop(p.Seq, wire.DropConstraints)
	case c.received.corrupt:
		c.stats.DataCorrupt++
		c.in.drop(p.Seq, wire.DropCorrupt)
	case c.draining:
		c.stats.DataRefused++
		c.in.drop(p.Seq, wire.DropNotListening)
	default:
		c.stats.DataReceived++
		c.stats.BytesReceived += uint64(len(p.Data))
		c.data, c.hasData = Event{Kind: EventData, Data: p.Data}, true
		c.dataSeq = p.Seq
	}
}

// Refuse says that the message of the EventData just read did not reach the
// application: the peer will learn it, and why (RFC 4340, Section 11.7).
// wire.DropReceiveBuffer also slows the peer down.
func (c *Conn) Refuse(code wire.DropCode) {
	c.stats.DataOverflow++
	c.in.drop(c.dataSeq, code)
}

// SetSlow makes our acknowledgements carry Slow Receiver, or not: the peer
// should not go faster (RFC 4340, Section 11.6).
func (c *Conn) SetSlow(slow bool) { c.slow = slow }

// Event returns the next thing to know.
func (c *Conn) Event() (Event, bool) {
	if e, ok := c.events.pop(); ok {
		return e, true
	}
	if c.hasData {
		c.hasData = false
		e := c.data
		c.data.Data = nil
		return e, true
	}
	return Event{}, false
}
