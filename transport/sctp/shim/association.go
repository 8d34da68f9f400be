package shim

import (
	"math/rand/v2"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// Config sets an Association up; there are no defaults.
type Config struct {
	Timers Timers
	// MaxPacket is the largest packet to send, in octets, the common header
	// included, UDP's not. What is beyond the constant of that name is not used.
	MaxPacket int
	// Seed is random and used once.
	Seed [32]byte
}

// EnginePort is both ports of packets from and to the engine.
const EnginePort = 5000

// EngineMaxPacket is the largest packet that the engine takes, MaxPacket the
// largest to send: the peer may have such an engine, too, and hand it a little
// more than came.
const (
	EngineMaxPacket = 8192
	MaxPacket       = EngineMaxPacket - 64
	// minPacket is what every host takes, headers of IP and UDP aside (RFC
	// 1122, Section 3.3.2), but for a little.
	minPacket = 512
)

// SinkStream is a stream that no peer can use: the engine gets what came on a
// stream that does not exist as messages of this one, so that it acknowledges
// them. They are not to be read further.
const SinkStream = 0xFFFF

// EndReason says how an association ended.
type EndReason uint8

const (
	// EndNone: it has not ended.
	EndNone EndReason = iota
	// EndShutdown: in order, begun by either side.
	EndShutdown
	// EndAborted: the peer sent ABORT.
	EndAborted
	// EndLost: the peer does not answer.
	EndLost
	// EndViolation: the peer broke the protocol; it was sent ABORT.
	EndViolation
	// EndLocal: Abort was called.
	EndLocal
	// EndRestart: the peer began anew.
	EndRestart
	// EndEngine: the engine cannot be followed.
	EndEngine
)

// End tells how an association ended.
type End struct {
	Reason EndReason
	Cause  wire.Cause // EndAborted, EndViolation
	Text   string     // EndAborted: the peer's reason; EndViolation: what it did
	// ByPeer: EndShutdown was begun by the peer.
	ByPeer bool
}

// EventKind says what an association has to tell.
type EventKind uint8

const (
	EventGivenUp      EventKind = iota
	EventPathDown               // heartbeats or DATA go unanswered
	EventPathUp                 // and no longer
	EventPeerShutdown           // the peer takes no more messages
)

// Event is something an association has to tell.
type Event struct {
	Kind    EventKind
	GivenUp GivenUp // of EventGivenUp
}

// Association is one established association between an engine and the wire.
type Association struct {
	terms Terms
	cfg   Config
	keys  keyring
	path  path
	sent  ledger
	end   End
	drops Drops

	// Parsing the packet at hand.
	walk          wire.Chunks
	chunk         wire.Chunk
	kept          bool // chunk is yet to be taken
	authenticated bool
	reflected     bool // its tag is the peer's
	reported      bool // an ERROR was sent for it

	touched []uint16 // streams that packets brought something on
	held    [][]byte // packets under the next key
	out     outbox
	events  ring[EventKind]

	shutdownSeen                  bool // the peer's SHUTDOWN
	shutdownSent, shutdownAckSent bool
	shutdownAckSeen               bool
	closingAt                     time.Time // when one of these was sent last
	windowShut                    bool
	engineHolds                   int
	forwardAt                     time.Time // when FORWARD TSN was,
	forwardTo                     uint32    // and for which point
}

// NewAssociation begins after the handshake.
func NewAssociation(now time.Time, t Terms, cfg Config) *Association {
	cfg.MaxPacket = max(min(cfg.MaxPacket, MaxPacket), minPacket)
	a := &Association{
		terms: t,
		cfg:   cfg,
		keys:  newKeyring(t.Auth),
		path:  newPath(now, cfg.Timers, rand.New(rand.NewChaCha8(cfg.Seed))),
		sent:  newLedger(&t),
	}
	a.forwardTo = t.LocalTSN
	return a
}

// Terms are what the handshake settled.
func (a *Association) Terms() *Terms { return &a.terms }

// EngineMTU is the packet size to set the engine to: what is left of
// Config.MaxPacket beside AUTH.
func (a *Association) EngineMTU() int {
	return a.cfg.MaxPacket - a.terms.Auth.overhead()
}

// Enter takes note of a message on an existing stream, which has to be handed
// to the engine next, as an ordered and reliable message of that stream. The
// number counts messages from 1.
func (a *Association) Enter(m *Message) (number uint64) {
	a.sent.enter(m)
	return a.sent.entered()
}

// Unenter takes the last message back: the engine did not take it.
func (a *Association) Unenter() { a.sent.unenter() }

// Settled is the number of messages, from the first on, that are acknowledged
// or given up.
func (a *Association) Settled() uint64 { return a.sent.settled() }

// Entered is the number of messages entered.
func (a *Association) Entered() uint64 { return a.sent.entered() }

// Buffered is the size of messages not yet settled, in octets.
func (a *Association) Buffered() int { return a.sent.bytes }

// End tells whether and how the association ended.
func (a *Association) End() End { return a.end }

// finish ends the association once.
func (a *Association) finish(e End) {
	if a.end.Reason != EndNone {
		return
	}
	a.end = e
	a.path.close()
	a.path.dataUntil = time.Time{}
	a.held = nil
	a.sent.end()
	a.keys.settled(a.sent.settled())
}

// violation ends the association because of what the peer did (RFC 9260,
// Section 3.3.10).
func (a *Association) violation(c wire.Cause, info []byte, text string) {
	if a.end.Reason != EndNone {
		return
	}
	a.out.add(a, func(b []byte) []byte {
		at := len(b)
		b = wire.BeginChunk(b, wire.Abort, 0)
		return wire.EndChunk(wire.AppendCause(b, c, info), at)
	})
	a.finish(End{Reason: EndViolation, Cause: c, Text: text})
}

// maxReason bounds what an ABORT says.
const maxReason = 256

// Abort ends the association and sends ABORT (RFC 9260, Sections 9.1 and
// 3.3.10.12).
func (a *Association) Abort(reason string) {
	if a.end.Reason != EndNone {
		return
	}
	reason = reason[:min(len(reason), maxReason)]
	a.out.add(a, func(b []byte) []byte {
		at := len(b)
		b = wire.BeginChunk(b, wire.Abort, 0)
		return wire.EndChunk(wire.AppendCause(b, wire.CauseUserAbort, []byte(reason)), at)
	})
	a.finish(End{Reason: EndLocal})
}

// Restarted ends the association because its peer began anew.
func (a *Association) Restarted() { a.finish(End{Reason: EndRestart}) }

// ShuttingDown tells whether an orderly end is under way.
func (a *Association) ShuttingDown() bool { return a.shutdownSent || a.shutdownSeen }

// Probe makes a heartbeat due at once.
func (a *Association) Probe(now time.Time) {
	a.path.probe(now)
	a.beat(now)
}

// Advance lets time pass.
func (a *Association) Advance(now time.Time) {
	if a.end.Reason == EndNone {
		a.beat(now)
	}
}

func (a *Association) beat(now time.Time) {
	news, beat := a.path.advance(now)
	a.news(news)
	if beat && a.end.Reason == EndNone {
		nonce := a.path.nonce
		a.out.add(a, func(b []byte) []byte { return appendBeat(b, nonce) })
	}
}

func (a *Association) news(n pathNews) {
	switch n {
	case pathDown:
		a.tell(EventPathDown)
	case pathLost:
		if a.shutdownSeen && a.sent.settled() == a.sent.entered() {
			// The peer asked for the end and everything is acknowledged; only
			// its last word is missing.
			a.finish(End{Reason: EndShutdown, ByPeer: true})
			return
		}
		a.finish(End{Reason: EndLost})
	}
}

func (a *Association) tell(k EventKind) { *a.events.push() = k }

// Event is the next thing to tell.
func (a *Association) Event() (Event, bool) {
	if a.events.len() > 0 {
		k := *a.events.at(0)
		a.events.pop()
		return Event{Kind: k}, true
	}
	if a.sent.given.len() == 0 {
		return Event{}, false
	}
	g := *a.sent.given.at(0)
	a.sent.given.pop()
	return Event{Kind: EventGivenUp, GivenUp: g}, true
}

// Next is when Advance has something to do; zero: never.
func (a *Association) Next() time.Time { return a.path.next() }

// Signs counts signs of life of the peer's host: acknowledgements of DATA and
// of heartbeats.
func (a *Association) Signs() uint64 { return a.path.signs }

// RTT is the smoothed round trip time; 0: none measured.
func (a *Association) RTT() time.Duration { return a.path.srtt }

// Counts of what happened so far.
type Counts struct {
	Retransmitted uint64 // DATA chunks
	Abandoned     uint64 // messages
	Heartbeats    uint64 // sent
	Drops         Drops
}

// Counts are a snapshot.
func (a *Association) Counts() Counts {
	return Counts{a.sent.retransmitted, a.sent.abandoned, a.path.beats, a.drops}
}

// SetKey installs a shared key; packets that waited for it are to be taken
// from Held.
func (a *Association) SetKey(id uint16, key []byte) error { return a.keys.set(id, key) }

// ActivateKey makes a key the one of messages entered from now on, and of what
// the shim itself sends.
func (a *Association) ActivateKey(id uint16) error { return a.keys.activate(id, a.sent.entered()) }

// DeleteKey forgets a key that is not active: nothing is taken under it any
// more. Messages entered under it that are not yet settled stay under it.
func (a *Association) DeleteKey(id uint16) error { return a.keys.remove(id) }

// Held is a packet that waited for a key which is there now; it is to be given
// to Inbound again.
func (a *Association) Held() ([]byte, bool) {
	if len(a.held) == 0 {
		return nil, false
	}
	if k, ok := authKey(a.held[0]); ok && a.keys.find(k) == nil {
		return nil, false
	}
	p := a.held[0]
	a.held = a.held[1:]
	return p, true
}
