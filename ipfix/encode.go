package ipfix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"ipfixsuite/ie"
)

// AppendRecord appends one Data Record: vals has one [Value] a field. Numbers
// are taken from Num, everything else (and all of variable length) from View.
// A number that does not fit its field, octets that are not as many as the
// field has, or a string that is not UTF-8 is an error; dst is then returned
// as it was.
func (t *Template) AppendRecord(dst []byte, vals []Value) ([]byte, error) {
	fields := t.Fields
	if len(vals) != len(fields) {
		return dst, fmt.Errorf("template %d: %d values for %d fields", t.ID, len(vals), len(fields))
	}
	out := dst
	for i := 0; ; i++ {
		var k int
		out, k = appendCommon(out, fields[i:], vals[i:])
		if i += k; i == len(fields) {
			return out, nil
		}
		var err error
		if out, err = fields[i].append(out, &vals[i]); err != nil {
			return dst, t.encodeError(i, err)
		}
	}
}

// appendCommon appends the fields that records are mostly made of, unsigned
// numbers of common length, octets and short ASCII strings, up to the first that
// is something else or does not fit: k of them. It is not inlined: on its own
// it keeps its loop in registers.
//
//go:noinline
func appendCommon(dst []byte, fields []Field, vals []Value) (out []byte, k int) {
	vals = vals[:len(fields)]
	for i := range fields {
		num := vals[i].Num
		switch fields[i].kind {
		case kindUint64:
			dst = binary.BigEndian.AppendUint64(dst, num)
		case kindUint32:
			if num>>32 != 0 {
				return dst, i
			}
			dst = binary.BigEndian.AppendUint32(dst, uint32(num))
		case kindUint16:
			if num > math.MaxUint16 {
				return dst, i
			}
			dst = binary.BigEndian.AppendUint16(dst, uint16(num))
		case kindUint8:
			if num > math.MaxUint8 {
				return dst, i
			}
			dst = append(dst, byte(num))
		case kindOctets:
			// Elements that are not known, IPv6 addresses.
			v := vals[i].View
			if len(v) != int(fields[i].Length) || fields[i].Type == ie.String {
				return dst, i
			}
			dst = append(dst, v...)
		case kindText:
			v := vals[i].View
			n := len(v)
			if n > 16 || cap(dst)-len(dst) < 1+n {
				return dst, i
			}
			w := dst[len(dst) : len(dst)+1+n]
			w[0] = byte(n)
			if !copyASCII(w[1:], v) {
				return dst, i
			}
			dst = dst[:len(dst)+1+n]
		default:
			return dst, i
		}
	}
	return dst, len(fields)
}

// append is AppendRecord for the rarer fields.
func (f *Field) append(dst []byte, v *Value) ([]byte, error) {
	n := int(f.Length)
	switch f.kind {
	case kindText, kindVariable, kindVariableNumber, kindList:
		return f.appendVariable(dst, v.View)
	case kindInt:
		// Reduced-size encoding keeps the sign (RFC 7011, Section 6.2,
		// MUST).
		s := (64 - 8*uint(n)) & 63
		if int64(v.Num)<<s>>s != int64(v.Num) {
			return dst, fmt.Errorf("%d: %w", int64(v.Num), errOverflow)
		}
		return appendNumber(dst, v.Num, n), nil
	case kindFloat32:
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(v.Float()))), nil
	case kindBool:
		switch {
		case v.Num == 1:
			return append(dst, 1), nil
		case v.Num == 0:
			return append(dst, 2), nil
		case v.Num&^0xFF == UndefinedBool:
			return append(dst, byte(v.Num)), nil
		}
		return dst, fmt.Errorf("boolean %d: %w", v.Num, errOverflow)
	case kindOctets:
		if len(v.View) != n {
			return dst, fmt.Errorf("%d octets: %w", len(v.View), errLength)
		}
		if f.Type == ie.String && !utf8.Valid(v.View) {
			return dst, errUTF8
		}
		return append(dst, v.View...), nil
	}
	// Unsigned numbers of other lengths, and those that do not fit.
	if v.Num>>(8*uint(n)) != 0 {
		return dst, fmt.Errorf("%d: %w", v.Num, errOverflow)
	}
	return appendNumber(dst, v.Num, n), nil
}

// appendNumber appends the n low octets of num.
func appendNumber(dst []byte, num uint64, n int) []byte {
	for s := 8 * (n - 1); s >= 0; s -= 8 {
		dst = append(dst, byte(num>>uint(s)))
	}
	return dst
}

// appendVariable appends view with its length in front (RFC 7011, Section 7).
func (f *Field) appendVariable(dst, view []byte) ([]byte, error) {
	n := len(view)
	if n > math.MaxUint16 {
		return dst, fmt.Errorf("%d octets: %w", n, errLength)
	}
	if n < 255 && f.kind != kindList {
		dst = append(dst, byte(n))
	} else {
		// Lists always have 3 length octets (RFC 6313, Section 5.1,
		// RECOMMENDED).
		dst = append(dst, 255, byte(n>>8), byte(n))
	}
	dst = append(dst, view...)
	// Ill-formed strings are not sent (RFC 7011, Section 6.1.6, MUST NOT).
	if f.kind == kindText && !utf8.Valid(view) {
		return dst, errUTF8
	}
	return dst, nil
}

func (t *Template) encodeError(i int, err error) error {
	f := &t.Fields[i]
	name := f.String()
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

// copyASCII copies a text of up to 16 octets to a place of the same length; it
// is false if some are not ASCII. The two halves overlap, so that the many
// lengths of short texts are only three cases.
func copyASCII(w, v []byte) bool {
	const high = 0x8080808080808080
	n := len(v)
	w = w[:n]
	switch {
	case n >= 8:
		a, b := binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[n-8:])
		binary.LittleEndian.PutUint64(w, a)
		binary.LittleEndian.PutUint64(w[n-8:], b)
		return (a|b)&high == 0
	case n >= 4:
		a, b := binary.LittleEndian.Uint32(v), binary.LittleEndian.Uint32(v[n-4:])
		binary.LittleEndian.PutUint32(w, a)
		binary.LittleEndian.PutUint32(w[n-4:], b)
		return (a|b)&(high>>32) == 0
	case n > 0:
		a, b, c := v[0], v[n/2], v[n-1]
		w[0], w[n/2], w[n-1] = a, b, c
		return a|b|c < utf8.RuneSelf
	}
	return true
}

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
