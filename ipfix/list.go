package ipfix

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// MaxListDepth is how deep lists may nest before a reader gives up: records of
// hostile octets can nest as deep as they are long (RFC 6313, Section 5.2, sets
// no limit). The worked examples need 3.
const MaxListDepth = 8

// A ListSemantic says how the elements of a list relate (RFC 6313, Section 4.4).
type ListSemantic uint8

// The IANA registry "IPFIX Structured Data Types Semantics".
const (
	NoneOf        ListSemantic = 0
	ExactlyOneOf  ListSemantic = 1
	OneOrMoreOf   ListSemantic = 2
	AllOf         ListSemantic = 3
	Ordered       ListSemantic = 4
	UndefinedList ListSemantic = 255
)

// String is the name in the IANA registry; a number where there is none.
func (s ListSemantic) String() string {
	switch s {
	case NoneOf:
		return "noneOf"
	case ExactlyOneOf:
		return "exactlyOneOf"
	case OneOrMoreOf:
		return "oneOrMoreOf"
	case AllOf:
		return "allOf"
	case Ordered:
		return "ordered"
	case UndefinedList:
		return "undefined"
	}
	return fmt.Sprint(uint8(s))
}

// A BasicList is a list of values of one element (RFC 6313, Section 4.5.1):
//
//	semantic (1) | field specifier (4 or 8) | values ...
type BasicList struct {
	Semantic ListSemantic
	Field    FieldSpec
	Content  []byte // the values, with their lengths where they vary
}

// ParseBasicList reads the octets of a field of type basicList.
func ParseBasicList(b []byte) (BasicList, error) {
	if len(b) < 5 {
		return BasicList{}, fault(len(b), "basicList", ErrTruncated)
	}
	s, n := parseSpec(b[1:])
	if n == 0 {
		return BasicList{}, fault(len(b), "basicList enterprise number", ErrTruncated)
	}
	l := BasicList{Semantic: ListSemantic(b[0]), Field: s, Content: b[1+n:]}
	if s.Length == 0 && len(l.Content) > 0 {
		return BasicList{}, fault(3, "basicList element length", ErrLength)
	}
	return l, nil
}

// All walks the values, without their length octets; at most one error, last,
// with its offset in Content.
func (l BasicList) All() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		b := l.Content
		for p := 0; p < len(b); {
			v, next, ok := l.next(p)
			if !ok {
				yield(nil, fault(p, "basicList element", ErrTruncated))
				return
			}
			if !yield(v, nil) {
				return
			}
			p = next
		}
	}
}

func (l *BasicList) next(p int) (v []byte, next int, ok bool) {
	b := l.Content
	n := int(l.Field.Length)
	switch n {
	case 0:
		return nil, 0, false
	case VariableLength:
		if b[p] == 255 && len(b)-p < 3 {
			return nil, 0, false
		}
		p, n = variable(b, p)
	}
	if n > len(b)-p {
		return nil, 0, false
	}
	return b[p : p+n : p+n], p + n, true
}

// AppendBinary appends the list as the octets of a field. Content is not
// checked; [AppendVariable] makes elements of variable length.
func (l BasicList) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, byte(l.Semantic))
	dst = l.Field.appendBinary(dst)
	return append(dst, l.Content...), nil
}

// A SubTemplateList is a list of records of one template (RFC 6313, Section
// 4.5.2):
//
//	semantic (1) | template id (2) | records ...
type SubTemplateList struct {
	Semantic ListSemantic
	Template uint16
	Content  []byte // Data Records, for [Records.Reset]
}

// ParseSubTemplateList reads the octets of a field of type subTemplateList.
func ParseSubTemplateList(b []byte) (SubTemplateList, error) {
	if len(b) < 3 {
		return SubTemplateList{}, fault(len(b), "subTemplateList", ErrTruncated)
	}
	return SubTemplateList{
		Semantic: ListSemantic(b[0]),
		Template: binary.BigEndian.Uint16(b[1:]),
		Content:  b[3:],
	}, nil
}

// AppendBinary appends the list as the octets of a field.
func (l SubTemplateList) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, byte(l.Semantic))
	dst = binary.BigEndian.AppendUint16(dst, l.Template)
	return append(dst, l.Content...), nil
}

// A SubTemplateMultiList is a list of records of several templates (RFC 6313,
// Section 4.5.3):
//
//	semantic (1) | template id (2) | length (2) | records ... | template id ...
type SubTemplateMultiList struct {
	Semantic ListSemantic
	Content  []byte
}

// A MultiListPart is the records of one template within a SubTemplateMultiList.
type MultiListPart struct {
	Template uint16
	Offset   int    // of Content, in that of the list
	Content  []byte // Data Records, for [Records.Reset]
}

// ParseSubTemplateMultiList reads the octets of a field of type
// subTemplateMultiList.
func ParseSubTemplateMultiList(b []byte) (SubTemplateMultiList, error) {
	if len(b) < 1 {
		return SubTemplateMultiList{}, fault(0, "subTemplateMultiList", ErrTruncated)
	}
	return SubTemplateMultiList{Semantic: ListSemantic(b[0]), Content: b[1:]}, nil
}

// All walks the parts; at most one error, last, with its offset in Content.
func (l SubTemplateMultiList) All() iter.Seq2[MultiListPart, error] {
	return func(yield func(MultiListPart, error) bool) {
		for p, b := 0, l.Content; p < len(b); {
			if len(b)-p < 4 {
				yield(MultiListPart{}, fault(p, "subTemplateMultiList part", ErrTruncated))
				return
			}
			n := int(binary.BigEndian.Uint16(b[p+2:]))
			// Of a part without records the length is 0 (RFC 6313,
			// Section 4.5.3), or 4 if it counts itself as the others do.
			if n == 0 {
				n = 4
			}
			if n < 4 {
				yield(MultiListPart{}, fault(p+2, "data records length", ErrLength))
				return
			}
			if n > len(b)-p {
				yield(MultiListPart{}, fault(p+2, "data records length", ErrTruncated))
				return
			}
			part := MultiListPart{
				Template: binary.BigEndian.Uint16(b[p:]),
				Offset:   p + 4,
				Content:  b[p+4 : p+n : p+n],
			}
			if !yield(part, nil) {
				return
			}
			p += n
		}
	}
}

// AppendBinary appends the list as the octets of a field; [AppendPart] makes
// its Content.
func (l SubTemplateMultiList) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, byte(l.Semantic))
	return append(dst, l.Content...), nil
}

// AppendPart appends the records of one template as a part of a
// SubTemplateMultiList.
func AppendPart(dst []byte, template uint16, records []byte) ([]byte, error) {
	n := 4 + len(records)
	if n > MaxMessage {
		return dst, fmt.Errorf("part of %d octets: %w", n, errTooLong)
	}
	if len(records) == 0 {
		n = 0
	}
	dst = binary.BigEndian.AppendUint16(dst, template)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	return append(dst, records...), nil
}
