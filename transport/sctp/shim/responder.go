package shim

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// cookieLife is how long a state cookie is good (RFC 9260, Section 16).
const cookieLife = 60 * time.Second

// Responder answers handshakes on one port without keeping anything of them
// until the COOKIE ECHO comes back (RFC 9260, Sections 5.1 and 5.2).
type Responder struct {
	offer Offer
	port  uint16
	rand  *rand.ChaCha8

	secrets    [2][32]byte // by generation & 1
	generation uint16
	rotated    time.Time

	used  map[uint32]struct{} // local tags of cookies that became associations
	order ring[usedCookie]
}

type usedCookie struct {
	tag uint32
	at  time.Time
}

// maxUsed bounds the cookies that are remembered as used.
const maxUsed = 8192

// NewResponder answers for a port. The seed is random.
func NewResponder(now time.Time, offer Offer, port uint16, seed [32]byte) *Responder {
	r := &Responder{offer: offer, port: port, rand: rand.NewChaCha8(seed), used: make(map[uint32]struct{})}
	r.rotate(now)
	r.rotate(now)
	return r
}

// rotate makes a new secret; the one before it is still good for cookies.
func (r *Responder) rotate(now time.Time) {
	r.generation++
	_, _ = r.rand.Read(r.secrets[r.generation&1][:]) // never fails
	r.rotated = now
}

func (r *Responder) secret(generation uint16) []byte {
	if generation != r.generation && generation != r.generation-1 {
		return nil
	}
	return r.secrets[generation&1][:]
}

// Existing is the association that the sender of a packet has already, by
// address and ports or by tag; the zero value: none.
type Existing struct {
	LocalTag, PeerTag uint32
}

// Init answers an INIT with an INIT ACK, or an ABORT, appended to b; with
// nothing and the reason if it deserves none. existing is by address and ports.
func (r *Responder) Init(now time.Time, from netip.Addr, packet []byte, existing Existing, b []byte) (_ []byte, drop Drop, ok bool) {
	h, _ := wire.ParseHeader(packet)
	w := wire.WalkChunks(packet)
	var c wire.Chunk
	if h.Tag != 0 || !w.Next(&c) || c.Type != wire.INIT || len(w.Rest()) > 0 {
		// An INIT comes alone and with a tag of 0 (RFC 9260, Section 8.5.1).
		return b, DropInit, false
	}
	init, ok := wire.ParseInit(c.Value)
	if !ok || init.Tag == 0 {
		return b, DropInit, false
	}
	back := wire.Header{Src: h.Dst, Dst: h.Src, Tag: init.Tag}
	var reported [128]byte
	o, err := wire.ParseOptions(init.Params, reported[:0])
	switch {
	case errors.Is(err, wire.ErrAuthParams):
		return abortPacket(back, 0, wire.CauseViolation, "SCTP-AUTH parameters", b), DropInit, true
	case err != nil:
		return b, DropInit, false
	case init.Out == 0 || init.In == 0:
		// RFC 9260, Section 3.3.2.
		return abortPacket(back, 0, wire.CauseInvalidParam, "", b), DropInit, true
	case o.HostName:
		// RFC 9260, Section 3.3.2.1.4: a host name is not resolved.
		return abortPacket(back, 0, wire.CauseUnresolvable, "", b), DropInit, true
	case r.offer.Auth && (o.Random == nil || chooseHMAC(o.HMACs) == 0):
		return abortPacket(back, 0, wire.CauseUserAbort, "SCTP-AUTH is required", b), DropInit, true
	}
	return r.ack(now, from, back, &init, &o, existing, b), 0, true
}

