package ipfix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"ipfixsuite/ie"
)

// AppendRecord appends one Data Record: vals has one [Value] a field. Numbers
// are taken from Num, everything else (and all of variable length) from View.
// A number that does not fit its field, octets that are not as many as the
// field has, or a string that is not UTF-8 is an error; dst is then returned
// as it was. Like append it may write into the spare capacity of dst.
func (t *Template) AppendRecord(dst []byte, vals []Value) ([]byte, error) {
	fields := t.Fields
	if len(vals) != len(fields) {
		return dst, fmt.Errorf("template %d: %d values for %d fields", t.ID, len(vals), len(fields))
	}
	need := t.MinLen + 8 // numbers are stored as 8 octets, then overwritten
	for _, v := range t.vars {
		need += 2 + len(vals[v.index].View)
	}
	start := len(dst)
	if cap(dst)-start < need {
		dst = slices.Grow(dst, need)
	}
	b := dst[start : start+need]
	p := 0
	var lost uint64 // bits of numbers that their fields have no room for
	for i := range fields {
		f, v := &fields[i], &vals[i]
		n := int(f.Length)
		switch f.kind {
		case kindUint:
			s := (64 - 8*uint(n)) & 63
			w := v.Num << s
			lost |= w>>s ^ v.Num
			binary.BigEndian.PutUint64(b[p:], w)
			p += n
		case kindVariable, kindList:
			q, err := putVariable(b, p, f, v.View)
			if err != nil {
				return dst[:start], t.encodeError(i, err)
			}
			p = q
		default:
			w, err := fixed(f, v)
			if err != nil {
				return dst[:start], t.encodeError(i, err)
			}
			if f.kind == kindOctets {
				copy(b[p:], v.View)
			} else {
				binary.BigEndian.PutUint64(b[p:], w)
			}
			p += n
		}
	}
	if lost != 0 {
		return dst[:start], t.encodeError(t.overflow(vals))
	}
	return dst[:start+p], nil
}

// fixed prepares a field that is no unsigned number: its octets at the high
// end of the result, or, for kindOctets, only the check.
func fixed(f *Field, v *Value) (uint64, error) {
	switch f.kind {
	case kindInt:
		s := (64 - 8*uint(f.Length)) & 63
		w := v.Num << s
		if uint64(int64(w)>>s) != v.Num {
			return 0, fmt.Errorf("%d: %w", int64(v.Num), errOverflow)
		}
		return w, nil
	case kindFloat32:
		return uint64(math.Float32bits(float32(math.Float64frombits(v.Num)))) << 32, nil
	case kindBool:
		switch {
		case v.Num == 1:
			return 1 << 56, nil
		case v.Num == 0:
			return 2 << 56, nil
		case v.Num&^0xFF == UndefinedBool:
			return v.Num << 56, nil
		}
		return 0, fmt.Errorf("boolean %d: %w", v.Num, errOverflow)
	}
	if len(v.View) != int(f.Length) {
		return 0, fmt.Errorf("%d octets: %w", len(v.View), errLength)
	}
	if f.Type == ie.String && !utf8.Valid(v.View) {
		return 0, errUTF8
	}
	return 0, nil
}

// putVariable stores view with its length in front (RFC 7011, Section 7) at p.
func putVariable(b []byte, p int, f *Field, view []byte) (int, error) {
	n := len(view)
	switch {
	case n > math.MaxUint16:
		return p, fmt.Errorf("%d octets: %w", n, errLength)
	// Ill-formed strings are not sent (RFC 7011, Section 6.1.6, MUST NOT).
	case f.Type == ie.String && !utf8.Valid(view):
		return p, errUTF8
	// Lists always have 3 length octets (RFC 6313, Section 5.1,
	// RECOMMENDED).
	case n < 255 && f.kind != kindList:
		b[p] = byte(n)
		p++
	default:
		b[p] = 255
		binary.BigEndian.PutUint16(b[p+1:], uint16(n))
		p += 3
	}
	return p + copy(b[p:], view), nil
}

// overflow finds the unsigned number that does not fit.
func (t *Template) overflow(vals []Value) (int, error) {
	for i := range t.Fields {
		f := &t.Fields[i]
		if n := uint(f.Length); f.kind == kindUint && n < 8 && vals[i].Num>>(8*n) != 0 {
			return i, fmt.Errorf("%d: %w", vals[i].Num, errOverflow)
		}
	}
	return 0, errOverflow
}

func (t *Template) encodeError(i int, err error) error {
	f := &t.Fields[i]
	name := f.ID.String()
	if f.Element != nil {
		name = f.Element.Name
	}
	return fmt.Errorf("template %d: field %d (%s, length %d): %w", t.ID, i, name, f.Length, err)
}

var (
	errOverflow = errors.New("does not fit the field")
	errLength   = errors.New("not what the field holds")
	errUTF8     = errors.New("string is not UTF-8")
)

// AppendVariable appends view as a value of variable length: 1 length octet
// below 255, else 3 (RFC 7011, Section 7). Longer than 65535 is cut: no message
// could hold it.
func AppendVariable(dst, view []byte) []byte {
	view = view[:min(len(view), math.MaxUint16)]
	if len(view) < 255 {
		dst = append(dst, byte(len(view)))
	} else {
		dst = append(dst, 255, byte(len(view)>>8), byte(len(view)))
	}
	return append(dst, view...)
}
