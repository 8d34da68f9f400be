package core

import (
	"errors"

	"ipfixsuite/transport/tlsmux/wire"
)

type state uint8

const (
	asking state = iota // our request is under way
	asked               // the peer's is not answered
	open
	finishing // we shall ask to close when all is sent
	closing   // we asked to close
	gone
)

var errState = errors.New("channel is not open")

// Channel is one channel. Its methods go with those of its Conn.
type Channel struct {
	conn  *Conn
	id    wire.ChannelID
	half  uint16 // the asker's
	state state
	// theirs: the peer opened it.
	theirs bool

	// What we may send: window octets, maxOut in a packet.
	window uint32
	maxOut uint32
	out    []byte // to be written
	begin  int    // of it in out
	queued bool   // in Conn.ready
	wanted bool   // Write found no room

	// What the peer may send: granted octets, maxIn in a packet.
	granted uint32
	maxIn   uint32

	written, sent, acknowledged uint64
}

// ID is the channel's identifier, once it is established.
func (ch *Channel) ID() wire.ChannelID { return ch.id }

// Established tells whether data can go.
func (ch *Channel) Established() bool { return ch.state == open }

// Written counts the octets taken by Write, Sent those of them that went out,
// Acknowledged those that the peer has freed again: with our collector they
// have been written by its sinks.
func (ch *Channel) Written() uint64      { return ch.written }
func (ch *Channel) Sent() uint64         { return ch.sent }         //nolint:revive // see Written
func (ch *Channel) Acknowledged() uint64 { return ch.acknowledged } //nolint:revive // see Written

// Room is how many octets Write takes now.
func (ch *Channel) Room() int {
	if ch.state != open && ch.state != asking {
		return 0
	}
	return ch.conn.cfg.SendBuffer - (len(ch.out) - ch.begin)
}

// Write queues octets and returns how many it took: all there is room for. An
// Event of Room tells when there is more. What is written before the peer has
// granted the channel waits for that.
func (ch *Channel) Write(b []byte) int {
	n := min(len(b), ch.Room())
	if n < len(b) {
		ch.wanted = true
	}
	if n <= 0 {
		return 0
	}
	if ch.begin > 0 && len(ch.out)+n > cap(ch.out) {
		ch.out = ch.out[:copy(ch.out, ch.out[ch.begin:])]
		ch.begin = 0
	}
	ch.out = append(ch.out, b[:n]...)
	ch.written += uint64(n)
	ch.queue()
	return n
}

func (ch *Channel) sends() bool { return ch.state == open || ch.state == finishing }

// Want asks for an Event of Room when something was sent.
func (ch *Channel) Want() { ch.wanted = true }

// queue gives the channel its turn if it has something to send and may.
func (ch *Channel) queue() {
	if !ch.queued && ch.sends() && ch.begin < len(ch.out) && ch.window > 0 {
		ch.queued = true
		ch.conn.ready = append(ch.conn.ready, ch)
	}
}

// Free gives back n octets of the window: they have been written, or can be
// forgotten. The peer is told in the next packets (Section 2.2).
func (ch *Channel) Free(n uint32) {
	if ch.state != open || n == 0 {
		return
	}
	ch.granted += n
	ch.conn.send(wire.Packet{Type: wire.Acknowledgment, ID: ch.id, Window: n})
}

// SetMaxPacket announces another maximum for the peer's packets: n octets, or
// what the window has room for just now if that is less (Section 2.2, MUST). It
// returns what was announced; 0: nothing, as there is no room or no channel.
func (ch *Channel) SetMaxPacket(n uint32) uint32 {
	n = min(n, wire.MaxData, ch.granted)
	if ch.state != open || n == 0 {
		return 0
	}
	ch.conn.send(wire.Packet{Type: wire.NewMaxPacket, ID: ch.id, MaxPacket: n})
	// What is under way may still be as long as the former one permits.
	ch.maxIn = max(ch.maxIn, n)
	return n
}

// Finish closes the channel once everything written has been sent. What comes
// until then is ignored.
func (ch *Channel) Finish() {
	if ch.state == open && ch.begin < len(ch.out) {
		ch.state = finishing
		return
	}
	ch.Close()
}

// Close ends the channel: what was not sent is discarded, what comes is
// ignored (Section 2.1.2). An Event tells when the peer has confirmed. A
// request that is not answered yet is closed once it is granted.
func (ch *Channel) Close() {
	switch ch.state {
	case open, finishing:
		ch.shut()
		ch.conn.send(wire.Packet{Type: wire.CloseRequest, ID: ch.id})
	case asked:
		ch.conn.Reject(ch, "closed")
	case asking:
		ch.shut()
	default:
	}
}

// shut stops both directions.
func (ch *Channel) shut() {
	if ch.state != asking {
		ch.state = closing
	} else {
		ch.wanted, ch.maxIn = false, 0 // marks it: see Conn.opened
	}
	ch.out, ch.begin = nil, 0
}

// fail ends the channel because the peer broke its rules.
func (ch *Channel) fail(why string) {
	c := ch.conn
	c.stats.Violations++
	c.tainted = true
	ch.shut()
	c.send(wire.Packet{Type: wire.CloseRequest, ID: ch.id})
	c.events = append(c.events, Event{Kind: Closed, Channel: ch, Text: []byte(why)})
}

// remove forgets a channel that both sides have closed.
func (ch *Channel) remove() {
	c := ch.conn
	ch.state = gone
	ch.out, ch.begin = nil, 0
	delete(c.channels, ch.id)
	c.late[c.lateN%remembered] = ch.id
	c.lateN++
	if ch.theirs {
		c.peers--
	}
	c.stats.Closed++
}
