package record

import (
	"encoding/binary"
	"slices"

	"ipfixsuite/ipfix"
)

// MaxPlans bounds the templates that an Encoder keeps the plans of.
const MaxPlans = 4096

// An Encoder writes records as JSON lines. The zero value is ready; it may be
// used by one goroutine at a time.
type Encoder struct {
	plans map[*ipfix.Template]*plan
	last  *ipfix.Template // that of plan
	plan  *plan
	clock clock
	// The metadata of meta as text, in two parts: the template's number and
	// scope stand between them.
	meta   Meta
	head   []byte
	tail   []byte
	prefix []byte
	views  [][]byte
}

// AppendBatch appends the records of b, one a line, and says how many. The
// error is that of a record which does not end within the set
// (*ipfix.ParseError); the lines before it stand.
func (e *Encoder) AppendBatch(dst []byte, b *Batch) ([]byte, int, error) {
	var r ipfix.Records
	r.Reset(b.Template, b.Body)
	p := e.planOf(b.Template)
	e.setPrefix(b)
	records := 0
	for r.Next() {
		rec := r.Raw()
		need := len(e.prefix) + p.room + 6*len(rec)
		if cap(dst)-len(dst) < need {
			dst = grow(dst, need)
		}
		n := len(dst) + copy(dst[len(dst):cap(dst)], e.prefix)
		switch {
		case p.straight:
			n += e.put(dst[n:cap(dst)], p, rec)
		case !p.lists:
			e.views = p.split(e.views, rec)
			n += e.putViews(dst[n:cap(dst)], p, e.views)
		default:
			e.views = p.split(e.views, rec)
			dst = e.appendSteps(dst[:n], p, e.views, b, 0)
			n = len(dst)
			dst = grow(dst, len(p.tail)+1)
			*(*[4]byte)(dst[n:cap(dst)]) = p.tail
			n += p.tailN
		}
		dst = dst[:n+1]
		dst[n] = '\n'
		records++
	}
	return dst, records, r.Err()
}

// grow makes room for n octets behind dst.
func grow(dst []byte, n int) []byte { return slices.Grow(dst, n) }

func (e *Encoder) planOf(t *ipfix.Template) *plan {
	if t == e.last {
		return e.plan
	}
	p := e.plans[t]
	if p == nil {
		if len(e.plans) >= MaxPlans {
			clear(e.plans)
		}
		if e.plans == nil {
			e.plans = make(map[*ipfix.Template]*plan)
		}
		p = compile(t)
		e.plans[t] = p
	}
	e.last, e.plan = t, p
	return p
}

// setPrefix renders the metadata, as far as it is new.
func (e *Encoder) setPrefix(b *Batch) {
	if b.Meta == nil {
		e.prefix = append(e.prefix[:0], `{"@template":`...)
	} else {
		if e.head == nil || *b.Meta != e.meta {
			e.setMeta(b.Meta)
		}
		e.prefix = append(e.prefix[:0], e.head...)
	}
	e.prefix = appendUint(e.prefix, uint64(b.Template.ID))
	if b.Template.Options() {
		e.prefix = append(e.prefix, `,"@scope":`...)
		e.prefix = appendUint(e.prefix, uint64(b.Template.Scope))
	}
	if b.Meta != nil {
		e.prefix = append(e.prefix, e.tail...)
	}
}

func (e *Encoder) setMeta(m *Meta) {
	e.meta = *m
	e.head = append(e.head[:0], `{"@exporter":"`...)
	e.head = appendString(e.head, m.Exporter)
	e.head = append(e.head, `","@session":`...)
	e.head = appendUint(e.head, m.Session)
	e.head = append(e.head, `,"@domain":`...)
	e.head = appendUint(e.head, uint64(m.Domain))
	e.head = append(e.head, `,"@template":`...)
	e.tail = append(e.tail[:0], `,"@exportTime":"`...)
	e.tail = grow(e.tail, maxTime+1)
	n := len(e.tail)
	n += e.clock.seconds(e.tail[n:cap(e.tail)], uint64(m.ExportTime))
	e.tail = append(e.tail[:n], '"')
}

func appendUint(dst []byte, v uint64) []byte {
	n := len(dst)
	dst = grow(dst, maxUint)
	return dst[:n+putUint(dst[n:n+maxUint], v)]
}

