package record

import (
	"encoding/binary"
	"slices"
)

// A Sealer protects what this side sends. It is not safe for concurrent use.
type Sealer struct {
	direction
	suite Suite
	next  uint64
}

// Suite is the cipher suite in force.
func (s *Sealer) Suite() Suite { return s.suite }

// Overhead is what a record adds to its content, the header included.
func (s *Sealer) Overhead() int { return s.overhead() }

// Sequence is the number the next record will bear.
func (s *Sealer) Sequence() uint64 { return s.next }

// Seal appends one record to dst and returns the extended buffer. content
// must not overlap what is appended. On an error dst is returned as it was.
func (s *Sealer) Seal(dst []byte, t Type, content []byte) ([]byte, error) {
	if len(content) > MaxContent {
		return dst, ErrTooLarge
	}
	// A sequence number must not wrap (RFC 6347, Section 4.1): a second use of
	// a nonce would give the key away.
	if s.next > maxSequence {
		return dst, ErrExhausted
	}
	es := uint64(epoch)<<48 | s.next
	s.next++
	outer, inner := t, len(content)
	if len(s.cid) > 0 {
		outer, inner = ConnectionID, inner+1
	}
	overhead := s.overhead()
	dst = slices.Grow(dst, overhead+len(content))
	body := overhead + len(content) - HeaderLen - len(s.cid)
	dst = append(dst, byte(outer), versionHigh, versionLow)
	dst = binary.BigEndian.AppendUint64(dst, es)
	dst = append(dst, s.cid...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(body))
	if !s.chacha {
		dst = binary.BigEndian.AppendUint64(dst, es)
	}
	at := len(dst)
	s.prepare(outer, es, inner)
	if len(s.cid) == 0 {
		return s.aead.Seal(dst, s.nonce[:], content, s.aad), nil
	}
	dst = append(append(dst, content...), byte(t))
	return s.aead.Seal(dst[:at], s.nonce[:], dst[at:], s.aad), nil
}