func (r *Responder) ack(now time.Time, from netip.Addr, back wire.Header, init *wire.Init, o *wire.Options, existing Existing, b []byte) []byte {
	if now.Sub(r.rotated) >= cookieLife {
		r.rotate(now)
	}
	secret := r.secret(r.generation)
	k := cookie{
		created:    now,
		generation: r.generation,
		peer:       from,
		tieLocal:   existing.LocalTag,
		tiePeer:    existing.PeerTag,
		terms: settle(Terms{
			LocalPort: back.Src, PeerPort: back.Dst,
			LocalTag: r.tag(), LocalTSN: uint32(r.rand.Uint64()),
		}, r.offer, nil, init, o),
	}
	if r.offer.Auth {
		k.vector = wire.AppendKeyVector(nil, o.Random, o.ChunkList, o.HMACs)
	}
	mine := wire.Init{Tag: k.terms.LocalTag, Window: r.offer.Window, Out: r.offer.Out, In: r.offer.In, TSN: k.terms.LocalTSN}
	start := len(b)
	b = back.Append(b)
	at := len(b)
	b = mine.AppendFixed(wire.BeginChunk(b, wire.InitAck, 0))
	p := len(b)
	b = append(b, 0, byte(wire.ParamCookie), 0, 0)
	b = k.append(b, secret)
	binary.BigEndian.PutUint16(b[p+2:], uint16(len(b)-p))
	b = wire.Pad(b)
	b = appendOffer(b, r.offer, k.random(secret))
	if len(o.Unrecognized) > 0 {
		b = wire.AppendParam(b, wire.ParamUnrecognized, o.Unrecognized)
	}
	b = wire.EndChunk(b, at)
	wire.SetChecksum(b[start:])
	return b
}

func (r *Responder) tag() uint32 {
	for {
		if t := uint32(r.rand.Uint64()); t != 0 {
			return t
		}
	}
}

// EchoResult says what a COOKIE ECHO means.
type EchoResult uint8

const (
	EchoDrop      EchoResult = iota // nothing: the Drop tells why
	EchoNew                         // an association is to be opened
	EchoRestart                     // one is to be opened in the place of that by address
	EchoDuplicate                   // that by tag answers it again
	EchoStale                       // the cookie is too old: the reply says so
)

// Echo takes a COOKIE ECHO and tells the terms of the association that it
// opens. byTag is the association that has the packet's tag, byAddress the one
// of the sender's address and ports.
func (r *Responder) Echo(now time.Time, from netip.Addr, packet []byte, byTag, byAddress Existing, b []byte) (t Terms, result EchoResult, reply []byte, drop Drop) {
	h, _ := wire.ParseHeader(packet)
	w := wire.WalkChunks(packet)
	var auth, c wire.Chunk
	if !w.Next(&c) {
		return t, EchoDrop, b, DropMalformed
	}
	signed := []byte(nil)
	if c.Type == wire.Auth {
		auth, signed = c, w.Rest()
		w.Next(&c)
	}
	var k cookie
	if c.Type != wire.CookieEcho || !k.parse(c.Value, r.secret) {
		return t, EchoDrop, b, DropCookie
	}
	t = k.terms
	if t.LocalTag != h.Tag || t.PeerPort != h.Src || t.LocalPort != h.Dst || k.peer != from.Unmap() {
		return t, EchoDrop, b, DropCookie
	}
	t.LocalWindow = r.offer.Window
	t.Auth = k.auth(r.offer, r.secret(k.generation))
	if signed != nil {
		// RFC 4895, Section 6.3: authenticated by what the cookie holds.
		keys := newKeyring(t.Auth)
		if keys.verify(&auth, signed) != authentic {
			return t, EchoDrop, b, DropMAC
		}
	}
	if result, drop = r.judge(now, &k, byTag, byAddress); result == EchoStale {
		return t, result, r.stale(now, h, &k, b), drop
	}
	if result == EchoNew || result == EchoRestart {
		r.use(now, t.LocalTag)
	}
	return t, result, b, drop
}

