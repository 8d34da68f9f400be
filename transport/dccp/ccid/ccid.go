// Package ccid says what a DCCP connection asks its congestion control and
// what it tells it (RFC 4340, Section 10). A CCID has two halves: the
// HC-Sender decides when data may go, the HC-Receiver when an acknowledgement
// is due and what it says beside the Ack Vector. The connection owns sequence
// numbers, Ack Vectors, feature negotiation and timers' wake-up; the halves are
// pure machines with the time as an argument, driven by one goroutine.
package ccid

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// ID is a congestion control identifier, the value of the CCID feature.
type ID uint8

// CCIDs of RFC 4341 and RFC 4342.
const (
	TCPLike ID = 2
	TFRC    ID = 3
)

// Setup is what a half is told when negotiation has chosen it.
type Setup struct {
	Now time.Time
	// Next is the sequence number of the first packet that the half will see:
	// sent for a Sender, received for a Receiver. Numbers before it belong to
	// the handshake or to another CCID and may still be in acknowledgements.
	Next wire.Seq
	// MPS is the largest message in octets at present; SetMPS tells changes.
	MPS int
	// RTT is a round trip measured on the handshake; 0 when there was none.
	RTT time.Duration
}

// CCID describes one congestion control to the negotiation and makes halves.
type CCID struct {
	ID          ID
	NewSender   func(Setup) Sender
	NewReceiver func(Setup) Receiver
	// Needs are the features that both ends must agree upon for this CCID, and
	// what to offer, as seen by its HC-Sender: Remote ones lie at the
	// HC-Receiver (Change R), the others at the HC-Sender (Change L).
	Needs []Need
}

// Need is a server-priority feature that a CCID depends on, for instance Send
// Ack Vector 1 at the receiver of CCID 2.
type Need struct {
	Feature wire.Feature
	Remote  bool
	Values  []byte // in order of preference
	// Mandatory: the connection makes no sense without (RFC 4340, Section 5.8.2).
	Mandatory bool
}

// Sender is an HC-Sender.
type Sender interface {
	// Allowed reports whether a data packet with a message of size octets may
	// go now. If not, at is when to ask again; zero when only an
	// acknowledgement can change the answer. Packets without data are never
	// asked about.
	Allowed(now time.Time, size int) (ok bool, at time.Time)
	// CCVal is the 4-bit value for the packet that is sent now.
	CCVal(now time.Time) uint8
	// AppendOptions appends options for the packet that is sent now (types 128
	// to 191); most CCIDs have none.
	AppendOptions(now time.Time, b []byte) []byte
	// Sent tells of every packet that went, data or not, in order. There is no
	// separate word for an idle sender: a packet sent with Backlog 0 is one.
	Sent(now time.Time, s Sent)
	// Heard tells of every acknowledgeable packet of the HC-Receiver, with data
	// or not, with an acknowledgement number or not, before Acked does: gaps in
	// its numbers are lost acknowledgements (RFC 4341, Section 6.1.1). r is
	// only valid during the call.
	Heard(now time.Time, r *Received)
	// Acked tells what an acknowledgement said. a is only valid during the call.
	Acked(now time.Time, a *Ack)
	// Feature tells that a feature of this half-connection has taken a value:
	// AckRatio, SequenceWindow, or one of the CCID's own.
	Feature(f wire.Feature, value uint64)
	SetMPS(mps int)
	// Next is when Advance is to be called; zero: never.
	Next() time.Time
	Advance(now time.Time)
	// Wishes are asked after each call of the above; core negotiates changes.
	Wishes() Wishes
	Stats() SenderStats
}

// Sent is a packet that was sent.
type Sent struct {
	Seq  wire.Seq
	Size int  // octets of application data
	Data bool // it carries data and counts against congestion control
	Ack  bool // it carries an acknowledgement number: what came so far is acknowledged
	// Backlog is how many messages still wait: 0 means that the application
	// limits the rate, not the network.
	Backlog int
}

