package core

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// Send queues a message. It is copied; id is what Events call it by. The errors
// are ErrTooLarge, ErrQueueFull (of the policy Block) and ErrClosed; the other
// policies tell by EventDropped, if need be of this very message. A client may
// queue from the beginning: it goes as soon as the Response has come.
func (c *Conn) Send(_ time.Time, id uint64, msg []byte) error {
	switch {
	case c.draining || c.state == StateClosed || c.state > StateOpen:
		return ErrClosed
	case len(msg) > c.MPS():
		c.stats.TooLarge++
		return ErrTooLarge
	}
	for c.queue.n >= c.cfg.QueueMessages || c.queue.n > 0 && c.queue.used+len(msg) > c.cfg.QueueBytes {
		switch c.cfg.Policy {
		case DropOldest:
			c.dropped(c.queue.pop().id)
		case DropNewest:
			c.dropped(id)
			return nil
		default:
			c.full = true
			return ErrQueueFull
		}
	}
	c.queue.push(id, msg)
	return nil
}

func (c *Conn) dropped(id uint64) {
	c.stats.QueueDrops++
	c.events.push(Event{Kind: EventDropped, Message: id})
}

// dropQueue empties the queue of what will not be sent any more.
func (c *Conn) dropQueue() {
	for c.queue.n > 0 {
		c.dropped(c.queue.pop().id)
	}
}

// Sent describes a packet that AppendPacket made.
type Sent struct {
	Type wire.Type
	Seq  wire.Seq
	// Message is the id of the message it carries, if HasMessage.
	Message    uint64
	HasMessage bool
	// MayFragment: not to be sent with Don't Fragment (RFC 4340, Section
	// 14.2): handshakes and Resets.
	MayFragment bool
}

// AppendPacket appends the next packet to be sent now, its checksum zero; false
// when there is none. Call it until then after each call of another method.
func (c *Conn) AppendPacket(now time.Time, b []byte) ([]byte, Sent, bool) {
	switch d := &c.due; {
	case d.reset:
		return c.appendReset(now, b)
	case c.state == StateClosed || c.state == StateTimeWait:
		return b, Sent{}, false
	case d.handshake:
		return c.appendHandshake(now, b)
	case d.syncAck:
		d.syncAck = false
		return c.appendSync(now, b, wire.SyncAck, c.syncAckOf)
	case d.sync:
		d.sync = false
		c.stats.SyncsSent++
		return c.appendSync(now, b, wire.Sync, c.syncAck)
	case d.closing:
		d.closing = false
		return c.appendClosing(now, b)
	}
	if c.state == StatePartOpen || c.state == StateOpen {
		return c.appendData(now, b)
	}
	return b, Sent{}, false
}

// appendReset sends the last packet of a connection, or one that answers what
// does not belong to it.
func (c *Conn) appendReset(now time.Time, b []byte) ([]byte, Sent, bool) {
	c.due.reset = false
	if c.isStray { // its numbers and ports are set
		b, err := c.reset.AppendBinary(b)
		return b, Sent{Type: wire.Reset, Seq: c.reset.Seq, MayFragment: true}, err == nil
	}
	p := c.reset
	p.Seq = c.nextSeq()
	opts := c.scratch[:0]
	if c.err != nil && c.in.ring != nil {
		opts, _ = c.appendAck(opts, wire.MaxHeader/2)
	}
	b, s := c.emit(now, b, &p, opts, 0)
	if c.state == StateClosed {
		c.release()
	}
	return b, s, true
}

func (c *Conn) appendHandshake(now time.Time, b []byte) ([]byte, Sent, bool) {
	c.due.handshake = false
	p := wire.Packet{Type: wire.Request, Service: c.ports.Service, Seq: c.nextSeq()}
	opts := c.scratch[:0]
	if c.state == StateRespond {
		p.Type, p.Ack = wire.Response, c.in.head
		opts = append(opts, c.cookies...)
		opts = c.feat.takeConfirms(opts, false, p.Ack)
		if c.in.drops > 0 {
			opts, _ = c.appendDropped(opts, wire.MaxHeader/2)
		}
	}
	opts = c.feat.appendChanges(now, opts, p.Seq, c.roundTrip())
	opts = wire.AppendTimestamp(opts, c.stamp(now))
	opts = c.appendEcho(now, opts)
	c.time(now, p.Seq)
	if c.state == StateRequest {
		if c.retryBackoff == 0 {
			c.startRetry(now, requestRetry)
		} else {
			c.stats.Retransmits++
			c.repeat(now)
		}
	}
	b, s := c.emit(now, b, &p, opts, 0)
	return b, s, true
}

// time starts measuring a round trip with the packet seq, which is answered at
// once.
func (c *Conn) time(now time.Time, seq wire.Seq) {
	c.rtt.seq, c.rtt.at, c.rtt.running = seq, now, true
}

