package shim

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// noPPID is what the engine is told of a payload protocol identifier that
// leaves no room for the U bit beside it.
const noPPID = 0x7FFFFFFF

// unorderedPPID marks, towards the engine, what came unordered; the engine
// itself does not tell.
const unorderedPPID = 0x80000000

// ReadMessage turns what the engine has read into what the peer sent: the data
// without its trailer, which aliases b, the payload protocol identifier and
// whether it came unordered. An identifier above 2^31-1 is told as 2^31-1.
func ReadMessage(b []byte, engine uint32) (data []byte, ppid uint32, unordered bool) {
	if n := len(b) - trailerLen; n >= 0 {
		data = b[:max(n-int(binary.BigEndian.Uint16(b[n:])), 0)]
	}
	return data, engine &^ unorderedPPID, engine&unorderedPPID != 0
}

// A DATA chunk costs the engine memory and time whatever its size, and it
// counts nothing but user data against the receive buffer. So that a peer
// cannot have more chunks kept than a buffer is worth, the last chunk of a
// message is filled up to leastChunk octets for the engine: zeros, and a
// trailer of two octets that counts them.
const (
	leastChunk = 256
	trailerLen = 2
	// EngineTrailer is how much longer than the message the engine's may be.
	EngineTrailer = leastChunk
	// leastFragment is the least user data of any other chunk. Those are cut
	// to fill packets (RFC 9260, Section 6.9), and no path is so narrow.
	leastFragment = 64
)

// MaxEntries is how many DATA chunks an engine needs to keep for a receive
// buffer of so many octets.
func MaxEntries(window uint32) uint32 { return max(window/leastChunk, 64) }

var zeros [leastChunk]byte

// appendEngineData writes DATA for the engine, with the trailer if it is a
// message's last chunk.
func appendEngineData(b []byte, d *wire.Data) []byte {
	at := len(b)
	b = d.Append(b)
	if d.Flags&wire.FlagEnd == 0 {
		return b
	}
	b = b[:at+wire.DataHeaderLen+len(d.User)]
	fill := max(leastChunk-trailerLen-len(d.User), 0)
	b = append(b, zeros[:fill]...)
	b = binary.BigEndian.AppendUint16(b, uint16(fill))
	return wire.EndChunk(b, at)
}

// engineDataLen is what appendEngineData adds, at most.
func engineDataLen(user int) int {
	return wire.Padded(wire.DataHeaderLen + max(user+trailerLen, leastChunk))
}

// Inbound takes a packet of the wire whose checksum is right and whose tag and
// ports are this association's; its tag may be the peer's where a chunk with
// the T bit comes first. What concerns the engine is written to b, over what
// b holds, as one packet; nothing is if that stays empty. A large packet
// becomes several for the engine: Resume is called until it returns nothing.
// The packet has to stay as it is until then.
func (a *Association) Inbound(now time.Time, packet, b []byte) []byte {
	a.walk, a.kept = wire.Chunks{}, false
	h, ok := wire.ParseHeader(packet)
	if !ok || !wire.WellFormed(packet) {
		a.drops[DropMalformed]++
		return b[:0]
	}
	if a.hold(packet) {
		return b[:0]
	}
	a.walk = wire.WalkChunks(packet)
	a.authenticated, a.reported, a.reflected = false, false, h.Tag != a.terms.LocalTag
	return a.Resume(now, b)
}

// Resume goes on with the packet of the last Inbound.
func (a *Association) Resume(now time.Time, b []byte) []byte {
	b = wire.Header{Src: EnginePort, Dst: EnginePort, Tag: a.terms.LocalTag}.Append(b[:0])
	for a.end.Reason == EndNone && (a.kept || a.walk.Next(&a.chunk)) {
		a.kept = false
		var more bool
		if b, more = a.take(now, b); !more {
			break
		}
	}
	if len(b) == wire.HeaderLen {
		return b[:0]
	}
	return b
}

// stop discards the rest of the packet.
func (a *Association) stop(d Drop) {
	a.drops[d]++
	a.walk = wire.Chunks{}
}

