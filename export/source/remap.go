package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
)

// Elements whose values mean something else in another message.
const (
	templateID                 = 145
	flowStartMicroseconds      = 154
	flowEndMicroseconds        = 155
	flowStartDeltaMicroseconds = 158
	flowEndDeltaMicroseconds   = 159
	messageScope               = 263
)

// mapped is a Template of a file and what it becomes.
type mapped struct {
	in    *ipfix.Template
	out   *export.Template
	specs []ipfix.FieldSpec // of out
	fix   []fix             // by field; empty: records are copied as they are
	skip  bool              // records about messages of the file
}

// fix is what is done to a field.
type fix uint8

const (
	keep  fix = iota
	delta     // microseconds before the Export Time: made absolute
	id        // a template id
	list      // may name template ids
)

func newMapped(in *ipfix.Template) *mapped {
	m := &mapped{in: in, specs: in.Specs(nil)}
	fixes := make([]fix, len(in.Fields))
	changes := false
	for i := range in.Fields {
		f := &in.Fields[i]
		switch {
		case f.Type.Structured():
			fixes[i] = list
		case f.PEN != 0:
		case f.Num == messageScope && i < in.Scope:
			m.skip = true
		case f.Num == templateID && f.Length == 2:
			fixes[i] = id
		case isDelta(f.FieldSpec):
			fixes[i] = delta
			m.specs[i] = absoluteSpec(f.FieldSpec)
		}
		changes = changes || fixes[i] != keep
	}
	if changes {
		m.fix = fixes
	}
	return m
}

func (m *mapped) rewrites() bool { return m.fix != nil }

var errUnknownTemplate = errors.New("names a template that the file has not defined")

// A rewriter brings records of one message along.
type rewriter struct {
	known      map[uint16]*mapped // Templates of the message's domain
	registry   *ie.Registry
	exportTime uint32 // of the message
}

// record appends the record r stands at as m.out has it.
func (w *rewriter) record(dst []byte, m *mapped, r *ipfix.Records, depth int) ([]byte, error) {
	if !m.rewrites() {
		return append(dst, r.Raw()...), nil
	}
	for i := range m.in.Fields {
		f := &m.in.Fields[i]
		view := r.View(i)
		var err error
		switch m.fix[i] {
		case delta:
			dst = w.absolute(dst, r.Value(i).Num)
			continue
		case id:
			// A record about a Template that the file does not define
			// (any more) says nothing.
			o, err := w.template(binary.BigEndian.Uint16(view))
			if err != nil {
				return dst, fmt.Errorf("template %d: field %d: %w", m.in.ID, i, err)
			}
			dst = binary.BigEndian.AppendUint16(dst, o.out.ID)
			continue
		case list:
			if view, err = w.list(f.Type, view, depth); err != nil {
				return dst, fmt.Errorf("template %d: field %d: %w", m.in.ID, i, err)
			}
		}
		switch {
		case f.Length == ipfix.VariableLength:
			dst = ipfix.AppendVariable(dst, view)
		case len(view) != int(f.Length):
			return dst, fmt.Errorf("template %d: field %d: a list of fixed length would change it", m.in.ID, i)
		default:
			dst = append(dst, view...)
		}
	}
	return dst, nil
}

// absolute appends the time that many microseconds before the Export Time.
func (w *rewriter) absolute(dst []byte, micros uint64) []byte {
	const most = 1 << 32 // the element has 32 bits
	at := time.Unix(int64(w.exportTime), 0).Add(-time.Duration(min(micros, most)) * time.Microsecond)
	return binary.BigEndian.AppendUint64(dst, ipfix.NTP(at))
}

func (w *rewriter) template(id uint16) (*mapped, error) {
	m := w.known[id]
	if m == nil || m.out == nil {
		return nil, fmt.Errorf("template %d: %w", id, errUnknownTemplate)
	}
	return m, nil
}

// list returns the octets of a list field with the Exporter's template ids,
// at any depth (RFC 6313).
func (w *rewriter) list(t ie.DataType, b []byte, depth int) ([]byte, error) {
	if len(b) == 0 {
		return b, nil
	}
	if depth >= record.MaxDepth {
		return nil, fmt.Errorf("lists within lists, more than %d deep", record.MaxDepth)
	}
	switch t {
	case ie.SubTemplateList:
		l, err := ipfix.ParseSubTemplateList(b)
		if err != nil {
			return nil, err
		}
		if l.Template, l.Content, err = w.records(l.Template, l.Content, depth+1); err != nil {
			return nil, err
		}
		return l.AppendBinary(nil)
	case ie.SubTemplateMultiList:
		l, err := ipfix.ParseSubTemplateMultiList(b)
		if err != nil {
			return nil, err
		}
		var content []byte
		for part, err := range l.All() {
			if err != nil {
				return nil, err
			}
			tid, recs, err := w.records(part.Template, part.Content, depth+1)
			if err != nil {
				return nil, err
			}
			if content, err = ipfix.AppendPart(content, tid, recs); err != nil {
				return nil, err
			}
		}
		l.Content = content
		return l.AppendBinary(nil)
	default:
		return w.basicList(b, depth+1)
	}
}

// records brings the records of one template within a list along.
func (w *rewriter) records(tid uint16, recs []byte, depth int) (uint16, []byte, error) {
	m, err := w.template(tid)
	if err != nil {
		return 0, nil, err
	}
	if !m.rewrites() {
		return m.out.ID, recs, nil
	}
	var out []byte
	var r ipfix.Records
	r.Reset(m.in, recs)
	for r.Next() {
		if out, err = w.record(out, m, &r, depth); err != nil {
			return 0, nil, err
		}
	}
	return m.out.ID, out, r.Err()
}

// basicList brings the values of a basicList along.
func (w *rewriter) basicList(b []byte, depth int) ([]byte, error) {
	l, err := ipfix.ParseBasicList(b)
	if err != nil {
		return nil, err
	}
	in := l.Field
	e := w.registry.Lookup(in.ID)
	inner := e != nil && e.Type.Structured()
	relative := isDelta(in)
	names := in.PEN == 0 && in.Num == templateID && in.Length == 2
	if !inner && !relative && !names {
		return b, nil
	}
	var content []byte
	for v, err := range l.All() {
		if err != nil {
			return nil, err
		}
		switch {
		case relative:
			content = w.absolute(content, ipfix.ValueOf(ie.Unsigned32, v).Num)
		case names:
			m, err := w.template(binary.BigEndian.Uint16(v))
			if err != nil {
				return nil, err
			}
			content = binary.BigEndian.AppendUint16(content, m.out.ID)
		default:
			if v, err = w.list(e.Type, v, depth); err != nil {
				return nil, err
			}
			content = ipfix.AppendVariable(content, v)
			l.Field.Length = ipfix.VariableLength
		}
	}
	if relative {
		l.Field = absoluteSpec(in)
	}
	l.Content = content
	return l.AppendBinary(nil)
}

func isDelta(s ipfix.FieldSpec) bool {
	return s.PEN == 0 && (s.Num == flowStartDeltaMicroseconds || s.Num == flowEndDeltaMicroseconds) &&
		s.Length != ipfix.VariableLength && s.Length <= 8
}

func absoluteSpec(s ipfix.FieldSpec) ipfix.FieldSpec {
	s.Length = 8
	if s.Num == flowStartDeltaMicroseconds {
		s.Num = flowStartMicroseconds
	} else {
		s.Num = flowEndMicroseconds
	}
	return s
}
