// Package ccidtest lets the halves of a CCID talk to each other over a
// simulated network without a connection around them: packets, sequence
// numbers and Ack Vectors are real, negotiation takes no time and handshakes do
// not happen. For tests.
package ccidtest

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/sim"
	"ipfixsuite/transport/dccp/wire"
)

// Peer is one end; it implements sim.Endpoint.
type Peer struct {
	Tx ccid.Sender
	Rx ccid.Receiver

	Size    int // octets of each message
	Backlog int // messages that wait; negative: always one more

	// What happened.
	Sent, Got uint64 // messages
	Octets    uint64 // of application data that came
	Refused   uint64 // times that Tx held a message back
	Acks      uint64 // packets without data sent

	// OnData, if set, is told of each message that comes.
	OnData func(now time.Time, size int)
	// Capable sends packets that may be marked.
	Capable bool
	// NoVector leaves Ack Vectors out; CCID 3 needs none.
	NoVector bool
	// NoElapsed and Only let the peer speak a dialect: without Elapsed Time,
	// or with those options of its CCID alone for which Only holds.
	Only func(t wire.OptionType) bool

	other   *Peer
	next    wire.Seq // the next packet's number
	again   time.Time
	vec     vector
	opts    []byte
	area    []byte
	payload []byte
}

// New makes two ends of a connection that c controls in both directions.
func New(c ccid.CCID, now time.Time, mps int, rtt time.Duration) (a, b *Peer) {
	const isa, isb = wire.Seq(1<<48 - 100), wire.Seq(5000)
	a = &Peer{next: isa, Size: mps, payload: make([]byte, mps)}
	b = &Peer{next: isb, Size: mps, payload: make([]byte, mps)}
	a.other, b.other = b, a
	setup := func(first wire.Seq) ccid.Setup { return ccid.Setup{Now: now, Next: first, MPS: mps, RTT: rtt} }
	a.Tx, b.Rx = c.NewSender(setup(isa)), c.NewReceiver(setup(isa))
	b.Tx, a.Rx = c.NewSender(setup(isb)), c.NewReceiver(setup(isb))
	a.vec.low, a.vec.high = isb, isb.Add(-1)
	b.vec.low, b.vec.high = isa, isa.Add(-1)
	return a, b
}

// Receive implements sim.Endpoint.
func (p *Peer) Receive(now time.Time, in sim.Packet) {
	var q wire.Packet
	if q.Parse(in.Data) != nil {
		return
	}
	if !p.vec.add(q.Seq, in.CE) {
		return // a duplicate
	}
	r := ccid.Received{Seq: q.Seq, Type: q.Type, CCVal: q.CCVal, Size: len(q.Data), Data: q.Type.HasData(), CE: in.CE}
	a := ccid.Ack{Seq: q.Seq, Ack: q.Ack, Data: r.Data, CE: in.CE, Elapsed: -1}
	p.read(&q, &r, &a)
	p.Rx.Received(now, &r)
	p.Tx.Heard(now, &r)
	if q.Type.HasAck() {
		p.vec.acked(q.Ack)
		p.Tx.Acked(now, &a)
	}
	if r.Data {
		p.Got++
		p.Octets += uint64(len(q.Data))
		if p.OnData != nil {
			p.OnData(now, len(q.Data))
		}
	}
	p.wish()
}

// read takes the options apart.
func (p *Peer) read(q *wire.Packet, r *ccid.Received, a *ccid.Ack) {
	for o := wire.ReadOptions(q.Options); o.Next(); {
		switch t := o.Option.Type; {
		case t == wire.OptAckVector0:
			a.Vector = append(a.Vector, o.Option.Data...)
		case t == wire.OptElapsedTime:
			a.Elapsed, _ = wire.ElapsedTime(o.Option.Data)
		case t == wire.OptNDPCount:
			r.NDP, r.HasNDP = wire.NDPCount(o.Option.Data)
		case t >= 192:
			a.Options = append(a.Options, o.Option)
		}
	}
}

// wish grants at once what negotiation would bring after a round trip.
func (p *Peer) wish() {
	w := p.Tx.Wishes()
	if w.AckRatio != 0 {
		p.Tx.Feature(wire.FeatAckRatio, uint64(w.AckRatio))
		p.other.Rx.Feature(wire.FeatAckRatio, uint64(w.AckRatio))
	}
	if w.SequenceWindow != 0 {
		p.Tx.Feature(wire.FeatSequenceWindow, w.SequenceWindow)
		p.other.Rx.Feature(wire.FeatSequenceWindow, w.SequenceWindow)
	}
}

// Transmit implements sim.Endpoint.
func (p *Peer) Transmit(now time.Time, b []byte) ([]byte, bool, bool) {
	p.again = time.Time{}
	if p.Backlog != 0 {
		ok, at := p.Tx.Allowed(now, p.Size)
		if ok {
			if p.Backlog > 0 {
				p.Backlog--
			}
			p.Sent++
			return p.packet(now, b, true), p.Capable, true
		}
		p.Refused++
		p.again = at
	}
	if p.Rx.AckDue(now) {
		p.Acks++
		return p.packet(now, b, false), p.Capable, true
	}
	return b, false, false
}

func (p *Peer) packet(now time.Time, b []byte, data bool) []byte {
	q := wire.Packet{SrcPort: 1, DstPort: 2, Seq: p.next, Type: wire.Ack, CCVal: p.Tx.CCVal(now)}
	p.next = p.next.Add(1)
	p.area = p.Tx.AppendOptions(now, p.area[:0])
	ack := !data || p.Rx.AckDue(now) || p.Tx.Wishes().AckOfAcks
	if data {
		q.Type, q.Data = wire.Data, p.payload[:p.Size]
	}
	if ack {
		if data {
			q.Type = wire.DataAck
		}
		q.Ack = p.vec.high
		p.options(now)
		p.vec.sent(q.Seq)
		p.Rx.AckSent(now, q.Seq, data)
	}
	q.Options = p.area
	b, err := q.AppendBinary(b)
	if err != nil {
		panic(err)
	}
	backlog := p.Backlog
	if backlog < 0 {
		backlog = 1
	}
	p.Tx.Sent(now, ccid.Sent{Seq: q.Seq, Size: len(q.Data), Data: data, Ack: ack, Backlog: backlog})
	p.wish()
	return b
}

// options appends what goes with an acknowledgement.
func (p *Peer) options(now time.Time) {
	if !p.NoVector {
		p.area = p.vec.appendOptions(p.area)
	}
	p.opts = p.Rx.AppendOptions(now, p.opts[:0], 400)
	for o := wire.ReadOptions(p.opts); o.Next(); {
		if p.Only == nil || p.Only(o.Option.Type) {
			p.area = wire.AppendOption(p.area, o.Option.Type, o.Option.Data...)
		}
	}
}

// Advance implements sim.Endpoint.
func (p *Peer) Advance(now time.Time) {
	p.Tx.Advance(now)
	p.wish()
}

// Next implements sim.Endpoint.
func (p *Peer) Next() time.Time {
	return earliest(earliest(p.Tx.Next(), p.Rx.Next()), p.again)
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
