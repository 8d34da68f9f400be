package dtls

import (
	"bytes"
	"encoding/binary"
	"slices"

	"ipfixsuite/transport/dtls/record"
)

// Handshake message types (RFC 6347, Section 4.3.2).
const (
	typeHelloRequest       = 0
	typeClientHello        = 1
	typeServerHello        = 2
	typeHelloVerifyRequest = 3
	typeCertificate        = 11
	typeServerKeyExchange  = 12
	typeCertificateRequest = 13
	typeServerHelloDone    = 14
	typeCertificateVerify  = 15
	typeClientKeyExchange  = 16
	typeFinished           = 20
)

const (
	handshakeHeaderLen = 12
	// maxHandshakeMessage bounds a message's claimed length: a certificate
	// chain of some ten certificates.
	maxHandshakeMessage = 1 << 16
	// maxHello bounds a hello kept for reassembly.
	maxHello = 1 << 13
	// maxHelloParts bounds the messages under reassembly: a hello before and
	// one after HelloVerifyRequest, and retries.
	maxHelloParts = 4
	// maxPieces bounds what is noted of a handshake's progress.
	maxPieces = 256
)

// fragment is one handshake message or a piece of one.
type fragment struct {
	typ    uint8
	seq    uint16
	length int // of the whole message
	offset int
	body   []byte
}

func (f fragment) whole() bool { return f.offset == 0 && len(f.body) == f.length }

// nextFragment reads the first handshake fragment in a record's content.
func nextFragment(b []byte) (f fragment, rest []byte, ok bool) {
	if len(b) < handshakeHeaderLen {
		return f, nil, false
	}
	uint24 := func(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }
	f = fragment{typ: b[0], length: uint24(b[1:]), seq: binary.BigEndian.Uint16(b[4:]), offset: uint24(b[6:])}
	n := uint24(b[9:])
	b = b[handshakeHeaderLen:]
	if n > len(b) || f.length > maxHandshakeMessage || f.offset+n > f.length {
		return f, nil, false
	}
	f.body = b[:n:n]
	return f, b[n:], true
}

// expected reports whether a side may be sent a message of this type. What it
// may not be sent never reaches the handshake.
func expected(typ uint8, client bool) bool {
	switch typ {
	case typeServerHello, typeHelloVerifyRequest, typeServerKeyExchange, typeCertificateRequest, typeServerHelloDone:
		return client
	case typeClientHello, typeClientKeyExchange, typeCertificateVerify:
		return !client
	case typeCertificate, typeFinished:
		return true
	}
	return false
}

// hello is what is read of a ClientHello or ServerHello. Slices alias the
// message.
type hello struct {
	random     []byte
	sessionID  []byte
	cookie     []byte // ClientHello only
	suites     []byte // ClientHello: the list; ServerHello: the one
	methods    []byte
	extensions []byte
	cookieAt   int // offset of the cookie's length octet
}

// parseHello reads the body of a ClientHello or ServerHello.
func parseHello(b []byte, client bool) (h hello, ok bool) {
	at := 34 // version and random
	if len(b) < at {
		return h, false
	}
	h.random = b[2:34]
	vector := func(width int) []byte {
		if len(b)-at < width {
			at = len(b) + 1
			return nil
		}
		n := int(b[at])
		if width == 2 {
			n = n<<8 | int(b[at+1])
		}
		at += width
		if at+n > len(b) {
			at = len(b) + 1
			return nil
		}
		at += n
		return b[at-n : at : at]
	}
	take := func(n int) []byte {
		if at+n > len(b) {
			at = len(b) + 1
			return nil
		}
		at += n
		return b[at-n : at : at]
	}
	h.sessionID = vector(1)
	if at > len(b) || len(h.sessionID) > 32 {
		return h, false
	}
	if client {
		h.cookieAt = at
		if h.cookie = vector(1); at > len(b) {
			return h, false
		}
		if h.suites = vector(2); at > len(b) || len(h.suites)%2 != 0 {
			return h, false
		}
		h.methods = vector(1)
	} else {
		if h.suites = take(2); at > len(b) {
			return h, false
		}
		h.methods = take(1)
	}
	if at > len(b) {
		return h, false
	}
	if at == len(b) {
		return h, true // no extensions at all
	}
	h.extensions = vector(2)
	return h, at == len(b)
}

// extension returns the data of the first extension of type t.
func (h hello) extension(t uint16) (data []byte, ok bool) {
	for b := h.extensions; len(b) >= 4; {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if 4+n > len(b) {
			return nil, false
		}
		if binary.BigEndian.Uint16(b) == t {
			return b[4 : 4+n : 4+n], true
		}
		b = b[4+n:]
	}
	return nil, false
}

// reassembly puts one handshake message together from fragments in any order
// (RFC 6347, Section 4.2.3).
type reassembly struct {
	seq  uint16
	body []byte
	have []span // disjoint, sorted
	done bool
}

