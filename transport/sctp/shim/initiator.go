package shim

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

var (
	// ErrNoAnswer says that nobody answered the handshake.
	ErrNoAnswer = errors.New("no answer to the SCTP handshake")
	// ErrHandshake says that the peer's answer was none to go on with.
	ErrHandshake = errors.New("SCTP handshake failed")
	// ErrPeerNoAuth says that the peer has no SCTP-AUTH, which was demanded.
	ErrPeerNoAuth = errors.New("the peer has no SCTP-AUTH (RFC 4895)")
)

// RefusedError says that the peer answered the handshake with ABORT.
type RefusedError struct {
	Cause wire.Cause // 0: none given
	Text  string
}

func (e *RefusedError) Error() string {
	if e.Text != "" {
		return fmt.Sprintf("refused by the peer: %q", e.Text)
	}
	if e.Cause != 0 {
		return fmt.Sprintf("refused by the peer, cause %d", e.Cause)
	}
	return "refused by the peer"
}

// maxInitRetransmits ends a handshake (RFC 9260, Section 16).
const maxInitRetransmits = 8

// Initiator makes a handshake as the side that begins (RFC 9260, Section 5.1).
type Initiator struct {
	offer  Offer
	timers Timers
	terms  Terms
	own    []byte // key vector

	packet []byte // INIT or COOKIE ECHO, sent again until answered
	init   []byte
	echoed bool // COOKIE ECHO was sent
	send   bool // packet is to be sent

	rto   time.Duration
	at    time.Time // when packet is sent again
	times int

	last []byte // the packet with the COOKIE ACK
	done bool
	err  error
	// Drops counts what was not taken for an answer.
	Drops Drops
}

// NewInitiator begins a handshake from one port to another. The tag, which
// must not be 0, and the seed are random.
func NewInitiator(now time.Time, offer Offer, timers Timers, localPort, peerPort uint16, tag uint32, seed [32]byte) *Initiator {
	i := &Initiator{offer: offer, timers: timers, rto: timers.RTOInitial, send: true, at: now.Add(timers.RTOInitial)}
	r := rand.NewChaCha8(seed)
	var random [wire.RandomLen]byte
	_, _ = r.Read(random[:]) // never fails
	i.terms = Terms{LocalPort: localPort, PeerPort: peerPort, LocalTag: tag, LocalTSN: uint32(r.Uint64())}
	i.own = ownVector(offer, random[:])
	init := wire.Init{Tag: tag, Window: offer.Window, Out: offer.Out, In: offer.In, TSN: i.terms.LocalTSN}
	b := wire.Header{Src: localPort, Dst: peerPort}.Append(nil)
	b = wire.BeginChunk(b, wire.INIT, 0)
	b = appendOffer(init.AppendFixed(b), offer, random[:])
	b = wire.EndChunk(b, wire.HeaderLen)
	wire.SetChecksum(b)
	i.init, i.packet = b, b
	return i
}

// LocalTag is the tag that answers bear.
func (i *Initiator) LocalTag() uint32 { return i.terms.LocalTag }

// Packet takes the packet that is to be sent now, appended to b.
func (i *Initiator) Packet(b []byte) ([]byte, bool) {
	if !i.send {
		return b, false
	}
	i.send = false
	return append(b, i.packet...), true
}

// Next is when Advance has something to do.
func (i *Initiator) Next() time.Time { return i.at }

// Advance lets time pass (T1-init and T1-cookie, RFC 9260, Section 5.1).
func (i *Initiator) Advance(now time.Time) {
	if i.done || now.Before(i.at) {
		return
	}
	if i.times++; i.times > maxInitRetransmits {
		i.fail(ErrNoAnswer)
		return
	}
	i.rto = min(2*i.rto, i.timers.RTOMax)
	i.at, i.send = now.Add(i.rto), true
}

func (i *Initiator) fail(err error) {
	if !i.done {
		i.done, i.err, i.send = true, err, false
	}
}

// Result tells whether the handshake is over, what it settled, and its last
// packet, which the Association's Inbound takes: there may be DATA in it.
func (i *Initiator) Result() (t *Terms, last []byte, done bool, err error) {
	return &i.terms, i.last, i.done, i.err
}

// Receive takes a packet whose checksum is right and whose ports are these.
func (i *Initiator) Receive(now time.Time, packet []byte) {
	h, ok := wire.ParseHeader(packet)
	switch {
	case i.done:
		return
	case !ok || !wire.WellFormed(packet):
		i.Drops[DropMalformed]++
		return
	case h.Tag != i.terms.LocalTag:
		i.Drops[DropTag]++
		return
	}
	w := wire.WalkChunks(packet)
	var c wire.Chunk
	w.Next(&c)
	if c.Type == wire.Auth && i.echoed {
		// The Association checks it; before there is one, nothing but the
		// COOKIE ACK matters, which is not taken only authenticated.
		w.Next(&c)
	}
	switch c.Type {
	case wire.InitAck:
		i.takeInitAck(now, &c, len(w.Rest()) > 0)
	case wire.CookieAck:
		if !i.echoed {
			i.Drops[DropUnexpected]++
			return
		}
		i.done, i.send, i.last = true, false, bytes.Clone(packet)
	case wire.Abort:
		if c.Flags&wire.FlagT != 0 {
			// It would have to bear the peer's tag.
			i.Drops[DropTag]++
			return
		}
		cause, info := wire.FirstCause(c.Value)
		e := &RefusedError{Cause: cause}
		if cause == wire.CauseUserAbort || cause == wire.CauseViolation {
			e.Text = printable(info)
		}
		i.fail(e)
	case wire.ErrorChunk:
		i.takeError(now, &c)
	default:
		// Anything else means that a COOKIE ACK was lost or is late; it will
		// be asked for again.
		i.Drops[DropUnexpected]++
	}
}

