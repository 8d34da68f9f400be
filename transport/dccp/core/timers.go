package core

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// NextTimer is when HandleTimer is to be called; zero: never.
func (c *Conn) NextTimer() time.Time {
	next := c.limitAt
	for _, t := range [...]time.Time{c.retryAt, c.keepAliveAt, c.stallAt, c.drainBy, c.settleBy} {
		next = sooner(next, t)
	}
	if c.state != StatePartOpen && c.state != StateOpen {
		return next
	}
	next = sooner(next, c.feat.retry)
	next = sooner(next, c.fateAt)
	if c.queue.n > 0 {
		next = sooner(next, c.sendAt)
	}
	next = sooner(next, c.sender.Next())
	next = sooner(next, c.receiver.Next())
	return sooner(next, c.path.next)
}

// sooner is the earlier of two times, where zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// due reports whether a timer has gone off, and turns it off.
func expired(now time.Time, t *time.Time) bool {
	if t.IsZero() || now.Before(*t) {
		return false
	}
	*t = time.Time{}
	return true
}

// HandleTimer does what has become due. It may be called at any time.
func (c *Conn) HandleTimer(now time.Time) {
	if expired(now, &c.limitAt) {
		c.limitReached(now)
		return
	}
	if expired(now, &c.retryAt) {
		c.retry(now)
	}
	if expired(now, &c.drainBy) {
		c.dropQueue()
		c.enterClosing(now)
	}
	if !c.settleBy.IsZero() && !now.Before(c.settleBy) {
		c.drained(now)
	}
	if c.state != StatePartOpen && c.state != StateOpen {
		return
	}
	if expired(now, &c.keepAliveAt) {
		c.keepAlive(now)
	}
	if expired(now, &c.fateAt) {
		c.askFates(now)
	}
	if c.state == StateOpen && !c.feat.retry.IsZero() && !now.Before(c.feat.retry) {
		// A Change that is repeated goes on a Sync: Linux confirms on packets
		// that it sends anyway, and a high Ack Ratio may keep it silent. It must
		// answer a Sync at once.
		c.due.sync, c.syncAck = true, c.in.head
	}
	if expired(now, &c.stallAt) {
		c.due.sync, c.syncAck = true, c.in.head
		c.stallBackoff = min(2*c.stallBackoff, maxBackoff)
		c.stallAt = now.Add(c.stallBackoff)
	}
	if c.state == StateOpen || c.state == StatePartOpen {
		if t := c.sender.Next(); !t.IsZero() && !now.Before(t) {
			c.sender.Advance(now)
			c.wishes()
			c.suspectHole(now)
		}
		c.probeTimer(now)
	}
}

// limitReached ends a state that has lasted too long.
func (c *Conn) limitReached(now time.Time) {
	if c.state == StateTimeWait {
		c.state = StateClosed
		return
	}
	c.finish(now, wire.ResetAborted, [3]byte{}, false)
}

func (c *Conn) startRetry(now time.Time, first time.Duration) {
	c.retryBackoff = first
	c.retryAt = now.Add(first)
}

// repeat backs the timer off.
func (c *Conn) repeat(now time.Time) {
	c.retryBackoff = min(2*c.retryBackoff, maxBackoff)
	c.retryAt = now.Add(c.retryBackoff)
}

// retry sends again what has not been answered.
func (c *Conn) retry(now time.Time) {
	switch c.state {
	case StateRequest:
		c.due.handshake = true // backs off when it is sent
	case StatePartOpen:
		c.due.ack = true
		if c.retryBackoff > partOpenRetry {
			// A server without data has no reason to answer an Ack. It must
			// answer a Sync.
			c.due.sync, c.syncAck = true, c.in.head
		}
		c.repeat(now)
	case StateCloseReq, StateClosing:
		c.stats.Retransmits++
		c.due.closing = true
		c.repeat(now)
	}
}

func (c *Conn) startKeepAlive(now time.Time) {
	if c.cfg.KeepAlive > 0 {
		c.keepAliveAt = now.Add(c.cfg.KeepAlive)
	}
}

// keepAlive asks a silent peer with a Sync whether it is there.
func (c *Conn) keepAlive(now time.Time) {
	if idle := now.Sub(c.heard); c.keepAlives == 0 && idle < c.cfg.KeepAlive {
		c.keepAliveAt = c.heard.Add(c.cfg.KeepAlive)
		return
	}
	if c.keepAlives >= maxKeepAlives {
		c.finish(now, wire.ResetAborted, [3]byte{}, false)
		return
	}
	c.keepAliveAt = now.Add(min(keepAliveRetry<<c.keepAlives, maxBackoff))
	c.keepAlives++
	c.due.sync, c.syncAck = true, c.in.head
}