func (c *Conn) appendSync(now time.Time, b []byte, t wire.Type, ack wire.Seq) ([]byte, Sent, bool) {
	p := wire.Packet{Type: t, Ack: ack, Seq: c.nextSeq()}
	opts := c.appendAlways(now, c.scratch[:0])
	opts = c.appendNegotiation(now, opts, p.Seq)
	flags := uint64(0)
	switch {
	case t == wire.Sync:
		c.time(now, p.Seq)
		if c.fateDue {
			c.fateDue, c.fateAsked, c.fateSeq = false, true, p.Seq
		}
	case ack == c.in.head && c.receiver != nil:
		// The number that a vector starts from.
		var whole bool
		if opts, whole = c.appendAck(opts, wire.MaxOptionData); whole {
			flags = sentAcks | uint64(ack)
		}
	}
	b, s := c.emit(now, b, &p, opts, flags)
	return b, s, true
}

func (c *Conn) appendClosing(now time.Time, b []byte) ([]byte, Sent, bool) {
	p := wire.Packet{Type: wire.Close, Ack: c.in.head, Seq: c.nextSeq()}
	if c.state == StateCloseReq {
		p.Type = wire.CloseReq
	}
	opts := c.appendAlways(now, c.scratch[:0])
	// Linux negotiates to the last: its CloseReq may hold Changes.
	opts = c.feat.takeConfirms(opts, false, p.Ack)
	opts, _ = c.appendAck(opts, wire.MaxHeader/3)
	b, s := c.emit(now, b, &p, opts, 0)
	return b, s, true
}

// appendData sends a message, an acknowledgement, or both in one.
func (c *Conn) appendData(now time.Time, b []byte) ([]byte, Sent, bool) {
	ready := c.mayData(now)
	must := c.due.ack || c.receiver.AckDue(now) || c.feat.pending(now)
	// With a message to carry it, an acknowledgement costs little; and in
	// PARTOPEN the server must see one (RFC 4340, Section 8.1.5, MUST).
	piggyback := ready && !c.unfit && (c.state == StatePartOpen || c.ackPending || c.wishes().AckOfAcks)
	if c.unfit && c.state == StatePartOpen {
		ready = false // not as Data; it fits when fewer options are due
	}
	c.unfit = false
	switch {
	case must || piggyback:
		return c.appendAckOrBoth(now, b, ready)
	case ready:
		return c.appendMessage(now, b, wire.Data, c.appendCommon(now, c.scratch[:0]), false)
	}
	return c.appendProbe(now, b)
}

// appendAckOrBoth makes a DataAck if message and options fit one packet,
// else the Ack, after which the message goes alone (Section 11.2, SHOULD).
func (c *Conn) appendAckOrBoth(now time.Time, b []byte, ready bool) ([]byte, Sent, bool) {
	seq := c.gss.Add(1)
	opts := c.appendCommon(now, c.scratch[:0])
	opts = c.appendNegotiation(now, opts, seq)
	room := min(wire.MaxHeader, c.path.mtu) - wire.DataAckHeader - len(opts) - minAckRoom
	opts, whole := c.appendAck(opts, max(room, 0)/2)
	opts = c.receiver.AppendOptions(now, opts, max(room, 0)/2)
	t := wire.Ack
	if ready {
		_, msg := c.queue.front()
		if wire.DataAckHeader+padded(len(opts)+c.laterRoom())+len(msg) <= c.path.mtu {
			t = wire.DataAck
		} else {
			c.unfit = true
		}
	}
	c.due.ack, c.ackPending = false, false
	if t == wire.DataAck {
		return c.appendMessage(now, b, t, opts, whole)
	}
	p := wire.Packet{Type: wire.Ack, Ack: c.in.head, Seq: c.nextSeq()}
	flags := uint64(0)
	if whole {
		flags = sentAcks | uint64(c.in.head)
	}
	c.stats.AcksSent++
	b, s := c.emit(now, b, &p, opts, flags)
	c.receiver.AckSent(now, p.Seq, false)
	return b, s, true
}

// minAckRoom is left for what comes after the acknowledgement's options: NDP
// Count and padding.
const minAckRoom = 16

func padded(n int) int { return (n + 3) &^ 3 }

// laterRoom is what appendMessage and emit add to a message's options.
func (c *Conn) laterRoom() int {
	n := 0
	if c.cfg.DataChecksum {
		n += 6
	}
	if c.feat.value(local, wire.FeatSendNDPCount) == 1 {
		n += 8
	}
	return n
}

