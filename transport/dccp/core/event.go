package core

import (
	"fmt"

	"ipfixsuite/transport/dccp/wire"
)

// EventKind says what an Event tells.
type EventKind uint8

// Events.
const (
	// EventOpened: the connection carries data both ways. A client may send
	// before, from the moment the Response has come.
	EventOpened EventKind = iota + 1
	// EventData: a message came; Event.Data.
	EventData
	// EventTransmitted: message Event.Message is in a packet that AppendPacket
	// has just made.
	EventTransmitted
	// EventDelivered: the peer acknowledged the packet with message
	// Event.Message, and did not say that its data was dropped.
	EventDelivered
	// EventLost: the peer reported the packet missing when three later ones had
	// come, or dropped its data (Event.Drop). A packet that is only late counts
	// as lost when it is overtaken by so many; it is not told of again.
	EventLost
	// EventUnconfirmed: the connection ended, or the records became too many,
	// before the peer said anything about message Event.Message.
	EventUnconfirmed
	// EventDropped: message Event.Message left the queue without being sent:
	// by the queue's policy, because the MPS has become less than its size, or
	// because the connection ended.
	EventDropped
	// EventWritable: there is room in the queue after ErrQueueFull.
	EventWritable
	// EventMPS: MPS has changed.
	EventMPS
	// EventNotListening: the peer's application reads no more (Drop Code 1);
	// sending on makes no sense (RFC 4340, Section 11.7.2).
	EventNotListening
	// EventClosed is the last one: Conn.Err says why.
	EventClosed
)

var eventNames = [...]string{"", "opened", "data", "transmitted", "delivered", "lost", "unconfirmed", "dropped",
	"writable", "mps", "not listening", "closed"}

func (k EventKind) String() string { return eventNames[k] }

// Event is one thing that the driver of a Conn has to know.
type Event struct {
	Kind    EventKind
	Message uint64 // id, of those kinds that speak of a message
	// Data is the message that came: a view into the packet that HandlePacket
	// was given.
	Data []byte
	// Drop is why the peer dropped a Lost message; wire.NotDropped if the
	// network lost it.
	Drop wire.DropCode
}

// ResetError is how a connection ended.
type ResetError struct {
	Code   wire.ResetCode
	Data   [3]byte
	Remote bool   // the peer's Reset, else ours
	Text   string // error text of the peer's Reset, at most 128 octets, quoted in Error
}

func (e *ResetError) Error() string {
	who := "reset"
	if e.Remote {
		who = "reset by peer"
	}
	s := fmt.Sprintf("dccp: %s: %v", who, e.Code)
	switch e.Code {
	case wire.ResetOptionError, wire.ResetMandatoryError:
		s += fmt.Sprintf(" (option %d: %x)", e.Data[0], e.Data[1:])
	case wire.ResetPacketError:
		s += fmt.Sprintf(" (%v)", wire.Type(e.Data[0]))
	}
	if e.Text != "" {
		s += fmt.Sprintf(" %q", e.Text)
	}
	return s
}

// Clean reports whether the connection was closed in order.
func (e *ResetError) Clean() bool { return e.Code == wire.ResetClosed }

// events is a queue that reuses its memory. The data of a packet is not kept:
// there is one at most, and its view dies with the packet.
type events struct {
	ring       []Event
	head, size int
}

func (q *events) push(e Event) {
	if q.size == len(q.ring) {
		grown := make([]Event, max(8, 2*len(q.ring)))
		for i := range q.size {
			grown[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.size)&(len(q.ring)-1)] = e
	q.size++
}

func (q *events) pop() (Event, bool) {
	if q.size == 0 {
		return Event{}, false
	}
	at := q.head
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.size--
	e := q.ring[at]
	q.ring[at].Data = nil
	return e, true
}
