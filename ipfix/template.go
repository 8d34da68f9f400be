package ipfix

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ipfixsuite/ie"
)

// A Template is a Template or Options Template, compiled to a plan by
// [NewTemplate]. It does not change afterwards.
type Template struct {
	ID uint16
	// Misfits counts the fields whose length their type does not allow
	// (RFC 7011, Section 6.2); they are read as octetArray, or as a longer
	// number. See Check.
	Misfits uint16
	tail    uint16 // fixed octets behind the last variable-length field
	// Scope is the number of scope fields, the first ones of Fields; 0 is a
	// Template, more an Options Template.
	Scope     int
	Fields    []Field
	RecordLen int // octets of each record; 0: variable
	MinLen    int // octets of the shortest record
	// Refers: its records can speak of other templates, in lists
	// (RFC 6313) or by a templateId.
	Refers bool
	vars   []varField
}

// maxFields is what a message has room for, at 4 octets each.
const maxFields = (MaxMessage - HeaderLen - SetHeaderLen - 4) / 4

// A varField is a stop of the walk over a variable record.
type varField struct {
	index uint16 // of the field
	skip  uint16 // fixed octets between the stop before and this one
}

// NewTemplate compiles a template. It refuses ids below 256, scopes that are
// negative or longer than the fields, no fields, and records that have no
// octets or cannot fit in any message. A length that does not fit its
// element's type costs only the type, not the records: see Misfits. specs is
// not kept; reg may be nil.
func NewTemplate(id uint16, scope int, specs []FieldSpec, reg *ie.Registry) (*Template, error) {
	if id < MinDataSetID {
		return nil, fmt.Errorf("template id %d: ids below 256 are reserved", id)
	}
	if len(specs) == 0 {
		return nil, fmt.Errorf("template %d: no fields", id)
	}
	if len(specs) > maxFields {
		return nil, fmt.Errorf("template %d: %d fields fit in no message", id, len(specs))
	}
	// The Scope Field Count is not zero in an Options Template (RFC 7011,
	// Section 3.4.2.2, MUST NOT); ParseTemplates says -1 for it.
	if scope < 0 {
		return nil, fmt.Errorf("options template %d: no scope fields", id)
	}
	if scope > len(specs) {
		return nil, fmt.Errorf("options template %d: %d scope fields of %d", id, scope, len(specs))
	}
	t := &Template{ID: id, Scope: scope, Fields: make([]Field, len(specs))}
	nvar := 0
	for _, s := range specs {
		if s.Length == VariableLength {
			nvar++
		}
	}
	if nvar > 0 {
		t.vars = make([]varField, 0, nvar)
	}
	off := 0
	for i, s := range specs {
		f := &t.Fields[i]
		f.FieldSpec = s
		f.off = uint16(off)
		if reg != nil {
			f.Element = reg.Lookup(s.ID)
		}
		if f.Element != nil {
			if !f.Element.Type.ValidLength(s.Length) {
				t.Misfits++
			}
			f.Type = f.Element.Type
		}
		f.kind, f.Type = planOf(f.Type, s.Length)
		t.Refers = t.Refers || f.refers()
		if s.Length == VariableLength {
			t.vars = append(t.vars, varField{index: uint16(i), skip: uint16(off)})
			t.MinLen++
			off = 0
			continue
		}
		off += int(s.Length)
		t.MinLen += int(s.Length)
		if t.MinLen > MaxMessage {
			return nil, fmt.Errorf("template %d: %w", id, errTooLong)
		}
	}
	t.tail = uint16(off)
	// Records of no octets could not be counted.
	if t.MinLen == 0 {
		return nil, fmt.Errorf("template %d: %w", id, errNoOctets)
	}
	if t.MinLen > MaxMessage-HeaderLen-SetHeaderLen {
		return nil, fmt.Errorf("template %d: %w", id, errTooLong)
	}
	if nvar == 0 {
		t.RecordLen = t.MinLen
	}
	return t, nil
}

// refers tells whether the field can hold template ids.
func (f *Field) refers() bool {
	switch f.Type {
	case ie.BasicList, ie.SubTemplateList, ie.SubTemplateMultiList:
		return true
	}
	return f.ID == templateID && f.Length == 2
}

// templateID is an element that holds a template id, as in the Flow Keys
// options (RFC 7011, Section 4.4).
var templateID = ie.ID{Num: 145}

var (
	errTooLong  = errors.New("a record is longer than any message")
	errNoOctets = errors.New("records have no octets")
)

// Check reports the first field whose length its type does not allow: an
// exporter does not send such a template, a collector reads what it can.
func (t *Template) Check() error {
	for i := range t.Fields {
		f := &t.Fields[i]
		if f.Element != nil && !f.Element.Type.ValidLength(f.Length) {
			return fmt.Errorf("template %d: field %d: %s in %d octets", t.ID, i, f.Element.Name, f.Length)
		}
	}
	return nil
}

// Options reports whether t is an Options Template.
func (t *Template) Options() bool { return t.Scope > 0 }

// SetID is the id of the sets that carry t itself.
func (t *Template) SetID() uint16 {
	if t.Options() {
		return OptionsTemplateSetID
	}
	return TemplateSetID
}

// Equal reports whether o has the same scope and fields, whatever its id.
func (t *Template) Equal(o *Template) bool {
	if t.Scope != o.Scope || len(t.Fields) != len(o.Fields) {
		return false
	}
	for i := range t.Fields {
		if t.Fields[i].FieldSpec != o.Fields[i].FieldSpec {
			return false
		}
	}
	return true
}

// Matches is Equal for what has not been compiled: a template that is sent
// again costs no memory.
func (t *Template) Matches(scope int, specs []FieldSpec) bool {
	if t.Scope != scope || len(t.Fields) != len(specs) {
		return false
	}
	for i := range specs {
		if t.Fields[i].FieldSpec != specs[i] {
			return false
		}
	}
	return true
}

// Specs appends the field specifiers of t.
func (t *Template) Specs(dst []FieldSpec) []FieldSpec {
	for i := range t.Fields {
		dst = append(dst, t.Fields[i].FieldSpec)
	}
	return dst
}

// TemplateLen is the length of the template record on the wire, in octets.
func (t *Template) TemplateLen() int {
	n := 4
	if t.Options() {
		n = 6
	}
	for i := range t.Fields {
		n += t.Fields[i].len()
	}
	return n
}

// AppendTemplate appends the Template Record or Options Template Record
// (RFC 7011, Sections 3.4.1 and 3.4.2.2), without a Set Header.
func (t *Template) AppendTemplate(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, t.ID)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.Fields)))
	if t.Options() {
		dst = binary.BigEndian.AppendUint16(dst, uint16(t.Scope))
	}
	for i := range t.Fields {
		dst = t.Fields[i].appendBinary(dst)
	}
	return dst
}
