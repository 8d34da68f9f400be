package shim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// A state cookie holds what the responder would have to remember of an INIT
// (RFC 9260, Section 5.1.3):
//
//	+-----------+---------+-----------------+-----------+----------+
//	| version 1 | flags 1 | generation 2    | created 8, Unix ms   |
//	+-----------+---------+-----------------+-----------+----------+
//	| local tag | peer's tag | local TSN | peer's TSN | window      |  4 each
//	+-----------+------------+-----------+------------+------------+
//	| out | in  | local port | peer's port (2 each) | address 16   |
//	+-----------+------------+-----------+----------+--------------+
//	| tie tags, local and peer's 4 each  | key vector of the peer  |
//	+------------------------------------+-------------------------+
//	| MAC 16                                                       |
//
// Our own random number is not in it: it follows from the secret and the
// cookie.
type cookie struct {
	created    time.Time
	generation uint16
	terms      Terms // without Auth
	peer       netip.Addr
	tieLocal   uint32
	tiePeer    uint32
	vector     []byte // the peer's key vector
}

const (
	cookieVersion   = 1
	cookieFixed     = 12 + 20 + 8 + 16 + 8
	cookieMAC       = 16
	cookieForward   = 1 // flag: the peer understands FORWARD TSN
	maxCookieVector = 512
)

func (c *cookie) append(b []byte, secret []byte) []byte {
	start := len(b)
	flags := byte(0)
	if c.terms.ForwardTSN {
		flags |= cookieForward
	}
	b = append(b, cookieVersion, flags)
	b = binary.BigEndian.AppendUint16(b, c.generation)
	b = binary.BigEndian.AppendUint64(b, uint64(c.created.UnixMilli()))
	t := &c.terms
	for _, v := range [...]uint32{t.LocalTag, t.PeerTag, t.LocalTSN, t.PeerTSN, t.PeerWindow} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	for _, v := range [...]uint16{t.Out, t.In, t.LocalPort, t.PeerPort} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	addr := c.peer.As16()
	b = append(b, addr[:]...)
	b = binary.BigEndian.AppendUint32(b, c.tieLocal)
	b = binary.BigEndian.AppendUint32(b, c.tiePeer)
	b = append(b, c.vector...)
	return append(b, cookieSum(b[start:], secret)...)
}

func cookieSum(b, secret []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("cookie"))
	m.Write(b)
	return m.Sum(nil)[:cookieMAC]
}

// parse reads a cookie whose generation's secret is given by secrets (nil: no
// longer known); false when it is not ours.
func (c *cookie) parse(b []byte, secrets func(generation uint16) []byte) bool {
	if len(b) < cookieFixed+cookieMAC || len(b) > cookieFixed+maxCookieVector+cookieMAC || b[0] != cookieVersion {
		return false
	}
	c.generation = binary.BigEndian.Uint16(b[2:])
	secret := secrets(c.generation)
	body := b[:len(b)-cookieMAC]
	if secret == nil || !hmac.Equal(b[len(body):], cookieSum(body, secret)) {
		return false
	}
	c.created = time.UnixMilli(int64(binary.BigEndian.Uint64(b[4:])))
	t := &c.terms
	t.ForwardTSN = b[1]&cookieForward != 0
	b = b[12:]
	for i, v := range [...]*uint32{&t.LocalTag, &t.PeerTag, &t.LocalTSN, &t.PeerTSN, &t.PeerWindow} {
		*v = binary.BigEndian.Uint32(b[4*i:])
	}
	b = b[20:]
	for i, v := range [...]*uint16{&t.Out, &t.In, &t.LocalPort, &t.PeerPort} {
		*v = binary.BigEndian.Uint16(b[2*i:])
	}
	c.peer = netip.AddrFrom16([16]byte(b[8:24])).Unmap()
	c.tieLocal = binary.BigEndian.Uint32(b[24:])
	c.tiePeer = binary.BigEndian.Uint32(b[28:])
	c.vector = b[32 : len(b)-cookieMAC]
	return true
}

// random is our random number for SCTP-AUTH in the handshake that a cookie
// stands for.
func (c *cookie) random(secret []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("random"))
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(c.created.UnixMilli()))
	binary.BigEndian.PutUint32(b[8:], c.terms.LocalTag)
	binary.BigEndian.PutUint32(b[12:], c.terms.LocalTSN)
	m.Write(b[:])
	return m.Sum(nil)
}

// auth rebuilds what SCTP-AUTH rests on.
func (c *cookie) auth(offer Offer, secret []byte) *AuthTerms {
	if !offer.Auth || len(c.vector) == 0 {
		return nil
	}
	o, err := wire.ParseOptions(unpadded(c.vector), nil)
	if err != nil {
		return nil
	}
	peer := wire.Init{In: 1, Out: 1}
	return settle(Terms{}, offer, ownVector(offer, c.random(secret)), &peer, &o).Auth
}

// unpadded turns a key vector, whose parameters stand without padding, into
// parameters.
func unpadded(vector []byte) (params []byte) {
	for len(vector) >= 4 {
		n := int(binary.BigEndian.Uint16(vector[2:]))
		if n < 4 || n > len(vector) {
			return nil
		}
		params = wire.Pad(append(params, vector[:n]...))
		vector = vector[n:]
	}
	return params
}
