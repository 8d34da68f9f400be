package core

import (
	"errors"
	"fmt"
	"math"

	"ipfixsuite/transport/tlsmux/wire"
)

// ErrStray ends a session whose peer sends for channels that never were.
var ErrStray = errors.New("too many packets for channels that do not exist")

// Blocked tells that the peer does not read our answers: nothing more is to be
// received until Output has written some.
func (c *Conn) Blocked() bool { return len(c.control) > maxControl }

// Receive takes what the session brought, and returns how many octets it used;
// the rest is the beginning of a packet, to be given again with what follows.
// A buffer of wire.DataHeaderLen + wire.MaxData octets is always enough to go
// on. It stops after a packet that makes an Event, which must be fetched
// before the next call. An error is the end of the session.
func (c *Conn) Receive(b []byte) (n int, err error) {
	if c.fatal != nil {
		return 0, c.fatal
	}
	for len(b) > n && c.head == len(c.events) && !c.Blocked() {
		if c.skip > 0 {
			k := min(len(b)-n, int(c.skip))
			c.skip -= uint32(k)
			n += k
			continue
		}
		k, err := wire.Next(b[n:], &c.packet)
		if errors.Is(err, wire.ErrShort) {
			break
		}
		if long, ok := errors.AsType[*wire.TooLongError](err); ok {
			// No maximum of ours is so large.
			c.skip = long.Length
			n += wire.DataHeaderLen
			if ch := c.find(long.ID); ch != nil && ch.sends() {
				ch.fail(long.Error())
			}
			continue
		}
		if err != nil {
			c.fatal, c.tainted = err, true
			return n, err
		}
		n += k
		c.take(&c.packet)
		if c.fatal != nil {
			return n, c.fatal
		}
	}
	return n, nil
}

func (c *Conn) take(p *wire.Packet) {
	switch p.Type {
	case wire.OpenRequest:
		c.request(p)
	case wire.OpenSuccess:
		c.opened(p)
	case wire.OpenFailure:
		ch := c.asking[p.Sender]
		if ch == nil {
			c.stray()
			return
		}
		delete(c.asking, p.Sender)
		ch.state = gone
		ch.out, ch.begin = nil, 0
		c.events = append(c.events, Event{Kind: Refused, Channel: ch, Text: p.Text})
	case wire.Data:
		if ch := c.find(p.ID); ch != nil {
			ch.data(p.Data)
		}
	case wire.Acknowledgment:
		if ch := c.find(p.ID); ch != nil {
			ch.grow(p.Window)
		}
	case wire.NewMaxPacket:
		if ch := c.find(p.ID); ch != nil && ch.sends() {
			if ch.maxOut = p.MaxPacket; p.MaxPacket == 0 {
				ch.fail("a maximum of 0 octets")
			}
		}
	case wire.CloseRequest:
		if ch := c.find(p.ID); ch != nil {
			// The confirmation goes at once, pending writes are discarded
			// (Section 2.1.2, MUST).
			c.send(wire.Packet{Type: wire.CloseConfirmation, ID: p.ID})
			if ch.sends() {
				ch.remove()
				c.events = append(c.events, Event{Kind: Closed, Channel: ch})
			}
			// Else both asked: ours is yet to be confirmed.
		}
	case wire.CloseConfirmation:
		ch := c.channels[p.ID]
		if ch == nil || ch.state != closing {
			c.stray()
			return
		}
		ch.remove()
		c.events = append(c.events, Event{Kind: Closed, Channel: ch})
	default:
		c.stats.Unknown++
		c.bound(c.stats.Unknown)
	}
}

// find returns the channel of a packet; nil: it is counted.
func (c *Conn) find(id wire.ChannelID) *Channel {
	ch := c.channels[id]
	if ch != nil {
		return ch
	}
	for i := range min(c.lateN, remembered) {
		if c.late[i] == id {
			c.stats.Late++
			return nil
		}
	}
	c.stray()
	return nil
}

func (c *Conn) stray() {
	c.stats.Stray++
	c.bound(c.stats.Stray)
}