// take deals with one chunk; more says whether to go on.
func (a *Association) take(now time.Time, b []byte) (_ []byte, more bool) {
	c := &a.chunk
	if a.reflected {
		a.takeReflected(c)
		return b, true
	}
	if t := a.terms.Auth; t != nil && !a.authenticated && t.Mine.Has(c.Type) {
		// RFC 4895, Section 6.3: silently discarded when not behind an AUTH.
		a.drops[DropUnauthenticated]++
		return b, true
	}
	switch c.Type {
	case wire.DATA:
		return a.takeData(b, c)
	case wire.SACKChunk:
		return a.takeSACK(now, b, c), true
	case wire.ForwardTSN:
		return a.takeForward(b, c), true
	case wire.Heartbeat:
		a.answerBeat(c)
	case wire.HeartbeatAck:
		a.takeBeatAck(now, c)
	case wire.Auth:
		a.takeAuth(c)
	case wire.Shutdown:
		return a.takeShutdown(now, b, c), true
	case wire.ShutdownAck:
		if !a.shutdownSent && !a.shutdownAckSent {
			a.drops[DropUnexpected]++
			return b, true
		}
		a.shutdownAckSeen = true
		return wire.AppendView(b, c, 0), true
	case wire.ShutdownComplete:
		a.takeComplete(c, false)
	case wire.Abort:
		a.takeAbort(c, false)
	case wire.ErrorChunk, wire.CookieEcho, wire.CookieAck:
		// An ERROR ends nothing; a late COOKIE ECHO or COOKIE ACK belongs to
		// the handshake that is over (RFC 9260, Sections 5.2.5 and 8.4).
	case wire.INIT, wire.InitAck:
		// RFC 9260, Sections 5.2.3 and 8.5.1.
		a.drops[DropUnexpected]++
	default:
		a.unknown(c)
	}
	return b, true
}

// takeData hands DATA on, marked where it came unordered.
func (a *Association) takeData(b []byte, c *wire.Chunk) (_ []byte, more bool) {
	d, ok := wire.ParseData(c)
	switch {
	case !ok:
		a.drops[DropMalformed]++
		return b, true
	case len(d.User) == 0:
		// RFC 9260, Sections 6.2 and 3.3.10.9: abort.
		a.violation(wire.CauseNoUserData, binary.BigEndian.AppendUint32(nil, d.TSN), "DATA without user data")
		return b, false
	case d.Flags&wire.FlagEnd == 0 && len(d.User) < leastFragment:
		a.drops[DropMalformed]++
		a.violation(wire.CauseViolation, []byte("tiny fragment"), "tiny fragment")
		return b, false
	case len(b)+engineDataLen(len(d.User)) > EngineMaxPacket:
		if len(b) > wire.HeaderLen {
			a.kept = true
			return b, false
		}
		a.drops[DropOversized]++
		a.violation(wire.CauseOutOfResource, nil, "DATA chunk of almost 8 KiB or more")
		return b, false
	case d.Stream >= a.terms.In:
		// RFC 9260, Section 6.5: acknowledged, reported, discarded.
		a.drops[DropStream]++
		a.report(wire.CauseInvalidStream, binary.BigEndian.AppendUint32(nil, uint32(d.Stream)<<16))
		d.Stream, d.SSN, d.PPID, d.User = SinkStream, 0, 0, d.User[:1]
		d.Flags |= wire.FlagBegin | wire.FlagEnd | wire.FlagUnordered
	}
	if d.PPID >= unorderedPPID {
		d.PPID = noPPID
	}
	if d.Flags&wire.FlagUnordered != 0 {
		d.PPID |= unorderedPPID
	}
	a.touch(d.Stream)
	return appendEngineData(b, &d), true
}

func (a *Association) touch(stream uint16) {
	if !slices.Contains(a.touched, stream) {
		a.touched = append(a.touched, stream)
	}
}

// Touched appends the streams on which something came for the engine since the
// last call. When the engine has dealt with the packets, messages may be ready
// there.
func (a *Association) Touched(streams []uint16) []uint16 {
	streams = append(streams, a.touched...)
	a.touched = a.touched[:0]
	return streams
}

func (a *Association) takeSACK(now time.Time, b []byte, c *wire.Chunk) []byte {
	s, ok := wire.ParseSACK(c.Value)
	if !ok {
		a.drops[DropMalformed]++
		return b
	}
	r := a.sent.sack(now, &s)
	switch {
	case !r.valid:
		a.drops[DropSACK]++
		return b
	case r.stale:
		return b
	}
	// A receiver that has no room answers probes without acknowledging them:
	// that is no failure (RFC 9260, Section 6.1, rule A).
	a.acknowledged(now, r, s.Window == 0)
	if len(b)+len(c.Raw) > EngineMaxPacket {
		a.drops[DropOversized]++
		return b
	}
	return wire.AppendView(b, c, 0)
}

