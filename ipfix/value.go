package ipfix

import (
	"encoding/binary"
	"math"

	"ipfixsuite/ie"
)

// A Value is one field of a record: a number, or octets, or both.
type Value struct {
	// Num is the value of numbers: integers (the signed ones sign-extended,
	// to be read as int64), float64 bits (float32 is widened), true as 1 and
	// false as 0, a MAC address in 48 bits, an IPv4 address in 32,
	// dateTimeSeconds and dateTimeMilliseconds as they are, the finer times
	// as the raw NTP timestamp ([Time] reads all four). A boolean that is
	// neither true nor false (RFC 7011, Section 6.1.5) is UndefinedBool |
	// the octet. Other types have no number.
	Num uint64
	// View is the octets of the field, always, without a length in front.
	View []byte
}

// UndefinedBool marks the Num of a boolean field that is neither 1 nor 2.
const UndefinedBool = 0x100

// Int is Num of a signed type.
func (v Value) Int() int64 { return int64(v.Num) }

// Float is Num of float32 and float64.
func (v Value) Float() float64 { return math.Float64frombits(v.Num) }

// Values sets dst to the values of all fields of the current record.
func (r *Records) Values(dst []Value) []Value {
	fields := r.t.Fields
	if cap(dst) < len(fields) {
		dst = make([]Value, len(fields))
	}
	dst = dst[:len(fields)]
	b := r.body[r.start:r.end]
	p := 0
	for i := range fields {
		v := &dst[i]
		// Windows of constant length at an index: a slice that moved along
		// would make each field wait for the one before it.
		switch fields[i].kind {
		case kindUint64:
			w := b[p : p+8 : p+8]
			v.Num = binary.BigEndian.Uint64(w)
			v.View = w
			p += 8
		case kindUint32:
			w := b[p : p+4 : p+4]
			v.Num = uint64(binary.BigEndian.Uint32(w))
			v.View = w
			p += 4
		case kindUint16:
			w := b[p : p+2 : p+2]
			v.Num = uint64(binary.BigEndian.Uint16(w))
			v.View = w
			p += 2
		case kindUint8:
			w := b[p : p+1 : p+1]
			v.Num = uint64(w[0])
			v.View = w
			p++
		case kindOctets:
			n := int(fields[i].Length)
			v.Num = 0
			v.View = b[p : p+n : p+n]
			p += n
		case kindText:
			q, n := variable(b, p)
			v.Num = 0
			v.View = b[q : q+n : q+n]
			p = q + n
		default:
			p = fields[i].value(v, b, p)
		}
	}
	return dst
}

// value is Values for the rarer fields; it returns where the next one starts.
func (f *Field) value(v *Value, b []byte, p int) int {
	n := int(f.Length)
	if f.kind >= kindVariable {
		p, n = variable(b, p)
	}
	v.View = b[p : p+n : p+n]
	v.Num = 0
	switch f.kind {
	case kindOctets, kindVariable, kindText, kindList:
	default:
		v.Num = number(f.Type, v.View)
	}
	return p + n
}

// Value is field i of the current record.
func (r *Records) Value(i int) Value { return ValueOf(r.t.Fields[i].Type, r.View(i)) }

// ValueOf reads octets as a value of type t: those of one field, or of one
// element of a list. Octets that do not fit the type have no number.
func ValueOf(t ie.DataType, view []byte) Value {
	return Value{Num: number(t, view), View: view}
}

// numeric reports whether values of t have a Num.
func numeric(t ie.DataType) bool {
	switch t {
	case ie.OctetArray, ie.String, ie.IPv6Address, ie.BasicList, ie.SubTemplateList,
		ie.SubTemplateMultiList, ie.Unsigned256:
		return false
	}
	return true
}

func number(t ie.DataType, b []byte) uint64 {
	if len(b) == 0 || len(b) > 8 {
		return 0
	}
	switch t {
	case ie.Unsigned8, ie.Unsigned16, ie.Unsigned32, ie.Unsigned64:
		return unsigned(b)
	case ie.Signed8, ie.Signed16, ie.Signed32, ie.Signed64:
		// Reduced-size encoding keeps the sign (RFC 7011, Section 6.2).
		s := (64 - 8*uint(len(b))) & 63
		return uint64(int64(unsigned(b)<<s) >> s)
	case ie.Float32, ie.Float64:
		switch len(b) {
		case 4:
			return math.Float64bits(float64(math.Float32frombits(binary.BigEndian.Uint32(b))))
		case 8:
			return binary.BigEndian.Uint64(b)
		}
	case ie.Boolean:
		if len(b) != 1 {
			break
		}
		switch b[0] {
		case 1:
			return 1
		case 2:
			return 0
		}
		return UndefinedBool | uint64(b[0])
	case ie.MACAddress, ie.IPv4Address, ie.DateTimeSeconds, ie.DateTimeMilliseconds,
		ie.DateTimeMicroseconds, ie.DateTimeNanoseconds:
		if len(b) == int(t.Size()) {
			return unsigned(b)
		}
	}
	return 0
}

func unsigned(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}
