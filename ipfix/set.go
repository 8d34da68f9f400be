package ipfix

import (
	"encoding/binary"
	"iter"
)

// A Set is one set of a message; Body, without the Set Header, aliases it.
type Set struct {
	ID     uint16
	Offset int // of the Set Header, from the message's first octet
	Body   []byte
}

// BodyOffset is where Body starts in the message.
func (s Set) BodyOffset() int { return s.Offset + SetHeaderLen }

// A SetReader walks the sets of a message. Its zero value is at the end.
type SetReader struct {
	msg  []byte
	next int
	err  error
}

// Reset starts at the first set of msg, whose header [ParseHeader] has seen.
// What follows the length in the header is not part of the message; a message
// that is cut short is walked as far as its sets are whole.
func (r *SetReader) Reset(msg []byte) {
	*r = SetReader{next: HeaderLen}
	if len(msg) < HeaderLen {
		r.err = fault(len(msg), "message header", ErrTruncated)
		return
	}
	r.msg = msg[:min(len(msg), int(binary.BigEndian.Uint16(msg[2:])))]
}

// Next returns the next set, whatever its id, or false at the end or a fault.
func (r *SetReader) Next() (Set, bool) {
	if r.err != nil || r.next >= len(r.msg) {
		return Set{}, false
	}
	b := r.msg[r.next:]
	if len(b) < SetHeaderLen {
		r.err = fault(r.next, "set header", ErrTruncated)
		return Set{}, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < SetHeaderLen {
		r.err = fault(r.next+2, "set length", ErrLength)
		return Set{}, false
	}
	if n > len(b) {
		// A set longer than its message makes it malformed (RFC 7011,
		// Section 9.1); the sets before it stand.
		r.err = fault(r.next+2, "set length", ErrTruncated)
		return Set{}, false
	}
	s := Set{ID: binary.BigEndian.Uint16(b), Offset: r.next, Body: b[SetHeaderLen:n:n]}
	r.next += n
	return s, true
}

// Err is the fault that ended the walk: what follows cannot be framed.
func (r *SetReader) Err() error { return r.err }

// Sets walks the sets of msg; at most one error, last.
func Sets(msg []byte) iter.Seq2[Set, error] {
	return func(yield func(Set, error) bool) {
		var r SetReader
		r.Reset(msg)
		for {
			s, ok := r.Next()
			if !ok {
				break
			}
			if !yield(s, nil) {
				return
			}
		}
		if r.err != nil {
			yield(Set{}, r.err)
		}
	}
}
