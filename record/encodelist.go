package record

import (
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// MaxDepth is how many lists may lie within each other. Deeper ones are
// written as octets: 64 KiB of a message could nest ten thousand.
const MaxDepth = 8

// appendSteps writes the fields of a record by their views: for records that
// hold lists, or an element twice.
func (e *Encoder) appendSteps(dst []byte, p *plan, views [][]byte, in *Batch, depth int) []byte {
	for i := range p.steps {
		s := &p.steps[i]
		x := views[s.field]
		dst = grow(dst, max(leadBlock, len(s.long))+maxValue+6*len(x))
		n := len(dst)
		b := dst[n:cap(dst)]
		var k int
		if s.n != 0 {
			k = copy(b, s.lead[:s.n])
		} else {
			k = copy(b, s.long)
		}
		if s.form < formBasicList {
			dst = dst[:n+k+e.putValue(b[k:], s, x)]
			continue
		}
		dst = e.appendList(dst[:n+k], s.form, x, in, depth)
	}
	return dst
}

// appendList writes a list as an object.
func (e *Encoder) appendList(dst []byte, f form, x []byte, in *Batch, depth int) []byte {
	dst = append(dst, '{')
	if depth >= MaxDepth {
		return appendData(dst, x)
	}
	var ok bool
	switch f {
	case formBasicList:
		dst, ok = e.appendBasicList(dst, x, in, depth)
	case formSubTemplateList:
		var l ipfix.SubTemplateList
		var err error
		if l, err = ipfix.ParseSubTemplateList(x); err == nil {
			dst = append(appendSemantic(dst, l.Semantic), ',')
			dst, ok = e.appendRecords(dst, l.Template, l.Content, in, depth), true
		}
	case formSubTemplateMultiList:
		dst, ok = e.appendMultiList(dst, x, in, depth)
	}
	if !ok {
		return appendData(dst, x)
	}
	return append(dst, '}')
}

// appendData ends an object with octets as they are.
func appendData(dst, x []byte) []byte {
	dst = append(dst, `"@data":"0x`...)
	n := len(dst)
	dst = grow(dst, 2*len(x)+2)
	n += putHex(dst[n:cap(dst)], x)
	return append(dst[:n], '"', '}')
}

func appendSemantic(dst []byte, s ipfix.ListSemantic) []byte {
	dst = append(dst, `"@semantic":"`...)
	return append(append(dst, s.String()...), '"')
}

func (e *Encoder) appendBasicList(dst, x []byte, in *Batch, depth int) ([]byte, bool) {
	l, err := ipfix.ParseBasicList(x)
	if err != nil {
		return dst, false
	}
	start := len(dst)
	dst = append(appendSemantic(dst, l.Semantic), `,"`...)
	typ := ie.OctetArray
	el := in.Registry.Lookup(l.Field.ID)
	if el != nil {
		dst, typ = append(dst, el.Name...), el.Type
	} else {
		dst = ie.AppendUnknownName(dst, l.Field.ID)
	}
	dst = append(dst, `":[`...)
	s := step{form: formFor(typ, l.Field.Length), typ: typ, length: l.Field.Length}
	quote := quoted(s.form)
	first := true
	for v, err := range l.All() {
		if err != nil {
			return dst[:start], false
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if s.form >= formBasicList {
			dst = e.appendList(dst, s.form, v, in, depth+1)
			continue
		}
		dst = grow(dst, maxValue+6*len(v))
		n := len(dst)
		b := dst[n:cap(dst)]
		k := 0
		if quote {
			b[0] = '"'
			k = 1
		}
		k += e.putValue(b[k:], &s, v)
		if quote {
			b[k] = '"'
			k++
		}
		dst = dst[:n+k]
	}
	return append(dst, ']'), true
}

func (e *Encoder) appendMultiList(dst, x []byte, in *Batch, depth int) ([]byte, bool) {
	l, err := ipfix.ParseSubTemplateMultiList(x)
	if err != nil {
		return dst, false
	}
	start := len(dst)
	dst = append(appendSemantic(dst, l.Semantic), `,"@parts":[`...)
	first := true
	for part, err := range l.All() {
		if err != nil {
			return dst[:start], false
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '{')
		dst = e.appendRecords(dst, part.Template, part.Content, in, depth)
		dst = append(dst, '}')
	}
	return append(dst, ']'), true
}

// appendRecords writes "@template" and "@records", or "@data" if they cannot be
// read.
func (e *Encoder) appendRecords(dst []byte, id uint16, content []byte, in *Batch, depth int) []byte {
	dst = append(dst, `"@template":`...)
	dst = append(appendUint(dst, uint64(id)), ',')
	start := len(dst)
	var t *ipfix.Template
	if in.Lists != nil {
		t = in.Lists(id)
	}
	if t != nil || len(content) == 0 {
		dst = append(dst, `"@records":[`...)
		if len(content) == 0 {
			return append(dst, ']')
		}
		p := e.subPlan(t)
		var r ipfix.Records
		r.Reset(t, content)
		views := make([][]byte, 0, len(p.lengths))
		for first := true; r.Next(); first = false {
			if !first {
				dst = append(dst, ',')
			}
			n := len(dst)
			dst = e.appendSteps(dst, p, p.split(views, r.Raw()), in, depth+1)
			dst = append(dst, p.tail[:p.tailN]...)
			// Leads begin with a comma; there is no metadata before the first.
			if dst[n] == ',' {
				dst[n] = '{'
			} else {
				dst = append(dst[:n], '{', '}')
			}
		}
		if r.Err() == nil {
			return append(dst, ']')
		}
		dst = dst[:start]
	}
	dst = appendData(dst, content)
	return dst[:len(dst)-1] // the brace is the caller's
}

// subPlan is planOf that leaves the last plan in its place.
func (e *Encoder) subPlan(t *ipfix.Template) *plan {
	last, p := e.last, e.plan
	sub := e.planOf(t)
	e.last, e.plan = last, p
	return sub
}
