package ie

import (
	"fmt"
	"strings"
)

// Numbers of the elements that type records consist of (RFC 5610, Section
// 3.9; informationElementId is of RFC 5477).
const (
	informationElementID         = 303
	informationElementDataType   = 339
	informationElementName       = 341
	informationElementRangeBegin = 342
	informationElementRangeEnd   = 343
	informationElementSemantics  = 344
	informationElementUnits      = 345
	privateEnterpriseNumber      = 346
)

// TypeRecord collects the values of one Information Element type record
// (RFC 5610, Section 3.9). Its zero value is an empty one; call Set for every
// field of the options data record, then Element.
type TypeRecord struct {
	pen        uint64
	number     uint64
	dataType   uint64
	semantics  uint64
	units      uint64
	begin, end uint64
	name       string
	have       uint8
}

const (
	haveNumber = 1 << iota
	haveType
	haveName
)

// DescribesElements says whether an Options Template with these fields, the
// scope first, defines type records: the number in the scope, and the data
// type and the name of the element (RFC 5610, Section 3.9).
func DescribesElements(scope int, fields []ID) bool {
	var have uint8
	for i, id := range fields {
		switch id {
		case ID{Num: informationElementID}:
			if i < scope {
				have |= haveNumber
			}
		case ID{Num: informationElementDataType}:
			have |= haveType
		case ID{Num: informationElementName}:
			have |= haveName
		}
	}
	return have == haveNumber|haveType|haveName
}

// Set takes one field: num is the value of an integer, octets that of a
// string. Fields that mean nothing to a type record are ignored.
func (t *TypeRecord) Set(id ID, num uint64, octets []byte) {
	if id.PEN != 0 {
		return
	}
	switch id.Num {
	case privateEnterpriseNumber:
		t.pen = num
	case informationElementID:
		t.number, t.have = num, t.have|haveNumber
	case informationElementDataType:
		t.dataType, t.have = num, t.have|haveType
	case informationElementSemantics:
		t.semantics = num
	case informationElementUnits:
		t.units = num
	case informationElementRangeBegin:
		t.begin = num
	case informationElementRangeEnd:
		t.end = num
	case informationElementName:
		// One octet more than is allowed is enough to see that it is too long.
		// Fixed-length strings are padded with zeros by some exporters.
		s := octets[:min(len(octets), MaxName+1)]
		t.name, t.have = strings.TrimRight(string(s), "\x00"), t.have|haveName
	}
}

// Element checks the record and makes an element of it.
func (t *TypeRecord) Element() (Element, error) {
	if t.have != haveNumber|haveType|haveName {
		return Element{}, fmt.Errorf("type record without number, data type or name")
	}
	// The enterprise bit of the number is ignored (RFC 5610, Section 3.8, MUST).
	e := Element{ID: ID{PEN: uint32(t.pen), Num: uint16(t.number) & MaxNumber}, Name: t.name}
	switch {
	case t.pen > 1<<32-1 || t.number > 0xFFFF:
		return Element{}, fmt.Errorf("type record for element %d/%d: no such number", t.pen, t.number)
	case t.dataType > 0xFF || !DataType(t.dataType).Valid():
		return Element{}, fmt.Errorf("type record for element %v: unknown data type %d", e.ID, t.dataType)
	case t.semantics > 0xFF || !Semantics(t.semantics).Valid():
		return Element{}, fmt.Errorf("type record for element %v: unknown semantics %d", e.ID, t.semantics)
	case t.begin > t.end && t.end != 0:
		return Element{}, fmt.Errorf("type record for element %v: range from %d to %d", e.ID, t.begin, t.end)
	}
	e.Type, e.Semantics = DataType(t.dataType), Semantics(t.semantics)
	if t.units <= 0xFFFF {
		e.Units = UnitsName(uint16(t.units))
	}
	e.Min, e.Max = t.begin, t.end
	if e.Min > e.Max { // a beginning without an end
		e.Max = 1<<64 - 1
	}
	return e, e.checkLearnt()
}

// checkLearnt holds what RFC 5610, Section 3.10, allows.
func (e *Element) checkLearnt() error {
	if err := CheckName(e.Name); err != nil {
		return fmt.Errorf("type record for element %v: %w", e.ID, err)
	}
	// Other combinations must be ignored (RFC 5610, Section 3.10, MUST).
	if !e.Semantics.Allows(e.Type) {
		return fmt.Errorf("type record for element %v: %v cannot be %v", e.ID, e.Type, e.Semantics)
	}
	if len(e.Units) > MaxName || e.Min > e.Max || e.Num > MaxNumber {
		return fmt.Errorf("type record for element %v: units, range or number out of bounds", e.ID)
	}
	return nil
}

// Learn takes in an element as a peer described it. Learning the same again
// changes nothing. What is known otherwise stays (ErrKnown); an element that
// the peer describes in two ways is ignored from then on (ErrConflict), and a
// name that is or reads like that of another element is refused (ErrName).
// RFC 5610, Section 3.9, MUST.
func (r *Registry) Learn(e Element) error {
	if r == nil || r.frozen {
		return fmt.Errorf("elements can be learnt by an overlay only")
	}
	if err := e.checkLearnt(); err != nil {
		return err
	}
	if o := r.parent.Lookup(e.ID); o != nil {
		return r.known(&e, o)
	}
	// IANA's numbers, and the reverse ones that follow from them, are for
	// IANA to describe, also those that this program does not know yet.
	if e.PEN == 0 || e.PEN == ReversePEN {
		return fmt.Errorf("type record for element %v: %w: the number is IANA's", e.ID, ErrKnown)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	valid, described := r.learnt[e.ID]
	old := r.ids[e.ID]
	switch {
	case described && !valid:
		return fmt.Errorf("type record for element %v: %w", e.ID, ErrConflict)
	case described:
		if old.same(&e) {
			return nil
		}
		delete(r.ids, e.ID)
		delete(r.names, old.Name)
		r.learnt[e.ID] = false
		return fmt.Errorf("type record for element %v: %w: %s, then %s", e.ID, ErrConflict, old.Name, e.Name)
	case old != nil:
		return r.known(&e, old)
	case len(r.learnt) >= MaxLearnt:
		return fmt.Errorf("type record for element %v: %w: at most %d", e.ID, ErrFull, MaxLearnt)
	}
	id, taken := r.folded[strings.ToLower(e.Name)]
	if !taken {
		id, taken = r.parent.bearer(e.Name)
	}
	if taken {
		return fmt.Errorf("type record for element %v: %w: %s is element %v", e.ID, ErrName, e.Name, id)
	}
	if r.learnt == nil {
		r.learnt = make(map[ID]bool)
	}
	r.learnt[e.ID] = true
	e.Name, e.Units = strings.Clone(e.Name), strings.Clone(e.Units)
	r.add(&e)
	return nil
}

// known: a peer that says what we know is right, one that says otherwise is
// not believed.
func (r *Registry) known(e, old *Element) error {
	if old.Type == e.Type && old.Name == e.Name {
		return nil
	}
	return fmt.Errorf("type record for element %v: %w: it is %s of type %v", e.ID, ErrKnown, old.Name, old.Type)
}