func (a *Association) acknowledged(now time.Time, r ackResult, full bool) {
	if r.rtt > 0 {
		a.path.sample(r.rtt)
	}
	if (r.progress || full) && a.path.alive(now) {
		a.tell(EventPathUp)
	}
	a.keys.settled(a.sent.settled())
	a.path.outstanding(now, a.sent.fragments.len() > 0, r.progress || full)
	if a.sent.skip() {
		a.forward(now)
	}
}

// takeForward hands a FORWARD TSN on without the streams that do not exist.
func (a *Association) takeForward(b []byte, c *wire.Chunk) []byte {
	f, ok := wire.ParseForward(c.Value)
	if !ok || len(b)+len(c.Raw) > EngineMaxPacket {
		a.drops[DropMalformed]++
		return b
	}
	at := len(b)
	b = wire.BeginChunk(b, wire.ForwardTSN, 0)
	b = binary.BigEndian.AppendUint32(b, f.Cumulative)
	for i := range f.Streams() {
		stream, ssn := f.Stream(i)
		if stream >= a.terms.In {
			a.drops[DropStream]++
			continue
		}
		a.touch(stream)
		b = binary.BigEndian.AppendUint16(b, stream)
		b = binary.BigEndian.AppendUint16(b, ssn)
	}
	return wire.EndChunk(b, at)
}

// answerBeat sends a HEARTBEAT's information back as it came (RFC 9260,
// Section 8.3).
func (a *Association) answerBeat(c *wire.Chunk) {
	a.out.add(a, func(b []byte) []byte { return wire.AppendChunk(b, wire.HeartbeatAck, 0, c.Value) })
}

func (a *Association) takeBeatAck(now time.Time, c *wire.Chunk) {
	nonce, ok := beatNonce(c.Value)
	if ok {
		var up bool
		if ok, up = a.path.answered(now, nonce); up {
			a.tell(EventPathUp)
		}
	}
	if !ok {
		a.drops[DropUnexpected]++
	}
}

func (a *Association) takeAuth(c *wire.Chunk) {
	if a.authenticated {
		// One AUTH a packet (RFC 4895, Section 5.1).
		a.stop(DropMalformed)
		return
	}
	switch a.keys.verify(c, a.walk.Rest()) {
	case authentic:
		a.authenticated = true
	case forged:
		a.stop(DropMAC)
	case keyUnknown:
		a.stop(DropKey)
	case algorithmUnknown:
		if v, ok := wire.ParseAuth(c); ok {
			a.report(wire.CauseUnsupportedHMAC, binary.BigEndian.AppendUint16(nil, v.HMAC))
		}
		a.stop(DropHMAC)
	case noAuth:
		a.stop(DropUnknown)
	}
}

const (
	// maxHeld bounds the packets that wait for a key, which the peer may use
	// a moment before we have it.
	maxHeld = 8
)

// hold keeps a packet that is authenticated under the next key (RFC 6083,
// Section 4.8): the peer has changed keys, we are about to.
func (a *Association) hold(packet []byte) bool {
	if a.terms.Auth == nil || a.end.Reason != EndNone {
		return false
	}
	id, ok := authKey(packet)
	if !ok || a.keys.find(id) != nil || !a.keys.next(id) || len(a.held) == maxHeld {
		return false
	}
	a.held = append(a.held, bytes.Clone(packet))
	return true
}

// authKey is the key of the packet's first AUTH chunk.
func authKey(packet []byte) (id uint16, ok bool) {
	w := wire.WalkChunks(packet)
	for c := (wire.Chunk{}); w.Next(&c); {
		if c.Type == wire.Auth {
			v, ok := wire.ParseAuth(&c)
			return v.Key, ok
		}
	}
	return 0, false
}

// unknown does what the high bits of the chunk's type ask for (RFC 9260,
// Section 3.2).
func (a *Association) unknown(c *wire.Chunk) {
	if c.Type.Report() {
		a.report(wire.CauseUnrecognizedChunk, c.Raw)
	}
	if c.Type.Skip() {
		a.drops[DropUnknown]++
		return
	}
	a.stop(DropUnknown)
}

// maxReported bounds what is sent back of an unknown chunk.
const maxReported = 256

// report sends an ERROR, at most one for a packet, so that it answers no
// faster than it is asked.
func (a *Association) report(cause wire.Cause, info []byte) {
	if a.reported || len(info) > maxReported {
		a.drops[DropSuppressed]++
		return
	}
	a.reported = true
	a.out.add(a, func(b []byte) []byte {
		at := len(b)
		b = wire.BeginChunk(b, wire.ErrorChunk, 0)
		return wire.EndChunk(wire.AppendCause(b, cause, info), at)
	})
}
