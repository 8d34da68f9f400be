package core

import "ipfixsuite/transport/dccp/wire"

// outstanding remembers each packet sent until the peer has said what became
// of it: which message it carried, and which acknowledgement.
type outstanding struct {
	ring []sentPacket
	base wire.Seq // the oldest remembered
	n    int
	// messages is how many carry one and are undecided.
	messages int
}

// sentPacket packs what is known of a packet. bits: state and flags in the top
// 16, below the number up to which its Ack Vector acknowledged everything.
type sentPacket struct {
	id   uint64
	bits uint64
}

const (
	minOutstanding = 16
	// maxOutstanding bounds a connection's memory: 256 KiB.
	maxOutstanding = 1 << 14
	// maxUnread bounds it for packets without messages, whose fate is of little
	// interest: a receiver's acknowledgements are seldom acknowledged.
	maxUnread = 256

	sentMessage uint64 = 1 << 48 // carries message id
	sentAcks    uint64 = 1 << 49 // carries a whole Ack Vector
	sentDecided uint64 = 1 << 50 // delivered or lost, and told
	sentDropped uint64 = 1 << 51 // the peer dropped its data
	sentCode           = 52      // drop code, 3 bits
	ackMask            = 1<<48 - 1
)

func (o *outstanding) start(seq wire.Seq) { o.base, o.n = seq, 0 }

func (o *outstanding) at(seq wire.Seq) *sentPacket { return &o.ring[int(seq)&(len(o.ring)-1)] }

// next is the number after the last remembered.
func (o *outstanding) next() wire.Seq { return o.base.Add(int64(o.n)) }

// push remembers the packet sent with number next(). What has to be forgotten
// for it is told to c.
func (o *outstanding) push(p sentPacket, c *Conn) {
	if o.n == len(o.ring) {
		full := o.n >= maxOutstanding || o.n >= maxUnread && o.at(o.base).bits&sentMessage == 0
		if full {
			if e := o.at(o.base); e.bits&(sentMessage|sentDecided) == sentMessage {
				o.messages--
				c.unconfirmed(e)
			}
			o.base = o.base.Add(1)
			o.n--
		} else {
			o.grow()
		}
	}
	*o.at(o.next()) = p
	o.n++
	if p.bits&sentMessage != 0 {
		o.messages++
	}
}

func (o *outstanding) grow() {
	old := *o
	o.ring = make([]sentPacket, max(minOutstanding, 2*len(o.ring)))
	for i := range int64(o.n) {
		seq := o.base.Add(i)
		*o.at(seq) = *old.at(seq)
	}
}

// clip narrows [first, last] to what is remembered; ok is false if nothing is.
func (o *outstanding) clip(first, last wire.Seq) (wire.Seq, wire.Seq, bool) {
	if o.n == 0 {
		return 0, 0, false
	}
	if first.Less(o.base) {
		first = o.base
	}
	if end := o.next().Add(-1); end.Less(last) {
		last = end
	}
	return first, last, !last.Less(first)
}

// settle lets go of decided packets at the old end, if there are any.
func (o *outstanding) settle() (any bool) {
	for o.n > 0 && o.at(o.base).bits&sentDecided != 0 {
		o.base = o.base.Add(1)
		o.n--
		any = true
	}
	return any
}
