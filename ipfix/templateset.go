package ipfix

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// A TemplateRecord is one record of a Template Set or Options Template Set, as
// it stands there. Without Fields it is a withdrawal: of the template ID, or,
// where ID is 2 or 3, of all Templates or all Options Templates of the
// Observation Domain (RFC 7011, Section 8.1).
type TemplateRecord struct {
	ID uint16
	// Scope is the Scope Field Count; -1 in a record of an Options Template
	// Set whose count is 0, which is not allowed.
	Scope   int
	Options bool        // from an Options Template Set
	Fields  []FieldSpec // valid until the next record is read
	Offset  int         // in the set's body
}

// Withdrawal reports whether the record takes back rather than defines.
func (r *TemplateRecord) Withdrawal() bool { return len(r.Fields) == 0 }

// WithdrawsAll reports whether the record withdraws all Templates (or, if
// Options, all Options Templates).
func (r *TemplateRecord) WithdrawsAll() bool {
	return r.Withdrawal() && r.ID < MinDataSetID
}

// Check reports what makes the record unusable although it could be framed.
func (r *TemplateRecord) Check() error {
	own := uint16(TemplateSetID)
	if r.Options {
		own = OptionsTemplateSetID
	}
	switch {
	case r.Withdrawal() && (r.ID >= MinDataSetID || r.ID == own):
		return nil
	case r.ID < MinDataSetID:
		return fault(r.Offset, "template id", fmt.Errorf("%d is reserved", r.ID))
	case r.Options && r.Scope < 1:
		// RFC 7011, Section 3.4.2.2, MUST NOT.
		return fault(r.Offset+4, "scope field count", fmt.Errorf("0"))
	case r.Scope > len(r.Fields):
		return fault(r.Offset+4, "scope field count", fmt.Errorf("%d of %d fields", r.Scope, len(r.Fields)))
	}
	return nil
}

// A TemplateReader walks the records of template sets, and reuses its memory.
type TemplateReader struct {
	body    []byte
	next    int
	options bool
	specs   []FieldSpec
	err     error
}

// Reset starts at the first record of a set, whose id is 2 or 3.
func (r *TemplateReader) Reset(setID uint16, body []byte) {
	*r = TemplateReader{body: body, options: setID == OptionsTemplateSetID, specs: r.specs[:0]}
	if setID != TemplateSetID && setID != OptionsTemplateSetID {
		r.err = fault(0, "set id", fmt.Errorf("%d is no template set", setID))
	}
}

// Next returns the next record, or false at the end of the set, its padding
// included, or at a fault.
func (r *TemplateReader) Next() (TemplateRecord, bool) {
	b := r.body[r.next:]
	// Less than a withdrawal is padding (RFC 7011, Section 3.3.1). Up to 7
	// zero octets are as well, where a set was padded to 8.
	if r.err != nil || len(b) < 4 || len(b) < 8 && zero(b) {
		return TemplateRecord{}, false
	}
	rec := TemplateRecord{ID: binary.BigEndian.Uint16(b), Options: r.options, Offset: r.next}
	count := int(binary.BigEndian.Uint16(b[2:]))
	n := 4
	if count > 0 && r.options {
		if len(b) < 6 {
			return r.fail(len(r.body), "scope field count", ErrTruncated)
		}
		rec.Scope = int(binary.BigEndian.Uint16(b[4:]))
		if rec.Scope == 0 {
			rec.Scope = -1
		}
		n = 6
	}
	if count > (len(b)-n)/4 {
		return r.fail(r.next+2, "field count", fmt.Errorf("%d fields in %d octets: %w", count, len(b)-n, ErrTruncated))
	}
	r.specs = r.specs[:0]
	for range count {
		s, k := parseSpec(b[n:])
		if k == 0 {
			return r.fail(r.next+n, "field specifier", ErrTruncated)
		}
		r.specs = append(r.specs, s)
		n += k
	}
	rec.Fields = r.specs
	r.next += n
	return rec, true
}

func (r *TemplateReader) fail(offset int, field string, err error) (TemplateRecord, bool) {
	r.err = fault(offset, field, err)
	return TemplateRecord{}, false
}

// Err is the fault that ended the walk, with its offset in the body.
func (r *TemplateReader) Err() error { return r.err }

// ParseTemplates walks the records of a template set; at most one error, last.
// A record's Fields are valid until the next one.
func ParseTemplates(setID uint16, body []byte) iter.Seq2[TemplateRecord, error] {
	return func(yield func(TemplateRecord, error) bool) {
		var r TemplateReader
		r.Reset(setID, body)
		for {
			rec, ok := r.Next()
			if !ok {
				break
			}
			if !yield(rec, nil) {
				return
			}
		}
		if r.err != nil {
			yield(TemplateRecord{}, r.err)
		}
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
