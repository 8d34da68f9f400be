package ie

import (
	"fmt"
	"strings"
)

// Variable is the field length that says that each value carries its own
// length (RFC 7011, Section 7), and the size of types without a fixed one.
const Variable = 0xFFFF

// dataTypes holds name and natural size in octets, by number.
var dataTypes = [...]struct {
	name string
	size uint16
}{
	OctetArray:           {"octetArray", Variable},
	Unsigned8:            {"unsigned8", 1},
	Unsigned16:           {"unsigned16", 2},
	Unsigned32:           {"unsigned32", 4},
	Unsigned64:           {"unsigned64", 8},
	Signed8:              {"signed8", 1},
	Signed16:             {"signed16", 2},
	Signed32:             {"signed32", 4},
	Signed64:             {"signed64", 8},
	Float32:              {"float32", 4},
	Float64:              {"float64", 8},
	Boolean:              {"boolean", 1},
	MACAddress:           {"macAddress", 6},
	String:               {"string", Variable},
	DateTimeSeconds:      {"dateTimeSeconds", 4},
	DateTimeMilliseconds: {"dateTimeMilliseconds", 8},
	DateTimeMicroseconds: {"dateTimeMicroseconds", 8},
	DateTimeNanoseconds:  {"dateTimeNanoseconds", 8},
	IPv4Address:          {"ipv4Address", 4},
	IPv6Address:          {"ipv6Address", 16},
	BasicList:            {"basicList", Variable},
	SubTemplateList:      {"subTemplateList", Variable},
	SubTemplateMultiList: {"subTemplateMultiList", Variable},
	Unsigned256:          {"unsigned256", 32},
}

// Valid says whether t is a type of the registry.
func (t DataType) Valid() bool { return int(t) < len(dataTypes) }

// String is the registry's name of the type.
func (t DataType) String() string {
	if !t.Valid() {
		return fmt.Sprintf("dataType(%d)", uint8(t))
	}
	return dataTypes[t].name
}

// Size is the type's natural size in octets, Variable if it has none.
func (t DataType) Size() uint16 {
	if !t.Valid() {
		return Variable
	}
	return dataTypes[t].size
}

// Unsigned says whether t is an unsigned integer of any width.
func (t DataType) Unsigned() bool {
	return t >= Unsigned8 && t <= Unsigned64 || t == Unsigned256
}

// Signed says whether t is a signed integer.
func (t DataType) Signed() bool { return t >= Signed8 && t <= Signed64 }

// Float says whether t is a floating point number.
func (t DataType) Float() bool { return t == Float32 || t == Float64 }

// Structured says whether t is a list of RFC 6313.
func (t DataType) Structured() bool { return t >= BasicList && t <= SubTemplateMultiList }

// Reducible says whether reduced-size encoding may be used: integers of two
// octets and more to any smaller size, float64 to the size of float32
// (RFC 7011, Section 6.2); unsigned256 as well (RFC 9740).
func (t DataType) Reducible() bool {
	switch t {
	case Unsigned16, Unsigned32, Unsigned64, Signed16, Signed32, Signed64, Float64, Unsigned256:
		return true
	}
	return false
}

// ValidLength says whether a template may give a field of this type the
// length n: the natural size, a reduced size where that is allowed, anything
// for types without a size.
func (t DataType) ValidLength(n uint16) bool {
	size := t.Size()
	switch {
	case size == Variable || n == size:
		return true
	case t == Float64:
		return n == 4
	}
	return t.Reducible() && n > 0 && n < size
}

// ParseDataType finds a type by its name in the registry, whatever the case.
func ParseDataType(s string) (DataType, error) {
	names := make([]string, len(dataTypes))
	for i, d := range dataTypes {
		if strings.EqualFold(d.name, s) {
			return DataType(i), nil
		}
		names[i] = d.name
	}
	return 0, fmt.Errorf("unknown data type %q%s", clip(s), didYouMean(s, names))
}
