package dccp

import (
	"errors"
	"net"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/wire"
)

// An outbox gathers packets for one system call.
type outbox struct {
	batch []transport.Datagram
	arena []byte
}

// outboxSize bounds a batch.
const outboxSize = 64

// outboxes are spare ones: few are in use at once.
var outboxes = make(chan *outbox, 32)

func takeOutbox() *outbox {
	select {
	case o := <-outboxes:
		return o
	default:
		return new(outbox)
	}
}

func (o *outbox) giveBack() {
	o.reset()
	select {
	case outboxes <- o:
	default:
	}
}

func (o *outbox) reset() {
	clear(o.batch)
	o.batch, o.arena = o.batch[:0], o.arena[:0]
}

// collect takes what the machine has to send, as far as o holds it; c.mu is
// held.
func (c *Conn) collect(now time.Time, o *outbox) (more bool) {
	for len(o.batch) < outboxSize {
		from := len(o.arena)
		var ok bool
		if o.arena, _, ok = c.m.AppendPacket(now, o.arena); !ok {
			return false
		}
		o.batch = append(o.batch, transport.Datagram{
			Peer: c.peer, Local: c.from, Data: o.arena[from:len(o.arena):len(o.arena)],
		})
	}
	return true
}

// flush sends everything that may go now, takes up what the machine tells and
// sets the timer; c.mu is held.
func (c *Conn) flush(now time.Time, o *outbox) {
	if now.After(c.mtuAt) {
		c.askMTU(now)
	}
	for more := true; more; {
		more = c.collect(now, o)
		c.transmit(now, o)
		c.events()
	}
	c.arm()
	switch s := c.m.State(); {
	case s == core.StateClosed:
		c.retire()
	case s == core.StateTimeWait && c.e.leaving():
		// Nobody but this connection needs the socket any more: TIMEWAIT is
		// held without it.
		c.retire()
	case c.over:
		if s == core.StateTimeWait {
			c.e.rest(c)
		}
		c.end(c.reason())
	}
}

// drive is flush with an outbox of its own, or with that of the reader, in
// which packets wait that must go first.
func (c *Conn) drive(now time.Time) {
	if c.held != nil {
		c.flush(now, c.held)
		return
	}
	o := takeOutbox()
	c.flush(now, o)
	o.giveBack()
}

// transmit hands packets to the carrier. What it refuses is lost, as it might
// be on the network.
func (c *Conn) transmit(now time.Time, o *outbox) {
	for batch := o.batch; len(batch) > 0; {
		n, err := c.e.io.WriteBatch(batch)
		batch = batch[n:]
		switch {
		case err == nil:
		case errors.Is(err, transport.ErrTooLarge):
			if !isSync(batch[0].Data) { // to a padded one this is an answer
				c.e.refused.Add(1)
			}
			c.askMTU(now)
			batch = batch[1:]
		case errors.Is(err, net.ErrClosed):
			batch = nil
		default:
			c.e.refused.Add(1)
			batch = batch[1:]
		}
	}
	o.reset()
	c.tell()
}

func isSync(packet []byte) bool { return wire.Type(packet[8]>>1&0xf) == wire.Sync }

// tell tells those who wait for a message to go; all packets made so far have
// gone to the carrier.
func (c *Conn) tell() {
	gone := c.next
	if oldest, waits := c.m.Oldest(); waits {
		gone = oldest - 1
	}
	if c.told != gone {
		c.told = gone
		if c.moved != nil {
			close(c.moved)
			c.moved = nil
		}
	}
}
