package wire

import (
	"bytes"
	"encoding/binary"
)

// AuthHeaderLen is what stands before an AUTH chunk's MAC, the chunk header
// included (RFC 4895, Section 5.1):
//
//	+-------+-------+---------------+
//	| 15    | 0     | length        |
//	+-------+-------+---------------+
//	| key identifier| HMAC identif. |
//	+---------------+---------------+
//	| MAC over this chunk with a MAC of zeros and all chunks behind it
const AuthHeaderLen = ChunkHeaderLen + 4

// HMAC identifiers (RFC 4895, Section 3.3).
const (
	HMACSHA1   uint16 = 1
	HMACSHA256 uint16 = 3
)

// AuthChunk is a view of an AUTH chunk.
type AuthChunk struct {
	Key, HMAC uint16
	MAC       []byte
}

// ParseAuth reads an AUTH chunk.
func ParseAuth(c *Chunk) (a AuthChunk, ok bool) {
	if len(c.Value) < AuthHeaderLen-ChunkHeaderLen {
		return a, false
	}
	return AuthChunk{
		Key:  binary.BigEndian.Uint16(c.Value),
		HMAC: binary.BigEndian.Uint16(c.Value[2:]),
		MAC:  c.Value[4:],
	}, true
}

// AppendAuthHeader writes an AUTH chunk up to its MAC of size octets, which
// follows.
func AppendAuthHeader(b []byte, key, hmac uint16, size int) []byte {
	b = append(b, byte(Auth), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(AuthHeaderLen+size))
	b = binary.BigEndian.AppendUint16(b, key)
	return binary.BigEndian.AppendUint16(b, hmac)
}

// AppendKeyVector writes one side's key vector: its RANDOM, CHUNKS and
// HMAC-ALGO parameters in this order without padding, those left out that were
// not sent (RFC 4895, Section 6.1).
func AppendKeyVector(b, random, chunkList, hmacs []byte) []byte {
	if random != nil {
		b = AppendBareParam(b, ParamRandom, random)
	}
	if chunkList != nil {
		b = AppendBareParam(b, ParamChunkList, chunkList)
	}
	if hmacs != nil {
		b = AppendBareParam(b, ParamHMACs, hmacs)
	}
	return b
}

// AppendAssociationKey writes the shared key, then the key vector that is
// smaller as a number, then the other; of two equal numbers the shorter vector
// comes first (RFC 4895, Section 6.1).
func AppendAssociationKey(b, shared, own, peer []byte) []byte {
	if !vectorLess(own, peer) {
		own, peer = peer, own
	}
	b = append(b, shared...)
	b = append(b, own...)
	return append(b, peer...)
}

func vectorLess(a, b []byte) bool {
	x, y := bytes.TrimLeft(a, "\x00"), bytes.TrimLeft(b, "\x00")
	if len(x) != len(y) {
		return len(x) < len(y)
	}
	if c := bytes.Compare(x, y); c != 0 {
		return c < 0
	}
	return len(a) < len(b)
}

// ChunkSet is a set of chunk types.
type ChunkSet [4]uint64

// Has tells whether t is in the set.
func (s *ChunkSet) Has(t ChunkType) bool { return s[t>>6]&(1<<(t&63)) != 0 }

// Add puts a CHUNKS parameter's types in. Four types are never authenticated
// and ignored in a list (RFC 4895, Section 3.2, MUST).
func (s *ChunkSet) Add(list []byte) {
	for _, t := range list {
		switch ChunkType(t) {
		case INIT, InitAck, ShutdownComplete, Auth:
			continue
		}
		s[t>>6] |= 1 << (t & 63)
	}
}

// Types lists the set in order.
func (s *ChunkSet) Types() []byte {
	list := []byte{}
	for t := range 256 {
		if s.Has(ChunkType(t)) {
			list = append(list, byte(t))
		}
	}
	return list
}

// Empty tells whether nothing is in the set.
func (s *ChunkSet) Empty() bool { return *s == ChunkSet{} }
