package core

import (
	"encoding/binary"
	"fmt"
	"time"

	"ipfixsuite/transport/dccp/sim"
	"ipfixsuite/transport/dccp/wire"
)

// simEnd is one end of a simulated connection, its application and its judge:
// each packet that it sends is held against what it can know.
type simEnd struct {
	seed     uint64
	name     string
	cfg      Config
	c        *Conn
	listener *Listener // for what has no connection
	tuple    Tuple
	peer     *simEnd
	node     *sim.Node
	replies  [][]byte

	toSend, sent int // messages of the application
	size         func() int
	closes       bool // this end ends the connection
	aborts       bool
	opened       bool
	closed       bool
	refuse       func() bool
	crowded      func() bool // tells whether there are half-open connections enough; nil: as configured

	fates   []EventKind // by message id
	arrived map[uint64]bool
	wired   map[uint64]bool   // transmitted
	came    map[wire.Seq]bool // packets that the network brought
	next    wire.Seq          // number of the next packet it sends
	began   bool
	faults  []string
}

func (e *simEnd) fault(format string, args ...any) {
	if len(e.faults) < 10 {
		e.faults = append(e.faults, e.name+": "+fmt.Sprintf(format, args...))
	}
}

func (e *simEnd) Receive(now time.Time, p sim.Packet) {
	var q wire.Packet
	if err := q.Parse(p.Data); err != nil {
		e.fault("unreadable packet: %v", err)
		return
	}
	e.came[q.Seq] = true
	if e.c == nil && e.crowded != nil {
		e.listener.cfg.MaxHalfOpen = 256
		if e.crowded() {
			e.listener.cfg.MaxHalfOpen = -1
		}
	}
	if e.c == nil || e.c.State() == StateClosed {
		reply, c := e.listener.HandlePacket(now, e.tuple, &q, nil)
		if len(reply) > 0 {
			e.replies = append(e.replies, reply)
		}
		if c == nil {
			return
		}
		if e.c != nil {
			// An old Request that was on its way for long: not this test's.
			e.listener.Settled(e.tuple)
			return
		}
		e.c = c
	} else {
		e.c.HandlePacket(now, &q)
	}
	e.events(now)
	e.application(now)
}

func (e *simEnd) Transmit(now time.Time, b []byte) ([]byte, bool, bool) {
	if n := len(e.replies); n > 0 {
		b = append(b, e.replies[n-1]...)
		e.replies = e.replies[:n-1]
		return b, false, true
	}
	if e.c == nil {
		return b, false, false
	}
	e.application(now)
	out, s, ok := e.c.AppendPacket(now, b)
	e.events(now)
	if ok {
		e.judge(out[len(b):], s)
	}
	return out, false, ok
}

func (e *simEnd) Advance(now time.Time) {
	if e.c != nil {
		e.c.HandleTimer(now)
		e.events(now)
		e.application(now)
	}
}

func (e *simEnd) Next() time.Time {
	if e.c == nil {
		return time.Time{}
	}
	return e.c.NextTimer()
}

// application queues its messages, and closes when they are gone.
func (e *simEnd) application(now time.Time) {
	for e.sent < e.toSend && !e.closed && e.c.State() <= StateOpen {
		n := max(9, min(e.size(), e.c.MPS()))
		msg := make([]byte, n)
		binary.BigEndian.PutUint64(msg, uint64(e.sent))
		msg[8] = byte(e.sent)
		err := e.c.Send(now, uint64(e.sent), msg)
		if err != nil {
			return
		}
		e.sent++
	}
	if e.opened && !e.closed && e.sent == e.toSend && e.peer.sent == e.peer.toSend &&
		e.c.queue.n == 0 && e.peer.c.queue.n == 0 {
		if e.aborts {
			e.c.Abort(now, wire.ResetAborted)
		} else if e.closes {
			e.c.Close(now)
		}
		e.events(now)
	}
}

func (e *simEnd) events(now time.Time) {
	for {
		ev, ok := e.c.Event()
		if !ok {
			return
		}
		switch ev.Kind {
		case EventOpened:
			e.opened = true
		case EventClosed:
			e.closed = true
		case EventData:
			if e.refuse() {
				e.c.Refuse(wire.DropReceiveBuffer)
				continue
			}
			id := binary.BigEndian.Uint64(ev.Data)
			if ev.Data[8] != byte(id) {
				e.fault("message %d is not what was sent", id)
			}
			if e.arrived[id] {
				e.fault("message %d came twice", id)
			}
			e.arrived[id] = true
		case EventTransmitted:
			if e.wired[ev.Message] {
				e.fault("message %d transmitted twice", ev.Message)
			}
			e.wired[ev.Message] = true
		case EventDelivered, EventLost, EventUnconfirmed, EventDropped:
			if have := e.fates[ev.Message]; have != 0 {
				e.fault("message %d is %v after it was %v", ev.Message, ev.Kind, have)
			}
			e.fates[ev.Message] = ev.Kind
			if ev.Kind != EventDropped && !e.wired[ev.Message] {
				e.fault("message %d is %v but never was transmitted", ev.Message, ev.Kind)
			}
			if ev.Kind == EventDelivered && !e.peer.arrived[ev.Message] {
				e.fault("message %d is Delivered but did not arrive", ev.Message)
			}
		}
	}
}

// judge holds a packet of ours against the rules.
func (e *simEnd) judge(b []byte, s Sent) {
	var p wire.Packet
	if err := p.Parse(b); err != nil {
		e.fault("sends what cannot be read: %v", err)
		return
	}
	if !s.MayFragment && len(b) > max(e.c.path.mtu, e.c.path.size) && e.c.path.mtu > 0 {
		e.fault("%v of %d octets, packet size is %d", p.Type, len(b), e.c.path.mtu)
	}
	if s.HasMessage && (s.MayFragment || len(p.Data) > e.c.MPS()) {
		e.fault("%v of %d octets with a message of %d, MPS %d", p.Type, len(b), len(p.Data), e.c.MPS())
	}
	stray := e.c.State() == StateTimeWait
	if !stray {
		// Each packet takes the next number (RFC 4340, Section 7).
		if e.began && p.Seq != e.next {
			e.fault("%v numbered %d after %d", p.Type, p.Seq, e.next-1)
		}
		e.began, e.next = true, p.Seq.Add(1)
	}
	// No more under way than the Sequence Window (RFC 4340, Section 7.5.2).
	if w := int64(e.c.feat.value(local, wire.FeatSequenceWindow)); s.HasMessage && p.Seq.Sub(e.c.gar) > w {
		e.fault("message %d beyond the acknowledged %d, window %d", p.Seq, e.c.gar, w)
	}
	if p.Type == wire.Data && !e.opened {
		e.fault("Data before OPEN")
	}
	if !p.Type.HasAck() || p.Type == wire.Reset && p.Ack == 0 {
		return
	}
	// What is acknowledged has come.
	if !e.came[p.Ack] {
		e.fault("%v acknowledges %d, which never came", p.Type, p.Ack)
	}
	runs := wire.NewAckRuns(p.Ack)
	for r := wire.ReadOptions(p.Options); r.Next(); {
		if r.Option.Type != wire.OptAckVector0 {
			continue
		}
		for runs.Feed(r.Option.Data); runs.Next(); {
			for i := range int64(runs.Run.Len) {
				seq := runs.Run.Last.Add(-i)
				if runs.Run.State != wire.AckMissing && !e.came[seq] {
					e.fault("Ack Vector reports %d, which never came", seq)
				}
			}
		}
	}
}