func (c *Conn) bound(n uint64) {
	if n > maxStray {
		c.fatal, c.tainted = ErrStray, true
	}
}

// request is the peer's wish for a channel.
func (c *Conn) request(p *wire.Packet) {
	c.stats.Asked++
	switch {
	case c.pending[p.Sender] != nil:
		c.refuse(p.Sender, "a request with this identifier is under way")
	case p.Window == 0 || p.MaxPacket == 0:
		c.refuse(p.Sender, "no window")
	case p.MaxPacket > p.Window:
		c.refuse(p.Sender, "packets larger than the window")
	case !addressable(p.Source.Host) || !addressable(p.Destination.Host):
		c.refuse(p.Sender, "an address that is none")
	case c.peers >= c.cfg.MaxChannels || c.asked >= c.cfg.MaxAsked:
		c.refuse(p.Sender, ErrFull.Error())
	default:
		ch := &Channel{
			conn: c, state: asked, half: p.Sender, theirs: true,
			window: p.Window, maxOut: p.MaxPacket, granted: c.cfg.Window, maxIn: c.cfg.MaxPacket,
		}
		c.pending[p.Sender] = ch
		c.asked++
		c.peers++
		c.events = append(c.events, Event{Kind: Asked, Channel: ch, Source: p.Source, Destination: p.Destination})
	}
}

// addressable tells whether a host can be a name or a numeric address: graphic
// ASCII, no longer than we send (spec.md, D4).
func addressable(host []byte) bool {
	if len(host) == 0 || len(host) > wire.MaxAddress {
		return false
	}
	for _, b := range host {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return true
}

// opened is the peer's consent.
func (c *Conn) opened(p *wire.Packet) {
	ch := c.asking[p.Sender]
	id := wire.MakeID(p.Sender, p.Receiver)
	if ch == nil {
		c.stray()
		return
	}
	delete(c.asking, p.Sender)
	ch.id = id
	switch {
	case c.channels[id] != nil:
		// The identifier is another channel's: the answerer had to choose one
		// that is free. This one cannot be named, and so not even be closed.
		c.stats.Violations++
		c.tainted = true
		ch.state = gone
		c.events = append(c.events, Event{Kind: Refused, Channel: ch, Text: fmt.Appendf(nil, "identifier %v is another channel's", id)})
		return
	case ch.maxIn == 0: // we closed it meanwhile
		ch.state = closing
		c.channels[id] = ch
		c.send(wire.Packet{Type: wire.CloseRequest, ID: id})
		return
	}
	c.channels[id] = ch
	ch.state = open
	ch.window, ch.maxOut = p.Window, p.MaxPacket
	c.stats.Opened++
	if p.MaxPacket == 0 || p.MaxPacket > p.Window {
		ch.fail(fmt.Sprintf("window %d, packets of %d octets", p.Window, p.MaxPacket))
		return
	}
	c.events = append(c.events, Event{Kind: Opened, Channel: ch})
	ch.queue()
}

// data takes what the peer sent, within what it was granted.
func (ch *Channel) data(b []byte) {
	if ch.state != open {
		return // we closed it: it is ignored (Section 2.1.2)
	}
	n := uint32(len(b))
	switch {
	case n > ch.maxIn:
		ch.fail(fmt.Sprintf("packet of %d octets, more than %d", n, ch.maxIn))
	case n > ch.granted:
		ch.fail(fmt.Sprintf("packet of %d octets into a window of %d", n, ch.granted))
	case n > 0:
		ch.granted -= n
		ch.conn.events = append(ch.conn.events, Event{Kind: Arrived, Channel: ch, Data: b})
	}
}

// grow takes an Acknowledgment.
func (ch *Channel) grow(n uint32) {
	if !ch.sends() {
		return
	}
	if n > math.MaxUint32-ch.window {
		ch.fail("window beyond 2^32-1")
		return
	}
	ch.window += n
	// What was granted beyond what we sent is no acknowledgment.
	ch.acknowledged = min(ch.acknowledged+uint64(n), ch.sent)
	ch.queue()
	ch.conn.events = append(ch.conn.events, Event{Kind: Room, Channel: ch})
}
