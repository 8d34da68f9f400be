package dtls

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"reflect"
	"time"
	"unsafe"

	pion "github.com/pion/dtls/v3"

	"ipfixsuite/transport/dtls/record"
)

const (
	cookieLen = 20
	// cookieLife is how long a key makes cookies; it accepts them as long
	// again.
	cookieLife = 5 * time.Minute
)

// cookies makes and checks the cookies of HelloVerifyRequest without keeping
// anything per client (RFC 6347, Section 4.2.1).
type cookies struct {
	key, last [32]byte
	renewed   time.Time
}

// turn replaces the key when it is old.
func (c *cookies) turn(now time.Time) {
	if !c.renewed.IsZero() && now.Sub(c.renewed) < cookieLife {
		return
	}
	if c.last = c.key; c.renewed.IsZero() {
		rand.Read(c.last[:])
	}
	rand.Read(c.key[:])
	c.renewed = now
}

// cookie covers the client's address and what must not change between its
// two hellos.
func cookie(key []byte, peer netip.AddrPort, h hello) [cookieLen]byte {
	mac := hmac.New(sha256.New, key)
	var head [32]byte
	b := peer.Addr().As16()
	n := copy(head[:], b[:])
	binary.BigEndian.PutUint16(head[n:], peer.Port())
	head[n+2], head[n+3] = byte(len(h.sessionID)), byte(len(h.methods))
	mac.Write(head[:n+4])
	mac.Write(h.random)
	mac.Write(h.sessionID)
	mac.Write(h.methods)
	mac.Write(h.suites)
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	return [cookieLen]byte(sum[:])
}

func (c *cookies) valid(peer netip.AddrPort, h hello) bool {
	if len(h.cookie) != cookieLen {
		return false
	}
	now, before := cookie(c.key[:], peer, h), cookie(c.last[:], peer, h)
	return hmac.Equal(h.cookie, now[:]) || hmac.Equal(h.cookie, before[:])
}

// appendVerifyRequest appends the datagram that answers the ClientHello in
// rec. It is smaller than any ClientHello, so it amplifies nothing.
func (c *cookies) appendVerifyRequest(dst []byte, rec []byte, f fragment, peer netip.AddrPort, h hello) []byte {
	k := cookie(c.key[:], peer, h)
	const body = 2 + 1 + cookieLen
	// DTLS 1.0 in version says nothing about what will be negotiated; the
	// record takes the ClientHello's sequence number (RFC 6347, Section 4.2.1).
	dst = append(dst, byte(record.Handshake), 0xFE, 0xFF)
	dst = append(dst, rec[3:11]...)
	dst = binary.BigEndian.AppendUint16(dst, handshakeHeaderLen+body)
	dst = append(dst, typeHelloVerifyRequest, 0, 0, body, byte(f.seq>>8), byte(f.seq), 0, 0, 0, 0, 0, body)
	dst = append(dst, 0xFE, 0xFF, cookieLen)
	return append(dst, k[:]...)
}

// withoutCookie rebuilds the client's first ClientHello from its second: the
// same but for the cookie (RFC 6347, Section 4.2.1), with message number 0.
// pion wants to see it, and to answer with a cookie of its own.
func withoutCookie(rec []byte, f fragment, h hello) []byte {
	body := make([]byte, 0, len(f.body))
	body = append(body, f.body[:h.cookieAt]...)
	body = append(body, 0)
	body = append(body, f.body[h.cookieAt+1+len(h.cookie):]...)
	n := len(body)
	out := append([]byte(nil), rec[:record.HeaderLen]...)
	// The record number of a client's first record, which we answered and pion
	// never saw: any later one may be that of a record still to come, which
	// pion would then take for a replay.
	first := byte(0)
	if bytes.Equal(out[5:11], make([]byte, 6)) {
		first = 1
	}
	copy(out[5:11], []byte{0, 0, 0, 0, 0, first})
	binary.BigEndian.PutUint16(out[11:], uint16(handshakeHeaderLen+n))
	out = append(out, typeClientHello, byte(n>>16), byte(n>>8), byte(n), 0, 0, 0, 0, 0, byte(n>>16), byte(n>>8), byte(n))
	return append(out, body...)
}

// cookieField finds the cookie that pion demands from the client, which it
// draws at random when a handshake starts. Only by putting the cookie there
// that the client has already proven can the first ClientHello be answered
// without state: a handshake's transcript numbers its messages, so the exchange
// cannot be hidden from pion. It returns nil when pion no longer has the
// field; a test holds that the pinned version does.
func cookieField(c *pion.Conn) *[]byte {
	state := reflect.ValueOf(c).Elem().FieldByName("state")
	if !state.IsValid() || state.Kind() != reflect.Struct {
		return nil
	}
	field := state.FieldByName("cookie")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]byte]() {
		return nil
	}
	return (*[]byte)(unsafe.Pointer(field.UnsafeAddr()))
}
