package core

import (
	"strings"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// Close ends the connection in order: the queue is sent and the fate of its
// messages asked for, for Config.Linger at most, then Close, or a server's
// CloseReq, goes until the peer answers. No more messages are taken; those that
// still come are refused (Drop Code 1).
func (c *Conn) Close(now time.Time) {
	switch {
	case c.draining || c.state == StateClosed || c.state > StateOpen:
		c.draining = true
	case c.state < StatePartOpen:
		// The peer does not know our numbers, or has no use for them.
		c.finish(now, wire.ResetAborted, [3]byte{}, false)
	case c.cfg.Linger < 0:
		c.draining = true
		c.dropQueue()
		c.enterClosing(now)
	default:
		c.draining = true
		c.drainBy = now.Add(c.cfg.Linger)
		c.drained(now)
	}
}

// drained closes when the queue is empty and the fate of each message known: a
// Sync asks for the last ones, as its answer can bring an Ack Vector.
func (c *Conn) drained(now time.Time) {
	switch {
	case !c.draining || c.queue.n > 0 || c.state != StatePartOpen && c.state != StateOpen:
	case c.out.messages == 0 || expired(now, &c.settleBy):
		c.enterClosing(now)
	case c.settleBy.IsZero():
		c.settleBy = now.Add(max(3*c.roundTrip(), minSettle))
		c.due.sync, c.syncAck = true, c.in.head
	}
}

// Abort ends the connection at once with a Reset.
func (c *Conn) Abort(now time.Time, code wire.ResetCode) {
	if c.state != StateClosed && c.state != StateTimeWait {
		c.finish(now, code, [3]byte{}, false)
	}
}

// enterClosing sends Close, or CloseReq if we are a server that does not want
// to hold TIMEWAIT (RFC 4340, Section 8.3).
func (c *Conn) enterClosing(now time.Time) {
	ask := c.server && !c.cfg.HoldTimeWait
	c.state = StateClosing
	if ask {
		c.state = StateCloseReq
	}
	c.due.closing, c.due.ack = true, false
	c.drainBy, c.settleBy, c.keepAliveAt, c.stallAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	c.limitAt = now.Add(closeLimit)
	c.startRetry(now, max(2*c.roundTrip(), minCloseRetry))
}

// fail resets the connection over what the peer sent.
func (c *Conn) fail(now time.Time, code wire.ResetCode, data [3]byte) {
	c.finish(now, code, data, false)
}

// finish sends a Reset; the connection is CLOSED.
func (c *Conn) finish(_ time.Time, code wire.ResetCode, data [3]byte, byPeer bool) {
	ack := c.in.head
	if c.in.ring == nil {
		ack = 0 // nothing was ever received (RFC 4340, Section 8.1.1, MUST)
	}
	never := c.state == StateRequest && c.gss.Less(c.iss)
	c.reset, c.isStray = wire.Packet{Type: wire.Reset, Ack: ack, Code: code, ResetData: data}, false
	c.end(StateClosed, &ResetError{Code: code, Data: data, Remote: byPeer})
	c.due.reset = !never
	if never {
		c.release()
	}
}

// resetByPeer is Step 9: the receiver of a Reset holds TIMEWAIT.
func (c *Conn) resetByPeer(now time.Time, p *wire.Packet) {
	text := strings.ToValidUTF8(string(p.Data[:min(len(p.Data), maxErrorText)]), "")
	c.end(StateTimeWait, &ResetError{Code: p.Code, Data: p.ResetData, Remote: true, Text: text})
	c.limitAt = now.Add(timeWait)
	c.release()
}

// end settles what is open, and says so.
func (c *Conn) end(s State, err *ResetError) {
	c.state, c.err = s, err
	c.due = due{}
	c.retryAt, c.limitAt, c.keepAliveAt, c.stallAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	c.drainBy, c.settleBy, c.sendAt, c.fateAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	c.dropQueue()
	c.forgetOutstanding()
	c.events.push(Event{Kind: EventClosed})
}

// release gives memory back: TIMEWAIT is long.
func (c *Conn) release() {
	s := c.Stats()
	c.stats.Sender, c.stats.Receiver = s.Sender, s.Receiver
	c.sender, c.receiver = nil, nil
	c.queue, c.in, c.out = queue{}, history{}, outstanding{}
	c.feat.confirms, c.feat.kept, c.cookies = nil, nil, nil
	c.received = receivedOptions{}
	c.scratch, c.vector = nil, nil
	c.path = path{}
}
