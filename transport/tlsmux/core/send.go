package core

import "ipfixsuite/transport/tlsmux/wire"

// Pending tells whether Output has something to say.
func (c *Conn) Pending() bool { return len(c.control) > 0 || len(c.ready) > 0 }

// Output appends what is to be written next: all control packets, which need
// no window, then at most one packet of each channel that has data and window,
// as long as b stays within limit octets. Channels take turns.
func (c *Conn) Output(b []byte, limit int) []byte {
	b = append(b, c.control...)
	c.control = c.control[:0]
	for range len(c.ready) {
		if len(b)+wire.DataHeaderLen >= limit {
			break
		}
		ch := c.ready[0]
		copy(c.ready, c.ready[1:])
		c.ready = c.ready[:len(c.ready)-1]
		ch.queued = false
		if !ch.sends() {
			continue
		}
		b = ch.packet(b, limit)
		ch.queue()
		if ch.state == finishing && ch.begin == len(ch.out) {
			ch.Close()
		}
	}
	return b
}

// packet appends one packet of the channel.
func (ch *Channel) packet(b []byte, limit int) []byte {
	n := min(len(ch.out)-ch.begin, int(min(ch.window, ch.maxOut)), limit-len(b)-wire.DataHeaderLen, wire.MaxData)
	if n <= 0 {
		return b
	}
	b = wire.AppendDataHeader(b, ch.id, n)
	b = append(b, ch.out[ch.begin:ch.begin+n]...)
	ch.begin += n
	ch.window -= uint32(n)
	ch.sent += uint64(n)
	if ch.begin == len(ch.out) {
		ch.out, ch.begin = ch.out[:0], 0
	}
	if ch.wanted {
		ch.wanted = false
		ch.conn.events = append(ch.conn.events, Event{Kind: Room, Channel: ch})
	}
	return b
}