type span struct{ from, to int }

// add takes one fragment and reports whether the message just became whole.
func (r *reassembly) add(f fragment) bool {
	if r.done || len(r.body) != f.length {
		return false
	}
	copy(r.body[f.offset:], f.body)
	s := span{f.offset, f.offset + len(f.body)}
	merged := make([]span, 0, len(r.have)+1)
	for _, h := range r.have {
		if h.to < s.from || s.to < h.from {
			merged = append(merged, h)
			continue
		}
		s = span{min(s.from, h.from), max(s.to, h.to)}
	}
	merged = append(merged, s)
	r.have = merged
	slices.SortFunc(r.have, func(a, b span) int { return a.from - b.from })
	// Overlapping slivers must not grow the list: give up on such a message.
	if len(r.have) > 64 {
		r.have = nil
	}
	r.done = len(r.have) == 1 && r.have[0] == span{0, f.length}
	return r.done
}

// sniffer reads the peer's hello out of the handshake records that pass:
// pion keeps no extension it does not know.
type sniffer struct {
	client bool // this side is the client: the hello is a ServerHello
	parts  []*reassembly
	hello  hello
	seen   bool
	verify []byte // the HelloVerifyRequest that was passed on
	known  []piece
}

// piece names what of a handshake has come.
type piece struct {
	seq, typ       uint16
	offset, length int
}

// verdict is what becomes of a plaintext handshake record.
type verdict uint8

const (
	passed    verdict = iota
	malformed         // nothing that this side may be sent
	familiar          // passed on, but nothing new
	repeated          // a HelloVerifyRequest that is known, or comes too late
	contrary          // one with another cookie
)

// record takes the content of one plaintext handshake record.
func (s *sniffer) record(content []byte) verdict {
	if len(content) == 0 {
		return malformed
	}
	v := familiar
	for all := content; len(content) > 0; {
		f, rest, ok := nextFragment(content)
		if !ok || !expected(f.typ, s.client) {
			return malformed
		}
		content = rest
		switch f.typ {
		case typeClientHello, typeServerHello:
			s.fragment(f)
		case typeHelloVerifyRequest:
			// It comes alone, and is never in fragments. Anybody can write
			// one; which of two is genuine, nobody can tell.
			switch {
			case !f.whole() || len(rest) > 0 || len(f.body) != len(all)-handshakeHeaderLen:
				return malformed
			case s.seen || bytes.Equal(s.verify, f.body):
				return repeated
			case s.verify != nil:
				return contrary
			}
			s.verify = bytes.Clone(f.body)
		}
		p := piece{f.seq, uint16(f.typ), f.offset, len(f.body)}
		if len(s.known) < maxPieces && !slices.Contains(s.known, p) {
			s.known = append(s.known, p)
			v = passed
		}
	}
	return v
}

// plausible reports whether a datagram begins with what a handshake may have
// use for; all else is not to take up room while it waits. The drop tells why
// not.
func plausible(b []byte, client bool) (drop, bool) {
	h, rec, _, ok := record.Next(b, 0)
	if !ok {
		// A record under a Connection ID of unknown length.
		if len(b) > record.HeaderLen && record.Type(b[0]) == record.ConnectionID {
			return 0, true
		}
		return dropMalformed, false
	}
	content := rec[record.HeaderLen:]
	switch {
	case h.Epoch > 1:
		return dropEpoch, false
	case h.Epoch == 1:
		return 0, true
	case h.Type == record.Handshake:
		f, _, ok := nextFragment(content)
		return dropMalformed, ok && expected(f.typ, client)
	case h.Type == record.ChangeCipherSpec:
		return dropMalformed, len(content) == 1
	case h.Type == record.Alert:
		return dropMalformed, len(content) == 2
	}
	return dropPlaintext, false
}

func (s *sniffer) fragment(f fragment) {
	if f.length > maxHello {
		return
	}
	i := slices.IndexFunc(s.parts, func(r *reassembly) bool { return r.seq == f.seq && len(r.body) == f.length })
	if i < 0 {
		if len(s.parts) == maxHelloParts {
			s.parts = slices.Delete(s.parts, 0, 1)
		}
		s.parts = append(s.parts, &reassembly{seq: f.seq, body: make([]byte, f.length)})
		i = len(s.parts) - 1
	}
	if r := s.parts[i]; r.add(f) {
		// The last hello that is whole counts: the one after HelloVerifyRequest.
		if h, ok := parseHello(r.body, !s.client); ok {
			s.hello, s.seen = h, true
		}
	}
}

// clientHello reads a datagram's record as an unfragmented ClientHello.
func clientHello(rec []byte) (f fragment, h hello, ok bool) {
	f, rest, ok := nextFragment(rec[record.HeaderLen:])
	if !ok || len(rest) > 0 || f.typ != typeClientHello || !f.whole() {
		return f, h, false
	}
	h, ok = parseHello(f.body, true)
	return f, h, ok
}
