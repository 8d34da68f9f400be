package shim

import (
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// Outbound takes a packet of the engine and returns what goes on the wire,
// written to b over what b holds; nothing if that stays empty. A packet has one
// key: what messages of another bring follows by Packet.
func (a *Association) Outbound(now time.Time, packet, b []byte) []byte {
	b = b[:0]
	if a.end.Reason != EndNone || len(packet) < wire.HeaderLen+wire.ChunkHeaderLen {
		return b
	}
	b = a.header(b)
	sent, out := false, false // DATA that went on, and that was taken out
	var first []byte          // packet, when there are several
	key, keyed := a.keys.active, false
	w := wire.WalkChunks(packet)
	for c := (wire.Chunk{}); w.Next(&c); {
		switch c.Type {
		case wire.DATA:
			d, ok := wire.ParseData(&c)
			what := lost
			if ok {
				if k := a.keys.of(a.sent.message(d.TSN)); k != key {
					if keyed {
						first, b = a.another(first, b, key)
					}
					key, keyed = k, false
				}
				what = a.sent.transmit(now, &d)
			}
			switch what {
			case passOn:
				b = d.Append(b)
				sent, keyed = true, true
			case takeOut:
				out = true
			case lost:
				a.Abort("internal error")
				a.end.Reason = EndEngine
				return b[:0]
			}
		case wire.SACKChunk:
			b = wire.AppendView(b, &c, 0)
			if v, ok := wire.ParseSACK(c.Value); ok {
				a.windowShut = v.Window == 0 && v.Gaps() == 0
				a.engineHolds = int(a.terms.LocalWindow - min(v.Window, a.terms.LocalWindow))
			}
		case wire.Shutdown, wire.ShutdownAck:
			b = wire.AppendView(b, &c, 0)
			a.closing(now, c.Type)
		case wire.ShutdownComplete:
			b = wire.AppendView(b, &c, 0)
			a.finish(End{Reason: EndShutdown, ByPeer: a.shutdownSeen})
		case wire.Abort:
			b = wire.AppendView(b, &c, 0)
			cause, info := wire.FirstCause(c.Value)
			a.finish(End{Reason: EndViolation, Cause: cause, Text: printable(info)})
		default:
			// Nothing else of the engine is fit for the wire: its heartbeats
			// are empty, the handshake and FORWARD TSN are ours.
		}
	}
	if sent {
		a.path.outstanding(now, true, false)
	}
	if out && a.end.Reason == EndNone && a.sent.skip() {
		a.forward(now)
	}
	switch {
	case first != nil:
		_, b = a.another(first, b, key)
		a.out.free = append(a.out.free, b)
		return first
	case len(b) == wire.HeaderLen:
		return b[:0]
	}
	return a.dispatch(b, key)
}

// another ends a packet and begins the next one, which goes out behind it.
func (a *Association) another(first, b []byte, key *sharedKey) (_, next []byte) {
	switch {
	case first == nil:
		first = a.dispatch(b, key)
	case len(b) == wire.HeaderLen: // all of it was taken out
		return first, b
	default:
		a.out.push(a, a.dispatch(b, key))
	}
	return first, a.header(a.out.buffer())
}

// closing counts SHUTDOWN and SHUTDOWN ACK that had to be sent again as
// timeouts (RFC 9260, Section 9.2); one sent again for another reason, because
// DATA came, follows at once.
func (a *Association) closing(now time.Time, t wire.ChunkType) {
	first := t == wire.Shutdown && !a.shutdownSent || t == wire.ShutdownAck && !a.shutdownAckSent
	if t == wire.Shutdown {
		a.shutdownSent = true
	} else {
		a.shutdownAckSent = true
	}
	a.path.close()
	if !first && now.Sub(a.closingAt) >= a.path.rto/2 {
		a.news(a.path.failed())
	}
	a.closingAt = now
}

// WindowShut tells whether the engine's last SACK said that it has no room and
// misses nothing: if there is nothing to read then either, it holds the
// beginning of a message that will never fit.
func (a *Association) WindowShut() bool { return a.windowShut }

// EngineHolds is what the engine has received and nobody has read yet, in
// octets, by its last SACK; nothing that matters after the end.
func (a *Association) EngineHolds() int {
	if a.end.Reason != EndNone {
		return 0
	}
	return a.engineHolds
}

// forward sends a FORWARD TSN for what is given up, anew for the same point
// only after half an RTO: the engine's attempts to retransmit bring us here
// until the peer has acknowledged it (RFC 3758, Section 3.5, F1 to F3).
func (a *Association) forward(now time.Time) {
	if a.forwardTo == a.sent.advanced && now.Sub(a.forwardAt) < a.path.rto/2 {
		return
	}
	a.forwardTo, a.forwardAt = a.sent.advanced, now
	room := a.cfg.MaxPacket - wire.HeaderLen - a.terms.Auth.overhead()
	a.out.add(a, func(b []byte) []byte { return a.sent.appendForward(b, room) })
	a.path.outstanding(now, true, false)
}
