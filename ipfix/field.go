package ipfix

import (
	"encoding/binary"

	"ipfixsuite/ie"
)

// A FieldSpec is a Field Specifier as it stands on the wire (RFC 7011,
// Section 3.2): which element, in how many octets.
type FieldSpec struct {
	ie.ID
	Length uint16 // VariableLength: the length stands before each value
}

// enterpriseBit in front of the element number: a PEN follows.
const enterpriseBit = 0x8000

func (s FieldSpec) appendBinary(dst []byte) []byte {
	if s.PEN == 0 {
		dst = binary.BigEndian.AppendUint16(dst, s.Num&^enterpriseBit)
		return binary.BigEndian.AppendUint16(dst, s.Length)
	}
	dst = binary.BigEndian.AppendUint16(dst, s.Num|enterpriseBit)
	dst = binary.BigEndian.AppendUint16(dst, s.Length)
	return binary.BigEndian.AppendUint32(dst, s.PEN)
}

func (s FieldSpec) len() int {
	if s.PEN == 0 {
		return 4
	}
	return 8
}

// parseSpec reads one specifier; n is 0 if b ends within it.
func parseSpec(b []byte) (s FieldSpec, n int) {
	if len(b) < 4 {
		return s, 0
	}
	s.Num = binary.BigEndian.Uint16(b)
	s.Length = binary.BigEndian.Uint16(b[2:])
	if s.Num&enterpriseBit == 0 {
		return s, 4
	}
	if len(b) < 8 {
		return s, 0
	}
	s.Num &^= enterpriseBit
	s.PEN = binary.BigEndian.Uint32(b[4:])
	return s, 8
}

// A Field is one field of a compiled [Template].
type Field struct {
	FieldSpec
	// Type is that of the element; OctetArray if the element is not known
	// or the field's length makes no sense for its type.
	Type ie.DataType
	kind kind
	// off is the distance from the start of the field's run: the fixed
	// octets that follow the record's start or a variable-length field.
	off     uint16
	Element *ie.Element // nil: not known
}

// A kind says how a field's octets become a Value and back. Below 64 it is an
// unsigned number of up to 8 octets, and the kind is how far 8 octets loaded
// where the field starts have to be shifted: the hot loops test and use one
// octet of the plan.
type kind uint8

const (
	kindUint64 kind = 64 - 8*8
	kindUint32 kind = 64 - 8*4
	kindUint16 kind = 64 - 8*2
	kindUint8  kind = 64 - 8*1
)

const (
	kindOctets         kind = 64 + iota // a view and nothing else
	kindInt                             // up to 8 octets, two's complement
	kindFloat32                         // 4 octets, widened
	kindBool                            // 1 is true, 2 is false
	kindVariable                        // length in front, a view
	kindText                            // the same, a string
	kindList                            // the same, a list: encoded with 3 length octets
	kindVariableNumber                  // the same, though its type is a number
)

// unsignedKind is that of numbers of n octets, 1 to 8.
func unsignedKind(n uint16) kind { return kind(64 - 8*n) }

// planOf picks the kind for n octets of type t, and the type by which they are
// to be read.
func planOf(t ie.DataType, n uint16) (kind, ie.DataType) {
	if n == VariableLength {
		switch {
		case t == ie.String:
			return kindText, t
		case t.Structured():
			return kindList, t
		case numeric(t):
			return kindVariableNumber, t
		}
		return kindVariable, t
	}
	switch t {
	case ie.Unsigned8, ie.Unsigned16, ie.Unsigned32, ie.Unsigned64:
		// Longer than the type, but a number still: exporters do it.
		if 0 < n && n <= 8 {
			return unsignedKind(n), t
		}
	case ie.Signed8, ie.Signed16, ie.Signed32, ie.Signed64:
		if 0 < n && n <= 8 {
			return kindInt, t
		}
	case ie.Float32, ie.Float64:
		switch n {
		case 4:
			return kindFloat32, t
		case 8:
			return unsignedKind(n), t
		}
	case ie.Boolean:
		if n == 1 {
			return kindBool, t
		}
	case ie.MACAddress, ie.IPv4Address, ie.DateTimeSeconds, ie.DateTimeMilliseconds,
		ie.DateTimeMicroseconds, ie.DateTimeNanoseconds:
		if n == t.Size() {
			return unsignedKind(n), t
		}
	case ie.IPv6Address:
		if n == 16 {
			return kindOctets, t
		}
	case ie.String, ie.OctetArray, ie.BasicList, ie.SubTemplateList, ie.SubTemplateMultiList:
		return kindOctets, t
	case ie.Unsigned256:
		if 0 < n && n <= 32 {
			return kindOctets, t
		}
	}
	return kindOctets, ie.OctetArray
}
