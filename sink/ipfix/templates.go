package ipfix

import (
	"encoding/binary"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
)

// templateID is the element that holds a template id, as in the Flow Keys
// options (RFC 7011, Section 4.4).
var templateID = ie.ID{Num: 145}

// A domain is an Observation Domain of one file: what template ids mean there.
type domain struct {
	id       uint32
	sequence uint32 // data records so far
	known    map[*ipfix.Template]entry
	last     *ipfix.Template
	lastIs   entry
	defined  map[string]uint16 // by the template record without its id
	taken    map[uint16]struct{}
}

// An entry is a template of the file: its id there, and whether its records
// speak of other templates.
type entry struct {
	id   uint16
	refs bool
}

func newDomain(id uint32) *domain {
	return &domain{
		id: id, known: map[*ipfix.Template]entry{},
		defined: map[string]uint16{}, taken: map[uint16]struct{}{},
	}
}

// template is the id that t has in the file under way, where it is written
// first if it is new. The message under way may be another one afterwards.
func (q *series) template(t *ipfix.Template) (id uint16, refs bool, err error) {
	d := q.domain
	if d.last == t {
		return d.lastIs.id, d.lastIs.refs, nil
	}
	e, ok := d.known[t]
	if !ok {
		if e, err = q.define(t); err != nil {
			return 0, false, err
		}
		d = q.domain
	}
	d.last, d.lastIs = t, e
	return e.id, e.refs, nil
}

func (q *series) define(t *ipfix.Template) (entry, error) {
	rec := t.AppendTemplate(nil)
	if q.templates >= q.sink.cfg.MaxTemplates && !q.stay {
		// A file has room for so many; the next one starts with none.
		domain, exportTime := q.domain.id, q.exportTime
		if err := q.finish(); err != nil {
			return entry{}, err
		}
		if err := q.w.Rotate(); err != nil {
			return entry{}, err
		}
		if err := q.message(domain, exportTime, len(rec)); err != nil {
			return entry{}, err
		}
	}
	// Sets of templates and of options templates look alike but for the
	// scope count, so that the kind is part of the key.
	key := string(binary.BigEndian.AppendUint16(rec[2:len(rec):len(rec)], t.SetID()))
	e := entry{refs: t.Refers}
	if id, ok := q.domain.defined[key]; ok {
		e.id = id
		q.remember(t, e)
		return e, nil
	}
	if err := q.message(q.domain.id, q.exportTime, ipfix.SetHeaderLen+len(rec)); err != nil {
		return e, err
	}
	d := q.domain
	e.id = t.ID
	if _, ok := d.taken[e.id]; ok {
		q.sink.stats.TemplatesRenumbered++
		// From above, where exporters seldom are.
		for e.id = 0xFFFF; ; e.id-- {
			if _, ok := d.taken[e.id]; !ok {
				break
			}
		}
	}
	binary.BigEndian.PutUint16(rec, e.id)
	q.set(t.SetID(), rec)
	d.taken[e.id] = struct{}{}
	d.defined[key] = e.id
	q.templates++
	q.remember(t, e)
	return e, nil
}

// remember keeps the id of t at hand. Sessions come and go, their templates
// with them: what is remembered is bounded and found again by its definition.
func (q *series) remember(t *ipfix.Template, e entry) {
	d := q.domain
	if len(d.known) >= 2*q.sink.cfg.MaxTemplates {
		clear(d.known)
	}
	d.known[t] = e
}

// refers tells whether a field can hold template ids.
func refers(f ipfix.Field) bool {
	switch f.Type {
	case ie.BasicList, ie.SubTemplateList, ie.SubTemplateMultiList:
		return true
	}
	return f.ID == templateID && f.Length == 2
}

// maxDepth bounds lists within lists.
const maxDepth = 16

// follow returns the body of b with the template ids that stand in it changed
// to those of the file, all of which it defines. If another file was begun
// meanwhile, it is of no use.
func (q *series) follow(b *record.Batch) ([]byte, error) {
	q.scratch = append(q.scratch[:0], b.Body...)
	f := follower{q: q, lists: b.Lists}
	f.records(b.Template, q.scratch, 0)
	return q.scratch, f.err
}

type follower struct {
	q     *series
	lists func(id uint16) *ipfix.Template
	err   error
}

func (f *follower) records(t *ipfix.Template, body []byte, depth int) {
	if depth > maxDepth || !t.Refers {
		return
	}
	var r ipfix.Records
	for r.Reset(t, body); f.err == nil && r.Next(); {
		for i := range t.Fields {
			if refers(t.Fields[i]) {
				f.field(t.Fields[i].Type, t.Fields[i].ID, r.View(i), depth)
			}
		}
	}
}

// field changes the ids within one value. Views are of the scratch copy.
func (f *follower) field(typ ie.DataType, id ie.ID, v []byte, depth int) {
	switch {
	case id == templateID && len(v) == 2:
		f.id(v)
	case typ == ie.SubTemplateList:
		if l, err := ipfix.ParseSubTemplateList(v); err == nil {
			if t := f.id(v[1:]); t != nil {
				f.records(t, l.Content, depth+1)
			}
		}
	case typ == ie.SubTemplateMultiList:
		l, err := ipfix.ParseSubTemplateMultiList(v)
		if err != nil {
			return
		}
		for part, err := range l.All() {
			if err != nil {
				return
			}
			if t := f.id(l.Content[part.Offset-4:]); t != nil {
				f.records(t, part.Content, depth+1)
			}
		}
	case typ == ie.BasicList && depth < maxDepth:
		f.basicList(v, depth)
	}
}

// basicList follows lists of lists; the elements of others name no template.
func (f *follower) basicList(v []byte, depth int) {
	l, err := ipfix.ParseBasicList(v)
	if err != nil || l.Field.PEN != 0 {
		return
	}
	typ := ie.OctetArray
	switch l.Field.Num {
	case 291:
		typ = ie.BasicList
	case 292:
		typ = ie.SubTemplateList
	case 293:
		typ = ie.SubTemplateMultiList
	case templateID.Num:
	default:
		return
	}
	for e, err := range l.All() {
		if err != nil || f.err != nil {
			return
		}
		f.field(typ, l.Field.ID, e, depth+1)
	}
}

// id changes the template id at the start of b and returns its template.
func (f *follower) id(b []byte) *ipfix.Template {
	id := binary.BigEndian.Uint16(b)
	if id < ipfix.MinDataSetID {
		return nil // no reference
	}
	var t *ipfix.Template
	if f.lists != nil {
		t = f.lists(id)
	}
	if t == nil {
		f.q.sink.stats.TemplatesMissing++
		return nil
	}
	now, _, err := f.q.template(t)
	if err != nil {
		f.err = err
		return nil
	}
	binary.BigEndian.PutUint16(b, now)
	return t
}