// Ack is what a packet from the HC-Receiver said. Its acknowledgement number
// has passed the validity checks.
type Ack struct {
	Seq  wire.Seq // the packet's own number
	Ack  wire.Seq
	Data bool // the packet also carries data
	// Vector holds the octets of all its Ack Vector options, in order
	// (wire.AckRuns reads them); nil when there were none.
	Vector []byte
	// Dropped holds the octets of all its Data Dropped options, in order
	// (wire.DropRuns reads them).
	Dropped []byte
	CE      bool   // marked Congestion Experienced
	NDP     uint64 // NDP Count option; valid if HasNDP
	HasNDP  bool
	// Elapsed is the peer's delay between the packet Ack and this packet; -1
	// when it did not say.
	Elapsed time.Duration
	// RTT is a sample from a Timestamp Echo, the peer's delay deducted; 0
	// when there was no echo.
	RTT          time.Duration
	SlowReceiver bool
	// Options are those of types 192 to 255, in order.
	Options []wire.Option
}

// Wishes are values that a Sender wants for the non-negotiable features.
type Wishes struct {
	AckRatio       uint16 // 0: as it is
	SequenceWindow uint64 // packets; 0: as it is
	// AckOfAcks: the HC-Receiver's acknowledgements should be acknowledged by
	// the next data packet, because so many packets went without (RFC 4340,
	// Section 11.1).
	AckOfAcks bool
}

// SenderStats are a sender's state and counts. Rates are octets per second,
// zero for window based CCIDs; Window and Flight are packets, zero for rate
// based ones.
type SenderStats struct {
	Window     int
	Flight     int
	Threshold  int // slow start threshold
	Rate       float64
	LossRate   float64 // loss event rate
	RTT        time.Duration
	RTO        time.Duration // or the nofeedback timer's interval
	Losses     uint64        // packets deemed lost or marked
	Reductions uint64        // congestion events
	Timeouts   uint64
}

// Receiver is an HC-Receiver.
type Receiver interface {
	// Received tells of every acknowledgeable packet, after its options were
	// processed. r is only valid during the call.
	Received(now time.Time, r *Received)
	// AckDue reports whether an acknowledgement should go now even when there
	// is no data to carry it.
	AckDue(now time.Time) bool
	// AppendOptions appends at most room octets of the CCID's options for a
	// packet with an acknowledgement number that is sent now: Elapsed Time,
	// Receive Rate and so on. The Ack Vector is not its business; Elapsed Time
	// is its alone. Data packets leave little room: what does not fit waits for
	// a pure acknowledgement.
	AppendOptions(now time.Time, b []byte, room int) []byte
	// AckSent tells that a packet with an acknowledgement of everything
	// received so far, and with what AppendOptions gave, went; data says
	// whether it carried data.
	AckSent(now time.Time, seq wire.Seq, data bool)
	// Feature tells that a feature of this half-connection has taken a value:
	// AckRatio, SequenceWindow, or one of the CCID's own.
	Feature(f wire.Feature, value uint64)
	// SetRTT tells a round trip that the other half has measured.
	SetRTT(rtt time.Duration)
	// Next is when AckDue may become true without a packet; zero: never.
	Next() time.Time
	Stats() ReceiverStats
}

// Received is a packet that came and was acknowledgeable.
type Received struct {
	Seq   wire.Seq
	Type  wire.Type
	CCVal uint8
	Size  int    // octets of application data
	Data  bool   // Data or DataAck (also empty), or Request or Response with data
	CE    bool   // marked Congestion Experienced
	NDP   uint64 // NDP Count option; valid if HasNDP
	// HasNDP tells an absent option from a count of zero.
	HasNDP bool
	// Options are those of types 128 to 191, in order.
	Options []wire.Option
}

// ReceiverStats are a receiver's state and counts.
type ReceiverStats struct {
	Rate     float64 // octets per second, for rate based CCIDs
	LossRate float64
	RTT      time.Duration
	Losses   uint64
	Acks     uint64 // acknowledgements sent
}
