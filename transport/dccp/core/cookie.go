package core

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"io"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// cookies seals Init Cookies (RFC 4340, Section 8.1.4): what a server must know
// of a Request and of its Response to make the connection when the client has
// proven that it is where it says. Layout, sealed with AES-GCM over all but the
// first 13 octets, with the Tuple as additional data:
//
//	key 1 | nonce 12 | time 4 | ISR 6 | ISS 6 | service 4 | options of the Request | tag 16
type cookies struct {
	rand io.Reader
	// keys are the present and the one before; their numbers alternate.
	keys    [2]cipher.AEAD
	present int
	since   time.Time
	epoch   time.Time
	count   uint64
	salt    uint32
	buf     []byte
}

const (
	// cookieLife is how long a cookie is good for, and a key is used to seal.
	cookieLife  = 2 * time.Minute
	cookieHead  = 1 + 12
	cookieFixed = 4 + 6 + 6 + 4
	cookieTag   = 16
	// maxCookieOptions is what of a Request fits one option.
	maxCookieOptions = wire.MaxOptionData - cookieHead - cookieFixed - cookieTag
)

// baked is what a cookie holds.
type baked struct {
	isr, iss wire.Seq
	service  wire.ServiceCode
	options  []byte
}

func (k *cookies) rotate(now time.Time) error {
	if !k.since.IsZero() && now.Sub(k.since) < cookieLife {
		return nil
	}
	var key [16]byte
	var salt [4]byte
	if _, err := io.ReadFull(k.rand, key[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(k.rand, salt[:]); err != nil {
		return err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	if k.since.IsZero() {
		k.epoch = now
	} else if now.Sub(k.since) >= 2*cookieLife {
		k.keys[k.present] = nil // nothing sealed with it can still be good
	}
	k.present = 1 - k.present
	k.keys[k.present], k.salt, k.count, k.since = aead, binary.BigEndian.Uint32(salt[:]), 0, now
	return nil
}

// seal appends a cookie to b.
func (k *cookies) seal(now time.Time, b []byte, t *Tuple, v *baked) ([]byte, error) {
	if err := k.rotate(now); err != nil {
		return b, err
	}
	// A counter never repeats under one key.
	k.count++
	var nonce [12]byte
	binary.BigEndian.PutUint32(nonce[:], k.salt)
	binary.BigEndian.PutUint64(nonce[4:], k.count)
	k.buf = t.append(k.buf[:0])
	aad := len(k.buf)
	k.buf = binary.BigEndian.AppendUint32(k.buf, uint32(now.Sub(k.epoch)/time.Second))
	k.buf = append48(k.buf, v.isr)
	k.buf = append48(k.buf, v.iss)
	k.buf = binary.BigEndian.AppendUint32(k.buf, uint32(v.service))
	k.buf = append(k.buf, v.options...)
	b = append(append(b, byte(k.present)), nonce[:]...)
	return k.keys[k.present].Seal(b, nonce[:], k.buf[aad:], k.buf[:aad]), nil
}

func append48(b []byte, s wire.Seq) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(s>>32))
	return binary.BigEndian.AppendUint32(b, uint32(s))
}

// open reads a cookie; false if it was not sealed here, for this tuple, within
// its life. The options are valid until the next call.
func (k *cookies) open(now time.Time, cookie []byte, t *Tuple) (baked, bool) {
	if len(cookie) < cookieHead+cookieFixed+cookieTag || cookie[0] > 1 || k.keys[cookie[0]] == nil {
		return baked{}, false
	}
	k.buf = t.append(k.buf[:0])
	aad := len(k.buf)
	plain, err := k.keys[cookie[0]].Open(k.buf, cookie[1:cookieHead], cookie[cookieHead:], k.buf)
	if err != nil {
		return baked{}, false
	}
	k.buf = plain
	plain = plain[aad:]
	made := k.epoch.Add(time.Duration(binary.BigEndian.Uint32(plain)) * time.Second)
	if now.Sub(made) > cookieLife {
		return baked{}, false
	}
	return baked{
		isr:     wire.Seq(wire.Uint(plain[4:10])),
		iss:     wire.Seq(wire.Uint(plain[10:16])),
		service: wire.ServiceCode(binary.BigEndian.Uint32(plain[16:])),
		options: plain[cookieFixed:],
	}, true
}
