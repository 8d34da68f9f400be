package record

import (
	"bytes"
	"encoding/binary"
)

// An Opener authenticates and opens what the peer sends. It is not safe for
// concurrent use.
type Opener struct {
	direction
	replay window
	newest bool
}

// CIDLen is the length of the Connection ID the peer's records carry.
func (o *Opener) CIDLen() int { return len(o.cid) }

// Newest reports whether the record opened last has the highest sequence
// number so far: only such a one may move the peer's address (RFC 9146,
// Section 6).
func (o *Opener) Newest() bool { return o.newest }

// Open checks one record, as Next cut it off, and opens it in place: content
// aliases rec. Nothing about the association changes unless the record is
// authentic.
func (o *Opener) Open(rec []byte) (t Type, content []byte, err error) {
	h, _, rest, ok := Next(rec, len(o.cid))
	if !ok || len(rest) > 0 || rec[2] != versionLow {
		return 0, nil, ErrMalformed
	}
	if h.Epoch != epoch {
		return 0, nil, ErrEpoch
	}
	n := HeaderLen
	if len(o.cid) > 0 {
		// With a negotiated CID every protected record must carry it
		// (RFC 9146, Section 3).
		n += len(o.cid)
		if h.Type != ConnectionID || !bytes.Equal(rec[11:11+len(o.cid)], o.cid) {
			return 0, nil, ErrMalformed
		}
	} else if h.Type == ConnectionID {
		return 0, nil, ErrMalformed
	}
	if !o.replay.fresh(h.Sequence) {
		return 0, nil, ErrReplayed
	}
	body := rec[n:]
	overhead := tagLen
	if !o.chacha {
		overhead += explicitLen
	}
	if len(body) < overhead || len(body)-overhead > MaxContent+1024 {
		return 0, nil, ErrMalformed
	}
	o.prepare(h.Type, binary.BigEndian.Uint64(rec[3:]), len(body)-overhead)
	if !o.chacha {
		// A peer may choose its explicit nonce freely (RFC 5288, Section 3).
		copy(o.nonce[4:], body[:explicitLen])
		body = body[explicitLen:]
	}
	content, err = o.aead.Open(body[:0], o.nonce[:], body, o.aad)
	if err != nil {
		return 0, nil, ErrMAC
	}
	o.newest = o.replay.mark(h.Sequence)
	t = h.Type
	if t == ConnectionID {
		// The real type stands behind the content, before the zeros that pad
		// (RFC 9146, Section 4).
		content = bytes.TrimRight(content, "\x00")
		if len(content) == 0 {
			return 0, nil, ErrMalformed
		}
		t, content = Type(content[len(content)-1]), content[:len(content)-1]
	}
	if len(content) > MaxContent {
		return 0, nil, ErrMalformed
	}
	return t, content, nil
}
