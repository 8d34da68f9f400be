package core

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// path is the packet size that the path carries, and the search for more by
// Syncs padded to a size: a SyncAck proves it, and no message is at risk
// (RFC 4340, Section 14.1).
type path struct {
	mtu    int // in force: octets from the DCCP header to the end of the data
	most   int // never more
	failed int // the least size that did not pass; 0: none

	size  int      // of the probe under way
	seq   wire.Seq // its number
	tries int
	due   bool
	next  time.Time // for the next probe, or when the one under way has failed

	timeouts uint64    // of the CCID when last looked at
	holes    int       // timeouts in a row
	hole     time.Time // the last of them
	through  uint64    // messages delivered by then
}

const (
	probeStep  = 8 // octets: a finer search is not worth its packets
	probeTries = 3
	probeWait  = time.Second
	probeAgain = 10 * time.Minute // routes change
	holeAgain  = time.Minute      // an outage of all sizes looks the same
	// blackHole is how many timeouts in a row, without a message delivered in
	// between, make large packets suspect.
	blackHole = 3
	minHole   = 200 * time.Millisecond // between them
)

func (p *path) start(cfg *Config) { p.mtu, p.most = cfg.MTU, cfg.MaxMTU }

// MPS is the largest message that Send takes, in octets: the packet size less
// the header of a DataAck and room for options (RFC 4340, Section 14).
func (c *Conn) MPS() int { return max(c.path.mtu-wire.DataAckHeader-optionRoom, 0) }

// MTU is the packet size in force, in octets from the DCCP header on.
func (c *Conn) MTU() int { return c.path.mtu }

// SetMTU tells the packet size of the path, in octets from the DCCP header on,
// when the carrier learns it from its interface or socket. Messages that wait and
// exceed the MPS then are dropped, and told of (EventDropped).
func (c *Conn) SetMTU(now time.Time, mtu int) {
	mtu = min(max(mtu, MinMTU), wire.MaxPacket)
	if c.ended() || mtu == c.path.mtu {
		return
	}
	c.path.most, c.path.failed = max(mtu, c.path.most), 0
	c.setMTU(now, mtu)
	c.startProbing(now)
}

// PacketTooBig is told of an ICMP message: a router could not forward our
// packet with number seq and wants at most mtu octets from the DCCP header on.
// It is believed if we have recently sent that number, so that it takes more
// than addresses and ports to shrink our packets (RFC 4340, Section 14.1,
// SHOULD), and never below MinMTU.
func (c *Conn) PacketTooBig(now time.Time, mtu int, seq wire.Seq) bool {
	low, high := c.ackWindow()
	if c.ended() || high.Less(low) || !seq.Between(low, high) || mtu < MinMTU {
		return false
	}
	if mtu >= c.path.mtu {
		// A probe's: so far it may go.
		if c.path.size > mtu {
			c.path.failed = mtu + 1
			c.path.tries = probeTries
			c.path.next = now
		}
		return c.path.size > mtu
	}
	c.path.failed = mtu + 1
	c.setMTU(now, mtu)
	c.path.size, c.path.next = 0, now.Add(probeAgain)
	return true
}

func (c *Conn) ended() bool { return c.state == StateClosed || c.state == StateTimeWait }

func (c *Conn) setMTU(now time.Time, mtu int) {
	c.path.mtu = mtu
	if c.sender != nil {
		c.sender.SetMPS(c.MPS())
	}
	c.events.push(Event{Kind: EventMPS})
	// What waits and does not fit any more is not sent: whole, the path would
	// not carry it, and a DTLS record must not exceed the packet size in force
	// (RFC 5238, Section 3.5, MUST NOT). Its fate is known at once.
	before := c.queue.n
	c.queue.dropLarger(c.MPS(), c.dropped)
	if n := before - c.queue.n; n > 0 {
		c.stats.Outgrown += uint64(n)
		c.roomMade()
		c.drained(now)
	}
}

// startProbing begins a search if there is room for one.
func (c *Conn) startProbing(now time.Time) {
	p := &c.path
	p.size, p.tries, p.next = 0, 0, time.Time{}
	if c.state == StateOpen && p.target() > 0 {
		p.next = now
	}
}

// target is the size to try next: the most, and after a failure the middle of
// what is open; 0 when the search is over.
func (p *path) target() int {
	high := p.most
	if p.failed > 0 {
		high = min(high, p.failed-1)
	}
	if high-p.mtu < probeStep {
		return 0
	}
	if p.failed == 0 {
		return high
	}
	return p.mtu + (high-p.mtu+1)/2
}

// probeTimer sends the next probe, or gives up on the one under way.
func (c *Conn) probeTimer(now time.Time) {
	p := &c.path
	if !expired(now, &p.next) || c.state != StateOpen {
		return
	}
	if p.size > 0 && p.tries >= probeTries {
		p.failed = p.size
		p.size, p.tries = 0, 0
	}
	if p.size == 0 {
		p.size = p.target()
		if p.size == 0 {
			// The search is over. What has failed is tried again later.
			if p.failed > 0 {
				p.failed = 0
				p.next = now.Add(probeAgain)
			}
			return
		}
	}
	p.due = true
}

// appendProbe sends the Sync that is padded to the size under test.
func (c *Conn) appendProbe(now time.Time, b []byte) ([]byte, Sent, bool) {
	p := &c.path
	if !p.due {
		return b, Sent{}, false
	}
	p.due = false
	p.tries++
	p.next = now.Add(max(2*c.roundTrip(), probeWait))
	q := wire.Packet{Type: wire.Sync, Ack: c.in.head, Seq: c.nextSeq()}
	p.seq = q.Seq
	opts := c.appendEcho(now, c.scratch[:0])
	q.Data = make([]byte, max(p.size-q.FixedLen()-padded(len(c.appendNDP(opts))), 0))
	c.stats.ProbesSent++
	b, s := c.emit(now, b, &q, opts, 0)
	return b, s, true
}

// probed is told of each SyncAck.
func (c *Conn) probed(now time.Time, ack wire.Seq) {
	p := &c.path
	if p.size == 0 || p.tries == 0 || ack != p.seq {
		return
	}
	if p.size > p.mtu {
		c.setMTU(now, p.size)
	}
	p.size, p.tries, p.due, p.next = 0, 0, false, now
}

// suspectHole returns to a size that every path carries when the CCID times out
// again and again: routers may drop large packets without a word.
func (c *Conn) suspectHole(now time.Time) {
	p := &c.path
	n := c.sender.Stats().Timeouts
	if n == p.timeouts {
		return
	}
	p.timeouts = n
	if c.stats.Delivered != p.through {
		p.holes, p.through = 0, c.stats.Delivered
	} else if now.Sub(p.hole) < minHole {
		return // a host that was busy, not three packets' loss
	}
	p.holes++
	p.hole = now
	if p.holes >= blackHole && p.mtu > DefaultMTU {
		p.failed = p.mtu
		c.setMTU(now, DefaultMTU)
		p.size, p.next, p.holes = 0, now.Add(holeAgain), 0
	}
}
