package userspace

import (
	"net/netip"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

// receive finds a packet its receiver (RFC 9260, Sections 8.4 and 8.5).
func (s *Socket) receive(now time.Time, d *transport.Datagram) {
	s.packets.Add(1)
	s.bytes.Add(uint64(len(d.Data)))
	h, ok := wire.ParseHeader(d.Data)
	if !ok || h.Src == 0 || h.Dst == 0 {
		s.drops.add(shim.DropMalformed)
		return
	}
	if !wire.ChecksumOK(d.Data) {
		s.drops.add(shim.DropChecksum)
		return
	}
	key := peerKey{d.Peer, h.Dst, h.Src}
	s.mu.RLock()
	r := s.tags[h.Tag]
	near := s.peers[key]
	s.mu.RUnlock()
	switch first := wire.FirstType(d.Data); {
	case h.Tag == 0:
		s.receiveInit(now, d, h, near)
	case r != nil && !echo(first, d.Data):
		r.deliver(now, d.Data, d)
	case echo(first, d.Data):
		s.receiveEcho(now, d, h, r, near)
	case near != nil && h.Tag == near.terms.PeerTag:
		// ABORT and SHUTDOWN COMPLETE may reflect the peer's tag.
		near.deliver(now, d.Data, d)
	default:
		s.stray(now, d)
	}
}

// echo tells whether a packet begins with a COOKIE ECHO, authenticated or not.
func echo(first wire.ChunkType, packet []byte) bool {
	switch first {
	case wire.CookieEcho:
		return true
	case wire.Auth:
		w := wire.WalkChunks(packet)
		var c wire.Chunk
		w.Next(&c)
		return w.Next(&c) && c.Type == wire.CookieEcho
	}
	return false
}

// stray answers a packet of no association.
func (s *Socket) stray(now time.Time, d *transport.Datagram) {
	s.drops.add(shim.DropTag)
	if !wire.WellFormed(d.Data) {
		return
	}
	if !s.strays.Allow(now, d.Peer.Addr()) {
		s.drops.add(shim.DropSuppressed)
		return
	}
	if b, ok := shim.OutOfTheBlue(d.Data, s.scratch[:0]); ok {
		s.scratch = b
		s.reply(b, d)
	}
}

// reply sends what is in the reader's buffer to where d came from.
func (s *Socket) reply(b []byte, d *transport.Datagram) {
	if !s.out.put(append(take(len(b)), b...), d.Peer, d.Local, false) {
		s.drops.add(shim.DropQueue)
	}
}

func (s *Socket) listener(port uint16) *acceptor {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ports[port]
}

func (s *Socket) receiveInit(now time.Time, d *transport.Datagram, h wire.Header, near *association) {
	if !wire.WellFormed(d.Data) {
		s.drops.add(shim.DropMalformed)
		return
	}
	if !s.handshakes.Allow(now, d.Peer.Addr()) {
		s.limited.Add(1)
		s.drops.add(shim.DropLimited)
		return
	}
	l := s.listener(h.Dst)
	if l == nil {
		s.drops.add(shim.DropInit)
		if b, ok := shim.RefuseInit(d.Data, s.scratch[:0]); ok {
			s.scratch = b
			s.reply(b, d)
		}
		return
	}
	var at shim.Existing
	if near != nil {
		at = near.existing()
	}
	b, drop, ok := l.responder.Init(now, d.Peer.Addr(), d.Data, at, s.scratch[:0])
	s.scratch = b
	if !ok || drop != 0 {
		s.refused.Add(1)
		s.drops.add(shim.DropInit)
	}
	if ok {
		s.reply(b, d)
	}
}

// receiveEcho opens the association that a COOKIE ECHO proves to be wanted.
func (s *Socket) receiveEcho(now time.Time, d *transport.Datagram, h wire.Header, r receiver, near *association) {
	if !wire.WellFormed(d.Data) {
		s.drops.add(shim.DropMalformed)
		return
	}
	// No limit stands before the cookie: whoever forges them in somebody's name
	// would use that up, and it takes one MAC to see that one is not ours.
	l := s.listener(h.Dst)
	if l == nil {
		s.drops.add(shim.DropCookie)
		return
	}
	var byTag, byAddress shim.Existing
	if r != nil {
		byTag = r.existing()
	}
	if near != nil {
		byAddress = near.existing()
	}
	t, result, b, drop := l.responder.Echo(now, d.Peer.Addr(), d.Data, byTag, byAddress, s.scratch[:0])
	s.scratch = b
	switch result {
	case shim.EchoDrop:
		s.drops.add(drop)
	case shim.EchoStale:
		s.drops.add(drop)
		s.reply(b, d)
	case shim.EchoDuplicate:
		if a, ok := r.(*association); ok {
			a.answerEcho(now)
			a.deliver(now, d.Data, d)
		}
	case shim.EchoNew, shim.EchoRestart:
		if !l.open(now, t, d, near) {
			// The peer sends it again, and there may be room then.
			l.responder.Forget(t.LocalTag)
		}
	}
}

// room tells whether one more association from a source is within the limits;
// s.mu is held.
func (s *Socket) room(source netip.Addr) bool {
	return !s.closed && s.total < s.cfg.MaxAssociations && s.counts[shim.Prefix(source)] < s.cfg.MaxPerPrefix
}

// enrol makes an association known; s.mu is held.
func (s *Socket) enrol(a *association) {
	s.tags[a.terms.LocalTag] = a
	s.peers[a.key] = a
	s.total++
	s.counts[shim.Prefix(a.key.udp.Addr())]++
}

// dismiss forgets an association that has ended.
func (s *Socket) dismiss(a *association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tags[a.terms.LocalTag] != receiver(a) {
		return
	}
	delete(s.tags, a.terms.LocalTag)
	if s.peers[a.key] == a {
		delete(s.peers, a.key)
	}
	s.total--
	prefix := shim.Prefix(a.key.udp.Addr())
	if s.counts[prefix]--; s.counts[prefix] == 0 {
		delete(s.counts, prefix)
	}
}

// moved notes that a peer's packets come from another UDP port (RFC 6951,
// Section 5.4).
func (s *Socket) moved(a *association, to netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tags[a.terms.LocalTag] != receiver(a) {
		return
	}
	if s.peers[a.key] == a {
		delete(s.peers, a.key)
	}
	a.key.udp = to
	if s.peers[a.key] == nil {
		s.peers[a.key] = a
	}
}
