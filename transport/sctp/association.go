package sctp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Message is one user message.
type Message struct {
	Stream uint16
	// PPID is the payload protocol identifier, in host order. IPFIX uses 0
	// (RFC 7011, Section 10.2.3).
	PPID      uint32
	Unordered bool
	// Immediate asks the peer to acknowledge at once (RFC 7053); only when
	// sending.
	Immediate bool
	// Lifetime permits the stack to give the message up when it could not be
	// delivered within this time (RFC 3758, Section 4.1); 0: reliable. Where
	// the peer has no partial reliability every message is reliable. Only when
	// sending.
	Lifetime time.Duration
	// Tag is the sender's own; it comes back in EventSendFailed.
	Tag  uint32
	Data []byte
}

// EventKind says what an association has to tell.
type EventKind uint8

const (
	// EventMessage: a user message arrived.
	EventMessage EventKind = iota
	// EventSendFailed: a message handed to Send was given up, because its
	// lifetime was over or because the association ended; Message has its
	// stream and tag. A message that the stack had cut to pieces may fail piece
	// by piece, with an event for each.
	EventSendFailed
	// EventPathDown and EventPathUp: an address of the peer (Path) stopped or
	// began to answer heartbeats. A hint, no verdict.
	EventPathDown
	EventPathUp
	// EventPeerShutdown: the peer began an orderly end and takes no more
	// messages. Those it sent before come first; the end itself is Receive's
	// error.
	EventPeerShutdown
	// EventRestart: the peer began anew under the same addresses (RFC 9260,
	// Section 5.2): to IPFIX that is another Transport Session.
	EventRestart
)

// Event is what Receive fills in.
type Event struct {
	Kind EventKind
	// Message of EventMessage and EventSendFailed; the latter has no data. The
	// data is the stack's buffer, valid until the next Receive.
	Message Message
	Path    netip.AddrPort
	// Cause of EventSendFailed and EventPathDown, as the protocol numbers it;
	// 0: unknown.
	Cause uint32
}

// Association is one established SCTP association, as the kernel and the
// stack in user space offer it. One goroutine receives, and it must do so for
// as long as the association lives: Drain, Shutdown and the end depend on it.
// All other methods may be called from several goroutines.
type Association interface {
	// Send hands messages over in order and returns how many it took. It waits
	// for room until ctx ends or the association does; with a ctx that has
	// ended it takes what there is room for. The data may be reused
	// when it returns. A message longer than MaxMessage is refused with
	// transport.ErrTooLarge, one on a stream that does not exist with
	// ErrStream, and nothing after it is sent.
	Send(ctx context.Context, batch []Message) (n int, err error)
	// Receive waits for the next event. Its error is the end of the
	// association, after everything that came before it: transport.ErrPeerClosed
	// when the peer shut it down, transport.ErrClosed after Shutdown or Abort
	// on this side, *LostError when it was aborted or did not answer.
	Receive(ev *Event) error
	// Drain waits until the peer has acknowledged everything sent so far.
	Drain(ctx context.Context) error
	// Acknowledged counts the messages whose fate is known, in the order in
	// which Send took them: the peer has the first so many, but for those that
	// EventSendFailed told of before the last call of Receive: what that
	// returned may not yet have been looked at. It may lag behind, and does not
	// wait. Once Receive has told an end that this side did not force by Abort,
	// it counts all.
	Acknowledged() uint64
	// Heartbeat makes the stack ask the peer's host for a sign of life and
	// waits for one, of whatever kind.
	Heartbeat(ctx context.Context) error

	// SetKey installs a shared key for SCTP-AUTH (RFC 4895), ActivateKey makes
	// it the one of every message handed to Send from now on, DeleteKey lets
	// nothing in under it any more; none of them waits. A message keeps the key
	// that was active when Send took it, also when it is sent again. Key 0 is
	// empty and there from the start.
	SetKey(id uint16, key []byte) error
	ActivateKey(id uint16) error
	DeleteKey(id uint16) error
	// PeerAuthChunks are the chunk types that the peer takes only
	// authenticated (its CHUNKS parameter); empty when it has no SCTP-AUTH.
	PeerAuthChunks() ([]byte, error)

	// Streams tells the negotiated numbers of outgoing and incoming streams.
	Streams() (out, in int)
	// PartialReliability tells whether Message.Lifetime has an effect.
	PartialReliability() bool
	// MaxMessage is the largest user message, in octets.
	MaxMessage() int
	// LocalAddr and RemoteAddr are the primary ones, with the SCTP ports.
	LocalAddr() netip.AddrPort
	RemoteAddr() netip.AddrPort
	Stats() Stats

	// Shutdown begins the orderly end (RFC 9260, Section 9.2): what was handed
	// to Send is still delivered, nothing new is taken. It does not wait;
	// Receive tells the end.
	Shutdown() error
	// Abort ends the association at once (RFC 9260, Section 9.1) and frees
	// it; reason goes to the peer where the stack can. It wakes every caller
	// and may be called again, also after the end.
	Abort(reason string)
}

// Acceptor takes associations on one endpoint. One goroutine accepts.
type Acceptor interface {
	// Accept waits for the next association: established, and held to the
	// Config. It fails when ctx ends or the endpoint is done for; a peer that
	// does not come to terms is counted, not returned.
	Accept(ctx context.Context) (Association, error)
	// Addr is the bound address with the SCTP port.
	Addr() netip.AddrPort
	Stats() AcceptorStats
	// Close frees the endpoint and wakes Accept. Accepted associations live on
	// where the stack can do that (the kernel); where they share the socket
	// they end.
	Close() error
}

