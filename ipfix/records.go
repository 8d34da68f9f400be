package ipfix

import (
	"encoding/binary"
)

// maxStops is how many variable-length fields of a record are remembered while
// it is walked; fields behind them are found by a second walk.
const maxStops = 8

// Records is a cursor over the Data Records of one set (RFC 7011, Section
// 3.4.3). It is a value on its user's stack and allocates nothing.
type Records struct {
	t          *Template
	body       []byte
	start, end int // the current record
	stops      [maxStops]uint16
	err        error
}

// Reset starts before the first record of a set of t.
func (r *Records) Reset(t *Template, body []byte) {
	r.t, r.body, r.start, r.end, r.err = t, body, 0, 0, nil
}

// Template is that of the current set.
func (r *Records) Template() *Template { return r.t }

// Next moves to the next record. It is false at the end of the set and at a
// fault. What is shorter than the shortest record is padding, zero or not
// (RFC 7011, Sections 3.3.1 and 9.1).
func (r *Records) Next() bool {
	if n := r.t.RecordLen; n > 0 {
		if len(r.body)-r.end < n {
			r.start = r.end
			return false
		}
		r.start = r.end
		r.end += n
		return true
	}
	return r.nextVariable()
}

func (r *Records) nextVariable() bool {
	t, b := r.t, r.body
	p := r.end
	r.start = p
	if len(b)-p < t.MinLen || r.err != nil {
		return false
	}
	for i := range t.vars {
		p += int(t.vars[i].skip)
		if p >= len(b) {
			return r.truncated(p, "record")
		}
		// Stops count from the record's start, at the length octets.
		if i < maxStops {
			r.stops[i] = uint16(p - r.start)
		}
		n := int(b[p])
		p++
		if n == 255 {
			if len(b)-p < 2 {
				return r.truncated(p, "variable length")
			}
			n = int(binary.BigEndian.Uint16(b[p:]))
			p += 2
		}
		p += n
	}
	p += int(t.tail)
	if p > len(b) {
		return r.truncated(p, "record")
	}
	r.end = p
	return true
}

func (r *Records) truncated(p int, what string) bool {
	r.err = fault(min(p, len(r.body)), what, ErrTruncated)
	r.end = r.start
	return false
}

// Err is the [*ParseError] of a record that does not end within its set; its
// offset is in the body. The records before it stand.
func (r *Records) Err() error { return r.err }

// Raw is the current record, a view.
func (r *Records) Raw() []byte { return r.body[r.start:r.end:r.end] }

// Offset is where the current record starts in the body.
func (r *Records) Offset() int { return r.start }

// Rest is what has not been read: the padding, once Next was false without an
// error.
func (r *Records) Rest() []byte { return r.body[r.end:] }

// View is field i of the current record, without its length octets.
func (r *Records) View(i int) []byte {
	f := &r.t.Fields[i]
	b := r.body[r.start:r.end]
	p, n := r.run(i)+int(f.off), int(f.Length)
	if n == VariableLength {
		p, n = variable(b, p)
	}
	return b[p : p+n : p+n]
}

// run is where the run of field i starts in the current record.
func (r *Records) run(i int) int {
	t := r.t
	k := 0
	for k < len(t.vars) && int(t.vars[k].index) < i {
		k++
	}
	if k == 0 {
		return 0
	}
	b := r.body[r.start:r.end]
	if k <= maxStops {
		p, n := variable(b, int(r.stops[k-1]))
		return p + n
	}
	p, n := variable(b, int(r.stops[maxStops-1]))
	p += n
	for _, v := range t.vars[maxStops:k] {
		p, n = variable(b, p+int(v.skip))
		p += n
	}
	return p
}

// variable reads the length at p: the value starts at q and has n octets. The
// walk has seen that they are there.
func variable(b []byte, p int) (q, n int) {
	n = int(b[p])
	if n < 255 {
		return p + 1, n
	}
	return p + 3, int(binary.BigEndian.Uint16(b[p+1:]))
}

// Views sets dst to the views of all fields of the current record.
func (r *Records) Views(dst [][]byte) [][]byte {
	t := r.t
	fields := t.Fields
	if cap(dst) < len(fields) {
		dst = make([][]byte, len(fields))
	}
	dst = dst[:len(fields)]
	b := r.body[r.start:r.end]
	p := 0
	for i := range fields {
		n := int(fields[i].Length)
		if n == VariableLength {
			p, n = variable(b, p)
		}
		dst[i] = b[p : p+n : p+n]
		p += n
	}
	return dst
}

// CountRecords counts the Data Records of a set, for the sequence number. At a
// fault it is the number of whole records before it.
func CountRecords(t *Template, body []byte) (int, error) {
	if t.RecordLen > 0 {
		return len(body) / t.RecordLen, nil
	}
	var r Records
	r.Reset(t, body)
	n := 0
	for r.Next() {
		n++
	}
	return n, r.Err()
}
