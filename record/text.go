package record

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"
)

// plain holds the octets that stand in a JSON string as they are.
var plain = plainOctets()

func plainOctets() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\' && c != 0x7F
	}
	return t
}

// putString writes s as the inside of a JSON string: 6 octets at most for one.
func putString(p, s []byte) int {
	for i, c := range s {
		if !plain[c] {
			n := copy(p, s[:i])
			return n + escape(p[n:], s[i:])
		}
	}
	return copy(p, s)
}

// escape is putString for what needs it. Ill-formed octets become U+FFFD: they
// cannot stand in JSON, and should not cost the record (RFC 7011, Section
// 6.1.6, SHOULD detect and ignore).
func escape(p, s []byte) int {
	n := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			n += escapeOctet(p[n:], c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		n += utf8.EncodeRune(p[n:], r)
		i += size
	}
	return n
}

func escapeOctet(p []byte, c byte) int {
	switch {
	case plain[c]:
		p[0] = c
		return 1
	case c == '"', c == '\\':
		p[0], p[1] = '\\', c
		return 2
	case c == '\n':
		p[0], p[1] = '\\', 'n'
		return 2
	case c == '\r':
		p[0], p[1] = '\\', 'r'
		return 2
	case c == '\t':
		p[0], p[1] = '\\', 't'
		return 2
	}
	copy(p, `\u00`)
	*(*[2]byte)(p[4:]) = pairs[c]
	return 6
}

// appendString is putString with room made.
func appendString(dst []byte, s string) []byte {
	n := len(dst)
	dst = grow(dst, 6*len(s))
	k := putString(dst[n:cap(dst)], []byte(s))
	return dst[:n+k]
}

func putMAC(p, x []byte) int {
	_ = p[17]
	for i, c := range x[:6] {
		*(*[2]byte)(p[3*i:]) = pairs[c]
		p[3*i+2] = ':'
	}
	return 17
}

// putFloat writes a number of 4 or 8 octets, with its quotes where JSON has no
// number for it (RFC 7373, Section 4.4, has the words).
func putFloat(p, x []byte) int {
	bits := 64
	var f float64
	if len(x) == 4 {
		bits = 32
		f = float64(math.Float32frombits(binary.BigEndian.Uint32(x)))
	} else {
		f = math.Float64frombits(binary.BigEndian.Uint64(x))
	}
	switch {
	case math.IsNaN(f):
		return copy(p, `"NaN"`)
	case math.IsInf(f, 1):
		return copy(p, `"+inf"`)
	case math.IsInf(f, -1):
		return copy(p, `"-inf"`)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return len(strconv.AppendFloat(p[:0], f, format, -1, bits))
}

// putUint256 writes hexadecimal digits without leading zeros, and the quotes.
func putUint256(p, x []byte) int {
	for len(x) > 0 && x[0] == 0 {
		x = x[1:]
	}
	n := copy(p, `"0x`)
	switch {
	case len(x) == 0:
		p[n] = '0'
		n++
	case x[0] < 16:
		p[n] = hexDigits[x[0]]
		n++
		x = x[1:]
		fallthrough
	default:
		n += putHex(p[n:], x)
	}
	p[n] = '"'
	return n + 1
}