// judge follows RFC 9260, Sections 5.1.5 and 5.2.4, Table 12, for a side that
// never begins a handshake on the same port.
func (r *Responder) judge(now time.Time, k *cookie, byTag, byAddress Existing) (EchoResult, Drop) {
	t := &k.terms
	if byTag.LocalTag == t.LocalTag {
		if byTag.PeerTag == t.PeerTag {
			return EchoDuplicate, 0 // case D, however old the cookie
		}
		return EchoDrop, DropCookie
	}
	if _, again := r.used[t.LocalTag]; again {
		return EchoDrop, DropCookie
	}
	if age := now.Sub(k.created); age > cookieLife || age < -time.Second {
		return EchoStale, DropCookie
	}
	if byAddress == (Existing{}) {
		return EchoNew, 0
	}
	if k.tieLocal == byAddress.LocalTag && k.tiePeer == byAddress.PeerTag && byAddress.PeerTag != t.PeerTag {
		return EchoRestart, 0 // case A
	}
	return EchoDrop, DropCookie // case C and all that the table does not show
}

// stale reports how much too old a cookie is, in microseconds (RFC 9260,
// Section 3.3.10.3).
func (r *Responder) stale(now time.Time, h wire.Header, k *cookie, b []byte) []byte {
	over := min(max(now.Sub(k.created)-cookieLife, 0).Microseconds(), 1<<32-1)
	start := len(b)
	b = wire.Header{Src: h.Dst, Dst: h.Src, Tag: k.terms.PeerTag}.Append(b)
	at := len(b)
	b = wire.BeginChunk(b, wire.ErrorChunk, 0)
	b = wire.AppendCause(b, wire.CauseStaleCookie, binary.BigEndian.AppendUint32(nil, uint32(over)))
	b = wire.EndChunk(b, at)
	wire.SetChecksum(b[start:])
	return b
}

// use remembers a cookie, so that one sent again later opens nothing.
func (r *Responder) use(now time.Time, tag uint32) {
	for r.order.len() > 0 && (r.order.len() == maxUsed || now.Sub(r.order.at(0).at) > 2*cookieLife) {
		delete(r.used, r.order.at(0).tag)
		r.order.pop()
	}
	r.used[tag] = struct{}{}
	*r.order.push() = usedCookie{tag, now}
}

// Forget makes a cookie good again: its association was not opened after all,
// for want of room.
func (r *Responder) Forget(localTag uint32) { delete(r.used, localTag) }

// AnswerEcho sends the COOKIE ACK.
func (a *Association) AnswerEcho() {
	a.out.add(a, func(b []byte) []byte { return wire.AppendChunk(b, wire.CookieAck, 0, nil) })
}

// OutOfTheBlue answers a well-formed packet of no association, that is no INIT
// and no COOKIE ECHO, appended to b (RFC 9260, Section 8.4).
func OutOfTheBlue(packet, b []byte) ([]byte, bool) {
	h, _ := wire.ParseHeader(packet)
	h.Src, h.Dst = h.Dst, h.Src
	w := wire.WalkChunks(packet)
	answer := wire.Abort
	for c := (wire.Chunk{}); w.Next(&c); {
		switch c.Type {
		case wire.Abort, wire.ShutdownComplete, wire.CookieAck, wire.INIT:
			// No answer to these, lest two hosts answer each other for ever.
			return b, false
		case wire.ErrorChunk:
			if cause, _ := wire.FirstCause(c.Value); cause == wire.CauseStaleCookie {
				return b, false
			}
		case wire.ShutdownAck:
			answer = wire.ShutdownComplete
		}
	}
	start := len(b)
	b = wire.AppendChunk(h.Append(b), answer, wire.FlagT, nil)
	wire.SetChecksum(b[start:])
	return b, true
}

// RefuseInit answers an INIT to a port where nobody listens (RFC 9260, Section
// 8.4, rule 3).
func RefuseInit(packet, b []byte) ([]byte, bool) {
	h, _ := wire.ParseHeader(packet)
	w := wire.WalkChunks(packet)
	var c wire.Chunk
	if h.Tag != 0 || !w.Next(&c) || c.Type != wire.INIT || len(w.Rest()) > 0 {
		return b, false
	}
	init, ok := wire.ParseInit(c.Value)
	if !ok || init.Tag == 0 {
		return b, false
	}
	return abortPacket(wire.Header{Src: h.Dst, Dst: h.Src, Tag: init.Tag}, 0, 0, "", b), true
}