// put writes the fields of a record that lie one behind the other. b has the
// room that the plan asks for, and Records has seen that the record is whole.
func (e *Encoder) put(b []byte, p *plan, r []byte) int {
	n := 0
	steps := p.steps
	for i := range steps {
		s := &steps[i]
		*(*[leadBlock]byte)(b[n:]) = s.lead
		if s.n != 0 {
			n += int(s.n)
		} else {
			n += copy(b[n:], s.long)
		}
		// Fields of one of the common lengths first.
		switch s.form {
		case formU8:
			n += putUint(b[n:], uint64(r[0]))
			r = r[1:]
			continue
		case formU16:
			n += putUint(b[n:], uint64(binary.BigEndian.Uint16(r)))
			r = r[2:]
			continue
		case formU32:
			n += putUint(b[n:], uint64(binary.BigEndian.Uint32(r)))
			r = r[4:]
			continue
		case formU64:
			n += putUint(b[n:], binary.BigEndian.Uint64(r))
			r = r[8:]
			continue
		case formIPv4:
			n += putIPv4(b[n:], r)
			r = r[4:]
			continue
		case formMillis:
			n += e.clock.millis(b[n:], binary.BigEndian.Uint64(r))
			r = r[8:]
			continue
		}
		l := int(s.length)
		if l == ipfix.VariableLength {
			l, r = int(r[0]), r[1:]
			if l == 255 {
				l, r = int(binary.BigEndian.Uint16(r)), r[2:]
			}
		}
		x := r[:l]
		r = r[l:]
		if s.form == formString && s.length == ipfix.VariableLength {
			n += putString(b[n:], x)
			continue
		}
		n += e.putValue(b[n:], s, x)
	}
	*(*[4]byte)(b[n:]) = p.tail
	return n + p.tailN
}

// putViews is put for records whose elements are not in the order of the text,
// since one stands in them twice.
func (e *Encoder) putViews(b []byte, p *plan, views [][]byte) int {
	n := 0
	for i := range p.steps {
		s := &p.steps[i]
		*(*[leadBlock]byte)(b[n:]) = s.lead
		if s.n != 0 {
			n += int(s.n)
		} else {
			n += copy(b[n:], s.long)
		}
		n += e.putValue(b[n:], s, views[s.field])
	}
	*(*[4]byte)(b[n:]) = p.tail
	return n + p.tailN
}

// putValue writes the value of the octets x, apart from lists: at most
// maxValue octets and 6 for each of x.
func (e *Encoder) putValue(b []byte, s *step, x []byte) int {
	switch s.form {
	case formU8, formU16, formU32, formU64, formUint:
		return putUint(b, loadUint(x))
	case formIPv4:
		return putIPv4(b, x)
	case formMillis:
		return e.clock.millis(b, binary.BigEndian.Uint64(x))
	case formString:
		if s.length != ipfix.VariableLength {
			for len(x) > 0 && x[len(x)-1] == 0 {
				x = x[:len(x)-1]
			}
		}
		return putString(b, x)
	case formInt:
		shift := 64 - 8*uint(len(x))
		return putInt(b, int64(loadUint(x)<<shift)>>shift)
	case formFloat:
		return putFloat(b, x)
	case formMAC:
		return putMAC(b, x)
	case formIPv6:
		return putIPv6(b, x)
	case formSeconds:
		return e.clock.seconds(b, loadUint(x))
	case formMicros:
		return e.clock.micros(b, loadUint(x))
	case formNanos:
		return e.clock.nanos(b, loadUint(x))
	case formUint256:
		return putUint256(b, x)
	case formBool:
		switch x[0] {
		case 1:
			return copy(b, "true")
		case 2:
			return copy(b, "false")
		}
	case formLoose:
		return e.putLoose(b, s, x)
	}
	n := copy(b, `"0x`)
	n += putHex(b[n:], x)
	b[n] = '"'
	return n + 1
}

// putLoose writes the value of a field whose length is known only now.
func (e *Encoder) putLoose(b []byte, s *step, x []byte) int {
	if len(x) == 0 {
		return copy(b, "null")
	}
	if len(x) >= ipfix.VariableLength { // longer than any message
		return copy(b, "null")
	}
	now := step{form: formFor(s.typ, uint16(len(x))), length: uint16(len(x)), typ: s.typ}
	if !quoted(now.form) {
		return e.putValue(b, &now, x)
	}
	b[0] = '"'
	n := 1 + e.putValue(b[1:], &now, x)
	b[n] = '"'
	return n + 1
}
