package record

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
)

// Type is a record's content type.
type Type uint8

// Content types (RFC 5246, Section 6.2.1; RFC 6520; RFC 9146).
const (
	ChangeCipherSpec Type = 20
	Alert            Type = 21
	Handshake        Type = 22
	ApplicationData  Type = 23
	Heartbeat        Type = 24
	ConnectionID     Type = 25 // the outer type of a record under a Connection ID
)

const (
	// HeaderLen is a record header without a Connection ID.
	HeaderLen = 13
	// MaxContent is the most content one record carries (RFC 5246, Section
	// 6.2.1).
	MaxContent = 1 << 14

	epoch       = 1
	versionHigh = 0xFE
	versionLow  = 0xFD
	maxSequence = 1<<48 - 1
	tagLen      = 16
	explicitLen = 8 // GCM's part of the nonce that travels
	maxCID      = 255
	// maxSealed bounds what claims to be a record (RFC 5246, Section 6.2.3).
	maxSealed = MaxContent + 2048
)

var (
	// ErrMalformed: the octets are no record of this association's form.
	ErrMalformed = errors.New("malformed record")
	// ErrEpoch: a record of another epoch; epoch 0 is plaintext.
	ErrEpoch = errors.New("record of another epoch")
	// ErrReplayed: the sequence number was seen or is older than the window.
	ErrReplayed = errors.New("replayed record")
	// ErrMAC: the record is not authentic.
	ErrMAC = errors.New("record not authentic")
	// ErrExhausted: all sequence numbers are used; the association must end
	// (RFC 6347, Section 4.1).
	ErrExhausted = errors.New("sequence numbers exhausted")
	// ErrTooLarge: more content than a record may carry.
	ErrTooLarge = errors.New("content too large for a record")
)

// direction holds one direction's key and scratch space; the scratch lives
// here because what is passed to an AEAD escapes.
type direction struct {
	aead   cipher.AEAD
	chacha bool
	iv     [12]byte
	nonce  [12]byte
	cid    []byte
	aad    []byte // HeaderLen octets, or 23 and the CID with one
}

func (d *direction) init(p parameters, key, iv, cid []byte) (err error) {
	d.chacha = p.chacha
	copy(d.iv[:], iv)
	d.nonce = d.iv
	d.cid = append([]byte(nil), cid...)
	if len(cid) == 0 {
		d.aad = make([]byte, HeaderLen)
	} else {
		// RFC 9146, Section 5.3: placeholder, type, CID length, type, version,
		// epoch and sequence, CID, inner length.
		d.aad = make([]byte, 8+1+1+1+2+8+len(cid)+2)
		copy(d.aad, "\xff\xff\xff\xff\xff\xff\xff\xff")
		d.aad[8], d.aad[9], d.aad[10] = byte(ConnectionID), byte(len(cid)), byte(ConnectionID)
		d.aad[11], d.aad[12] = versionHigh, versionLow
		copy(d.aad[21:], cid)
	}
	d.aead, err = p.aead(key)
	return err
}

// overhead is what a record adds to its content, the header included.
func (d *direction) overhead() int {
	n := HeaderLen + len(d.cid) + tagLen
	if !d.chacha {
		n += explicitLen
	}
	if len(d.cid) > 0 {
		n++ // the inner content type
	}
	return n
}

// prepare sets additional data and, for ChaCha20 (RFC 7905, Section 2) and
// our own GCM records, the nonce. es is epoch and sequence number.
func (d *direction) prepare(t Type, es uint64, length int) {
	if len(d.cid) > 0 {
		binary.BigEndian.PutUint64(d.aad[13:], es)
	} else {
		binary.BigEndian.PutUint64(d.aad, es)
		d.aad[8], d.aad[9], d.aad[10] = byte(t), versionHigh, versionLow
	}
	binary.BigEndian.PutUint16(d.aad[len(d.aad)-2:], uint16(length))
	if d.chacha {
		binary.BigEndian.PutUint64(d.nonce[4:], binary.BigEndian.Uint64(d.iv[4:])^es)
	} else {
		binary.BigEndian.PutUint64(d.nonce[4:], es)
	}
}

// Header is what a record says of itself before anything is proven.
type Header struct {
	Type     Type
	Epoch    uint16
	Sequence uint64
}

// Next cuts the first record off a datagram and reads its header. cidLen is
// the length of the Connection ID that records of type 25 carry. ok is false
// when what remains is no record.
func Next(b []byte, cidLen int) (h Header, rec, rest []byte, ok bool) {
	n := HeaderLen
	if len(b) < n {
		return h, nil, nil, false
	}
	h.Type = Type(b[0])
	if h.Type == ConnectionID {
		n += cidLen
		if len(b) < n {
			return h, nil, nil, false
		}
	}
	size := int(binary.BigEndian.Uint16(b[n-2:]))
	if b[1] != versionHigh || size > maxSealed || size > len(b)-n {
		return h, nil, nil, false
	}
	es := binary.BigEndian.Uint64(b[3:])
	h.Epoch, h.Sequence = uint16(es>>48), es&maxSequence
	return h, b[: n+size : n+size], b[n+size:], true
}
