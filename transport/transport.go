// Package transport is the contract between the IPFIX processes and whatever
// carries their messages: UDP, TCP, SCTP and DCCP, in the clear or under DTLS
// and TLS. An Exporting Process opens a Session with a Dialer; a Collecting
// Process serves a Listener, which pushes what arrives into Receivers.
//
// One Session is one Transport Session of RFC 7011, Section 2. A transport
// moves whole IPFIX Messages and never looks into them; what differs between
// transports is told by Properties, so that no caller asks for a transport by
// its name.
package transport

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Confirmation says what a transport can prove about a message it took.
type Confirmation uint8

const (
	// ConfirmNone means that nothing is known of what happened to a message (plain UDP).
	ConfirmNone Confirmation = iota
	// ConfirmTransport means that the peer's host took it; its process may not
	// have read it (SCTP, TCP, TLS).
	ConfirmTransport
	// ConfirmProcess means that an answered Probe proves that the peer's process took
	// everything sent before it (DTLS heartbeat, MTA-TLS credit).
	ConfirmProcess
)

// Properties tell what a session's transport does with messages.
type Properties struct {
	Secure   bool // peers are authenticated, content encrypted
	Reliable bool // the transport itself repeats what the network loses
	Ordered  bool // messages of one stream arrive in order
	Stream   bool // a byte stream: messages are framed by their own length
	Streams  int  // outgoing streams; at least 1
	Channels bool // each stream is a Transport Session of its own to the peer
	Partial  bool // messages marked Unreliable may be given up
	Confirms Confirmation
}

// Outgoing is one IPFIX Message to send.
type Outgoing struct {
	Data   []byte
	Stream uint16
	// Unreliable permits a partially reliable transport to give this message
	// up; only for messages that hold nothing but Data Sets (RFC 7011,
	// Section 10.2.3).
	Unreliable bool
}

// A Session is the exporter's end of one Transport Session. Its methods may
// be called from several goroutines.
type Session interface {
	// Send hands messages over in order and returns how many it took. It
	// waits for room, never for a handshake. A message larger than
	// MaxMessage is refused with ErrTooLarge and nothing after it is sent.
	// The data may be reused when Send returns.
	Send(ctx context.Context, batch []Outgoing) (n int, err error)
	// MaxMessage is the largest message that Send takes now, in octets. It
	// may change while the session lives (path MTU).
	MaxMessage() int
	Properties() Properties
	Peer() Peer
	// Probe asks the peer for a sign of life and waits for it; where
	// Properties.Confirms is ConfirmProcess its success also confirms every
	// message sent before it. An answer counts though the session ended, or
	// ctx did, right behind it; else both end the wait. ErrNoProbe when the
	// peer or the transport has none.
	Probe(ctx context.Context) error
	// Done is closed when the session has ended, by either side; Err then
	// tells why (nil after Close).
	Done() <-chan struct{}
	Err() error
	// Close ends the session as its protocol demands (close_notify,
	// SHUTDOWN, FIN), waiting no longer than ctx. It may be called again. Its
	// error, if ctx has not ended, is that the peer's end had not lasted until
	// then: what its host had acknowledged may not have been taken.
	Close(ctx context.Context) error
	Stats() SessionStats
}

// A Tracker is a Session whose transport learns what became of each message:
// from DCCP's Ack Vectors, from SCTP's acknowledgements. It lets the caller
// send again exactly what the network lost.
type Tracker interface {
	// Fates appends to dst what was learnt since the call before, each
	// message once, in any order. When Done is closed all that will ever be
	// known can be fetched; a message without a fate then may or may not have
	// arrived. One goroutine calls it.
	Fates(dst []Fate) []Fate
}

// Fate tells of the messages First to Last, counted from 1 in the order in
// which Send took them, whether the peer's host has them. What a host has its
// process may not have read: Properties.Confirms tells what proves that.
type Fate struct {
	First, Last uint64
	Arrived     bool // false: the network or the transport lost them for good
}

// A Laned is a Session whose streams fill, and end, one by one: what waits for
// one of them need not keep others waiting. The session ends with its last
// stream. An answered Probe confirms nothing of streams that Fell tells of.
type Laned interface {
	// Room is how many octets Send takes on the stream now, without waiting.
	Room(stream uint16) int
	// Confirmed is how many octets of what Send took on the stream the peer's
	// process has acknowledged, since the session began, or since Renew. It
	// never falls otherwise.
	Confirmed(stream uint16) uint64
	// Freed gets a word when a stream whose Room was less than the greatest
	// message needs has that much again, when Confirmed has grown, and when a
	// stream fell; one word may stand for many.
	Freed() <-chan struct{}
	// Fell appends to dst the streams that the peer has refused or closed since
	// the call before. Nothing more is confirmed of them, and they have no Room
	// before Renew. One goroutine calls it.
	Fell(dst []uint16) []uint16
	// Renew gives up what the stream has under way: what Send takes next is
	// the beginning of a Transport Session of its own. There may be no Room
	// for a while.
	Renew(stream uint16)
}