// The chunk types that matter to SCTP-AUTH (RFC 9260, Section 3.2; RFC 3758).
const (
	ChunkData       = 0x00
	ChunkForwardTSN = 0xC0
)

// Config is what an association is asked for before its INIT. The zero value
// is usable.
type Config struct {
	// OutStreams is how many streams to ask for, InStreams how many to grant;
	// 0: DefaultStreams.
	OutStreams, InStreams uint16
	// Auth demands of the peer that it authenticates DATA and FORWARD-TSN, and
	// offers SHA-256 and SHA-1 (RFC 6083, Section 4.6; RFC 4895, Section 3.3).
	// Whether the peer demands the same is told by PeerAuthChunks.
	Auth bool
	// Heartbeat is the interval of SCTP's own heartbeats; 0: the default of
	// DefaultHeartbeat.
	Heartbeat time.Duration
	// RTOMin, RTOMax and RTOInitial bound the retransmission timer; 0:
	// DefaultRTOMin and so on.
	RTOMin, RTOMax, RTOInitial time.Duration
	// MaxRetransmits ends an association after so many timeouts in a row; 0:
	// DefaultMaxRetransmits. PathRetransmits is the same for one address of
	// the peer.
	MaxRetransmits, PathRetransmits int
	// SendBuffer and ReceiveBuffer are in octets; 0: DefaultBuffer.
	SendBuffer, ReceiveBuffer int
	// MTU bounds the IP packets, in octets; 0: what the path takes.
	MTU int
}

// Defaults. The timers are quicker than the RFC's (RFC 9260, Section 16), which
// are made for hosts with several paths and take a minute: a path is suspected
// after some four seconds and an association given up after ten, so that it
// survives a cut of five. A timeout stays above the 200 ms by which a peer may
// delay its acknowledgement.
const (
	DefaultStreams         = 64
	DefaultHeartbeat       = time.Second
	DefaultRTOMin          = 400 * time.Millisecond
	DefaultRTOMax          = time.Second
	DefaultRTOInitial      = 500 * time.Millisecond
	DefaultMaxRetransmits  = 10
	DefaultPathRetransmits = 5
	DefaultBuffer          = 1 << 20
)

// WithDefaults fills in what is left out.
func (c Config) WithDefaults() Config {
	c.OutStreams = cmp.Or(c.OutStreams, DefaultStreams)
	c.InStreams = cmp.Or(c.InStreams, DefaultStreams)
	c.Heartbeat = cmp.Or(c.Heartbeat, DefaultHeartbeat)
	c.RTOMin = cmp.Or(c.RTOMin, min(DefaultRTOMin, cmp.Or(c.RTOMax, DefaultRTOMin)))
	c.RTOMax = cmp.Or(c.RTOMax, max(DefaultRTOMax, c.RTOMin))
	c.RTOInitial = cmp.Or(c.RTOInitial, min(max(DefaultRTOInitial, c.RTOMin), c.RTOMax))
	c.MaxRetransmits = cmp.Or(c.MaxRetransmits, DefaultMaxRetransmits)
	c.PathRetransmits = cmp.Or(c.PathRetransmits, DefaultPathRetransmits)
	c.SendBuffer = cmp.Or(c.SendBuffer, DefaultBuffer)
	c.ReceiveBuffer = cmp.Or(c.ReceiveBuffer, DefaultBuffer)
	return c
}

// Stats counts what one association did since it began.
type Stats struct {
	MessagesSent, BytesSent         uint64
	MessagesReceived, BytesReceived uint64
	// Abandoned counts messages given up after their lifetime or with the
	// association.
	Abandoned uint64
	// Retransmitted counts DATA chunks.
	Retransmitted uint64
	// Dropped counts packets and chunks that went no further, for any reason;
	// 0 where the stack cannot tell.
	Dropped uint64
	RTT     time.Duration
}

// AcceptorStats counts what an endpoint did since it began. What a stack
// cannot tell is 0.
type AcceptorStats struct {
	PacketsReceived, BytesReceived uint64
	SocketDrops                    uint64
	Accepted                       uint64
	Refused                        uint64 // terms not met, no memory, limits
	Limited                        uint64 // turned away by half-open limits
	Dropped                        map[string]uint64
}

// LostError says that an association ended out of order.
type LostError struct {
	// Aborted: the peer sent ABORT; else it stopped to answer.
	Aborted bool
	// Cause is the ABORT's error cause code (RFC 9260, Section 3.3.10), 0: none.
	Cause uint16
	// Reason is the peer's text of a user-initiated abort, printable.
	Reason string
}

func (e *LostError) Error() string {
	switch {
	case !e.Aborted:
		return "association lost: the peer does not answer"
	case e.Reason != "":
		return fmt.Sprintf("association aborted by the peer: %q", e.Reason)
	case e.Cause != 0:
		return fmt.Sprintf("association aborted by the peer, cause %d", e.Cause)
	}
	return "association aborted by the peer"
}

// PrintableReason makes the text of a peer's ABORT fit for a log: printable
// ASCII, the rest as dots.
func PrintableReason(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, string(b))
}

// ErrStream says that a stream was not negotiated.
var ErrStream = errors.New("no such stream")
