package record

import (
	"encoding/binary"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// A form is how the octets of a field become text.
type form uint8

const (
	formU8 form = iota
	formU16
	formU32
	formU64
	formIPv4
	formMillis
	formString
	// Those above are told apart by Encoder.put, the others by putValue.
	formUint
	formInt
	formFloat
	formBool
	formMAC
	formIPv6
	formSeconds
	formMicros
	formNanos
	formUint256
	formHex
	formLoose // of variable length, and a type with a size
	formBasicList
	formSubTemplateList
	formSubTemplateMultiList
)

// leadBlock is how much of a lead is stored at once, whatever its length: a
// few wide stores are faster than a copy that counts. It has room for the
// longest name of IANA's.
const leadBlock = 48

// A step writes one field.
type step struct {
	lead   [leadBlock]byte // what stands before the value, from the closing quote of the value before
	n      uint8           // octets of lead; 0: long has them
	form   form
	quoted bool // the quotes of the value stand in the leads
	typ    ie.DataType
	length uint16 // of the field
	field  uint16 // its index, among those that have octets
	long   string
}

// A plan is how the records of one template become text.
type plan struct {
	steps []step
	tail  [4]byte // what closes the last value and the object
	tailN int
	// room is what a record's text needs, apart from 6 octets for each of
	// the record's.
	room int
	// straight: the steps are in the order of the record, and none is a list.
	straight bool
	lists    bool     // there is one
	lengths  []uint16 // of the fields that have octets, in the record's order
}

// maxValue is the room of the longest value that does not grow with its
// octets: a time, a float, an IPv6 address with the quotes.
const maxValue = 64

// compile makes the plan of t.
func compile(t *ipfix.Template) *plan {
	p := &plan{straight: true, room: leadBlock + 8}
	// Fields without octets are left out: there is nothing to say, and text
	// or work for no octets at all would have no bound.
	var present []*ipfix.Field
	for i := range t.Fields {
		if f := &t.Fields[i]; f.Length != 0 {
			present = append(present, f)
			p.lengths = append(p.lengths, f.Length)
		}
	}
	groups := group(present)
	var lead []byte
	closing := ""
	for _, fields := range groups {
		name := fieldName(present[fields[0]])
		for k, i := range fields {
			f := present[i]
			s := step{form: formOf(f), typ: f.Type, length: f.Length, field: uint16(i)}
			s.quoted = quoted(s.form)
			lead = append(append(lead[:0], closing...), ',')
			closing = ""
			if k == 0 {
				lead = append(append(append(lead, '"'), name...), '"', ':')
				if len(fields) > 1 {
					lead = append(lead, '[')
				}
			}
			if s.quoted {
				lead = append(lead, '"')
				closing = `"`
			}
			if len(fields) > 1 && k == len(fields)-1 {
				closing += "]"
			}
			if len(lead) <= leadBlock {
				s.n = uint8(copy(s.lead[:], lead))
			} else {
				s.long = string(lead)
			}
			if s.form >= formBasicList {
				p.straight, p.lists = false, true
			}
			if len(p.steps) > 0 && s.field < p.steps[len(p.steps)-1].field {
				p.straight = false
			}
			p.room += max(len(lead), leadBlock) + maxValue
			p.steps = append(p.steps, s)
		}
	}
	p.tailN = copy(p.tail[:], closing+"}")
	return p
}

// group gathers fields by element, in the order in which the elements appear.
func group(fields []*ipfix.Field) [][]int {
	at := make(map[ie.ID]int, len(fields))
	var groups [][]int
	for i, f := range fields {
		g, ok := at[f.ID]
		if !ok {
			g = len(groups)
			at[f.ID] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// split sets views to the fields of a record that Records has walked over.
func (p *plan) split(views [][]byte, r []byte) [][]byte {
	views = views[:0]
	for _, l := range p.lengths {
		n := int(l)
		if l == ipfix.VariableLength {
			n, r = int(r[0]), r[1:]
			if n == 255 {
				n, r = int(binary.BigEndian.Uint16(r)), r[2:]
			}
		}
		views = append(views, r[:n:n])
		r = r[n:]
	}
	return views
}

func fieldName(f *ipfix.Field) string {
	if f.Element != nil {
		return f.Element.Name
	}
	return ie.UnknownName(f.ID)
}

func quoted(f form) bool {
	switch f {
	case formIPv4, formIPv6, formMAC, formString, formSeconds, formMillis, formMicros, formNanos:
		return true
	}
	return false
}

func formOf(f *ipfix.Field) form {
	return formFor(f.Type, f.Length)
}

// formFor finds the form of n octets of type t.
func formFor(t ie.DataType, n uint16) form {
	switch t {
	case ie.String:
		return formString
	case ie.OctetArray:
		return formHex
	case ie.BasicList:
		return formBasicList
	case ie.SubTemplateList:
		return formSubTemplateList
	case ie.SubTemplateMultiList:
		return formSubTemplateMultiList
	}
	switch {
	case n == ipfix.VariableLength:
		return formLoose
	case t == ie.Unsigned256:
		if n <= 32 {
			return formUint256
		}
	case t.Unsigned():
		switch {
		case n == 1:
			return formU8
		case n == 2:
			return formU16
		case n == 4:
			return formU32
		case n == 8:
			return formU64
		case n < 8:
			return formUint
		}
	case t.Signed():
		if n <= 8 {
			return formInt
		}
	case t.Float():
		if n == 4 || n == 8 {
			return formFloat
		}
	case n == t.Size():
		return sized[t]
	}
	return formHex
}

// sized are the forms of the types that have one size only.
var sized = [...]form{
	ie.Boolean:              formBool,
	ie.MACAddress:           formMAC,
	ie.DateTimeSeconds:      formSeconds,
	ie.DateTimeMilliseconds: formMillis,
	ie.DateTimeMicroseconds: formMicros,
	ie.DateTimeNanoseconds:  formNanos,
	ie.IPv4Address:          formIPv4,
	ie.IPv6Address:          formIPv6,
}