// takeError begins anew when the cookie has become too old (RFC 9260, Section
// 5.2.6, alternative 1); no more often than it would have retransmitted.
func (i *Initiator) takeError(now time.Time, c *wire.Chunk) {
	if cause, _ := wire.FirstCause(c.Value); cause != wire.CauseStaleCookie || !i.echoed {
		i.Drops[DropUnexpected]++
		return
	}
	if i.times++; i.times > maxInitRetransmits {
		i.fail(ErrNoAnswer)
		return
	}
	i.echoed, i.packet, i.send = false, i.init, true
	i.at = now.Add(i.rto)
}

func (i *Initiator) takeInitAck(now time.Time, c *wire.Chunk, bundled bool) {
	if i.echoed {
		// RFC 9260, Section 5.2.3: an INIT ACK in any other state than
		// COOKIE-WAIT is discarded.
		i.Drops[DropUnexpected]++
		return
	}
	ack, ok := wire.ParseInit(c.Value)
	if !ok || bundled {
		i.Drops[DropMalformed]++
		return
	}
	var reported [128]byte
	o, err := wire.ParseOptions(ack.Params, reported[:0])
	switch {
	case errors.Is(err, wire.ErrAuthParams):
		i.refuse(ack.Tag, wire.CauseViolation, "SCTP-AUTH parameters")
		return
	case err != nil:
		i.Drops[DropMalformed]++
		return
	case ack.Tag == 0 || ack.Out == 0 || ack.In == 0:
		// RFC 9260, Section 3.3.3: no association can be had so.
		i.refuse(ack.Tag, wire.CauseInvalidParam, "")
		return
	case o.Cookie == nil:
		i.refuse(ack.Tag, wire.CauseMissingParam, "\x00\x00\x00\x01\x00\x07")
		return
	}
	i.terms = settle(i.terms, i.offer, i.own, &ack, &o)
	if i.offer.Auth && i.terms.Auth == nil {
		i.refuse(ack.Tag, wire.CauseUserAbort, "SCTP-AUTH is required")
		i.err = ErrPeerNoAuth
		return
	}
	b := i.header(ack.Tag)
	b = wire.AppendChunk(b, wire.CookieEcho, 0, o.Cookie)
	if len(o.Unrecognized) > 0 {
		// RFC 9260, Section 3.2.2: reported in an ERROR with the COOKIE ECHO.
		at := len(b)
		b = wire.BeginChunk(b, wire.ErrorChunk, 0)
		b = wire.EndChunk(wire.AppendCause(b, wire.CauseUnrecognizedParam, o.Unrecognized), at)
	}
	keys := newKeyring(i.terms.Auth)
	b = keys.seal(b, keys.active)
	wire.SetChecksum(b)
	i.packet, i.echoed, i.send = b, true, true
	i.rto, i.times = i.timers.RTOInitial, 0
	i.at = now.Add(i.rto)
}

func (i *Initiator) header(tag uint32) []byte {
	return wire.Header{Src: i.terms.LocalPort, Dst: i.terms.PeerPort, Tag: tag}.Append(nil)
}

// refuse ends the handshake with an ABORT.
func (i *Initiator) refuse(tag uint32, cause wire.Cause, info string) {
	i.fail(fmt.Errorf("%w: INIT ACK refused, cause %d", ErrHandshake, cause))
	i.packet = abortPacket(wire.Header{Src: i.terms.LocalPort, Dst: i.terms.PeerPort, Tag: tag}, 0, cause, info, nil)
	i.send = tag != 0
}

// Abandon gives the handshake up; the peer is told if it can know of it.
func (i *Initiator) Abandon() {
	if i.done {
		return
	}
	i.fail(ErrHandshake)
	if i.echoed {
		i.packet = abortPacket(wire.Header{Src: i.terms.LocalPort, Dst: i.terms.PeerPort, Tag: i.terms.PeerTag},
			0, wire.CauseUserAbort, "", nil)
		i.send = true
	}
}

// abortPacket writes a packet of one ABORT to b.
func abortPacket(h wire.Header, flags byte, cause wire.Cause, info string, b []byte) []byte {
	start := len(b)
	b = h.Append(b)
	at := len(b)
	b = wire.BeginChunk(b, wire.Abort, flags)
	if cause != 0 {
		b = wire.AppendCause(b, cause, []byte(info))
	}
	b = wire.EndChunk(b, at)
	wire.SetChecksum(b[start:])
	return b
}