// A Dialer opens sessions to one endpoint.
type Dialer interface {
	// Dial returns an established session: connected and, on a secure
	// transport, authenticated.
	Dial(ctx context.Context) (Session, error)
}

// A Listener takes sessions on one local endpoint.
type Listener interface {
	// Serve runs until ctx ends or the endpoint fails. It calls h from its
	// own goroutines; on return every Receiver has been told Closed.
	Serve(ctx context.Context, h Handler) error
	// Addr is the bound address, with the port the system chose for port 0.
	Addr() netip.AddrPort
	Stats() ListenerStats
	// Close frees the endpoint of a listener that is not being served; a
	// served one ends with its context.
	Close() error
}

// A Handler is told of each new session and says who receives its messages.
type Handler interface {
	// Open is called once for a session, before its first message. A nil
	// Receiver or an error refuses it.
	Open(p Peer, props Properties) (Receiver, error)
}

// A Receiver takes what one session brings. Calls are serial for a session
// and run in the goroutine that reads the socket: they must not wait for
// the network.
type Receiver interface {
	// Message takes one IPFIX Message (or what the peer sent as one). Its
	// data is the transport's buffer, valid only during the call.
	Message(m Incoming)
	// Barrier asks for done to be called once everything received before it
	// on this session has been written by the sinks. done may be called
	// from any goroutine, at most once, or never if writing fails. The
	// transport answers the peer's liveness probe in done.
	Barrier(done func())
	// Closed is the last call; reason is nil when the peer closed in order.
	Closed(reason error)
}

// Incoming is one message as it arrived.
type Incoming struct {
	Data     []byte
	Stream   uint16
	Received time.Time
	// Unordered: it may have overtaken others of its stream (SCTP's U flag).
	Unordered bool
}

// Peer says who is at the other end.
type Peer struct {
	// Identity is the authenticated name: the certificate's matching SAN or
	// the PSK identity; without authentication the address (no port).
	Identity string
	Remote   netip.AddrPort
	Local    netip.AddrPort
	Scheme   string // of the endpoint, for example dtls+udp
	Resumed  bool   // the handshake resumed an earlier session
	// Session tells sessions of one process apart: unique, never reused.
	Session uint64
}

// SessionStats counts what one session did since it began.
type SessionStats struct {
	MessagesSent, BytesSent      uint64
	SendErrors                   uint64 // messages the system refused
	ProbesSent, ProbesAnswered   uint64 // by the peer
	ProbesReceived, ProbeAnswers uint64 // by us
	RecordsDropped               uint64 // not authentic, replayed or malformed
	RTT                          time.Duration
	UnreachableHints             uint64 // ICMP and the like: never a verdict
	// Heard counts what shows that the peer's process lives, whether a probe is
	// answered or not; 0 where nothing does.
	Heard uint64
}

// ListenerStats counts what a listener did since it began. Every silent drop
// is in one of them.
type ListenerStats struct {
	DatagramsReceived, BytesReceived uint64
	SocketDrops                      uint64 // by the kernel, for want of room
	SessionsOpened, SessionsClosed   uint64
	SessionsResumed                  uint64
	SessionsRefused                  uint64 // by limits or by the handler
	HandshakesStarted                uint64
	HandshakesFailed                 uint64
	HandshakesLimited                uint64 // turned away by half-open limits
	ProbesReceived, ProbesAnswered   uint64
	Dropped                          map[string]uint64 // by reason: bad-mac, replayed, plaintext, stale, queue-full …
}

var (
	// ErrTooLarge says that the message exceeds the session's MaxMessage.
	ErrTooLarge = errors.New("message larger than the session's maximum")
	// ErrClosed says that the session was closed by this side.
	ErrClosed = errors.New("session closed")
	// ErrPeerClosed says that the peer ended the session in order.
	ErrPeerClosed = errors.New("session closed by peer")
	// ErrBusy says that the peer takes nothing just now: its window, and the
	// room on this side, are full. Try again later.
	ErrBusy = errors.New("collector takes no more for now")
	// ErrNoProbe says that neither transport nor peer offers a sign of life.
	ErrNoProbe = errors.New("peer offers no heartbeat")
)