// appendMessage sends the first message of the queue.
func (c *Conn) appendMessage(now time.Time, b []byte, t wire.Type, opts []byte, whole bool) ([]byte, Sent, bool) {
	id, msg := c.queue.front()
	if c.cfg.DataChecksum {
		opts = wire.AppendDataChecksum(opts, msg)
	}
	p := wire.Packet{Type: t, Seq: c.nextSeq(), Data: msg, CsCov: c.coverage(len(msg))}
	flags := sentMessage
	if t == wire.DataAck {
		p.Ack = c.in.head
		if whole {
			flags |= sentAcks | uint64(c.in.head)
		}
	}
	b, s := c.emit(now, b, &p, opts, flags)
	c.queue.pop()
	s.Message, s.HasMessage = id, true
	c.stats.DataSent++
	c.stats.BytesSent += uint64(len(msg))
	c.events.push(Event{Kind: EventTransmitted, Message: id})
	if t == wire.DataAck {
		c.receiver.AckSent(now, p.Seq, true)
	}
	c.roomMade()
	c.drained(now)
	return b, s, true
}

// roomMade tells whoever found the queue full when it is half empty.
func (c *Conn) roomMade() {
	if c.full && c.queue.n <= c.cfg.QueueMessages/2 && c.queue.used <= c.cfg.QueueBytes/2 {
		c.full = false
		c.events.push(Event{Kind: EventWritable})
	}
}

// Oldest is the id of the message that has waited longest; false: none waits.
func (c *Conn) Oldest() (id uint64, ok bool) {
	if c.queue.n == 0 {
		return 0, false
	}
	return c.queue.mark(0).id, true
}

// coverage is the checksum coverage of a packet with so much data: what was
// configured, if the peer takes it (RFC 4340, Section 9.2.1).
func (c *Conn) coverage(size int) uint8 {
	least := c.feat.value(remote, wire.FeatMinCsCov)
	if v := c.cfg.Coverage; v > 0 && least > 0 && uint64(v) >= least && int(v-1)*4 <= size {
		return v
	}
	return 0
}

// mayData reports whether a message waits and may go now.
func (c *Conn) mayData(now time.Time) bool {
	c.sendAt = time.Time{}
	if c.queue.n == 0 || c.windowFull(now) {
		return false
	}
	_, msg := c.queue.front()
	if c.state == StatePartOpen && wire.DataAckHeader+len(c.cookies)+len(c.feat.kept)+optionRoom+len(msg) > c.path.mtu {
		return false // the cookies leave no room: soon we are OPEN
	}
	ok, at := c.sender.Allowed(now, len(msg))
	c.sendAt = at
	return ok
}

// windowFull reports whether so much is unacknowledged that more might fall
// out of the peer's window; a Sync then asks where it stands. An endpoint must
// not keep sending more than its Sequence Window in a round trip (RFC 4340,
// Section 7.5.2, MUST); nor, if the peer sends Ack Vectors, so much since the
// latest that it would have forgotten what to tell of it.
func (c *Conn) windowFull(now time.Time) bool {
	w := c.feat.value(local, wire.FeatSequenceWindow)
	if c.gss.Sub(c.gar) < int64(w-w/4) && (!c.vectors || c.gss.Sub(c.vectored) < maxUntold) {
		c.stallAt, c.stallBackoff = time.Time{}, 0
		return false
	}
	if c.stallAt.IsZero() {
		// At once: it may be that we have only sent acknowledgements, which
		// the peer had no reason to acknowledge.
		c.due.sync, c.syncAck = true, c.in.head
		c.stallBackoff = max(2*c.roundTrip(), minWindowStall)
		c.stallAt = now.Add(c.stallBackoff)
	}
	return true
}

// emit makes the packet, and everybody hears of it.
func (c *Conn) emit(now time.Time, b []byte, p *wire.Packet, opts []byte, flags uint64) ([]byte, Sent) {
	isData := p.Type.HasData()
	opts = c.appendNDP(opts)
	p.SrcPort, p.DstPort, p.Options = c.ports.Local, c.ports.Remote, opts
	if c.sender != nil {
		p.CCVal = c.sender.CCVal(now)
	}
	out, err := p.AppendBinary(b)
	if err != nil {
		// Only options can be too many, and only on a packet of ours without
		// data: it goes without.
		p.Options = nil
		out, _ = p.AppendBinary(b)
	}
	c.scratch = opts[:0]
	c.ndp++
	if isData {
		c.ndp = 0
	}
	id := uint64(0)
	message := flags&sentMessage != 0
	if message {
		id, _ = c.queue.front()
	}
	if c.state != StateClosed {
		c.out.push(sentPacket{id, flags}, c)
	}
	if message {
		c.expectFates(now)
	}
	c.stats.PacketsSent++
	if c.sender != nil {
		backlog := c.queue.n
		if message {
			backlog--
		}
		c.sender.Sent(now, ccid.Sent{Seq: p.Seq, Size: len(p.Data), Data: message, Backlog: backlog,
			Ack: p.Type.HasAck() && p.Type != wire.Sync})
	}
	switch p.Type {
	case wire.Request, wire.Response, wire.Reset:
		return out, Sent{Type: p.Type, Seq: p.Seq, MayFragment: true}
	}
	return out, Sent{Type: p.Type, Seq: p.Seq}
}
