package record

import (
	"errors"
	"fmt"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// list reads the object of a list of RFC 6313 and appends its octets, in the
// form that an Encoder writes.
func (p *Parser) list(dst []byte, t ie.DataType, depth int) ([]byte, error) {
	s := &p.scan
	if depth >= MaxDepth {
		return dst, s.at("more than %d lists within each other", MaxDepth)
	}
	l := listParts{p: p, t: t, depth: depth, semantic: ipfix.UndefinedList}
	column := s.i + 1
	if err := s.object(l.key); err != nil {
		return dst, err
	}
	if l.data != nil {
		return append(dst, l.data...), nil
	}
	var err error
	switch {
	case t == ie.BasicList && l.named:
		dst, err = ipfix.BasicList{Semantic: l.semantic, Field: l.field, Content: l.content}.AppendBinary(dst)
	case t == ie.SubTemplateList && l.records:
		dst, err = ipfix.SubTemplateList{Semantic: l.semantic, Template: l.template, Content: l.content}.AppendBinary(dst)
	case t == ie.SubTemplateMultiList && l.parts:
		dst, err = ipfix.SubTemplateMultiList{Semantic: l.semantic, Content: l.content}.AppendBinary(dst)
	default:
		err = fmt.Errorf("a %v needs %s beside @semantic", t, needs(t))
	}
	if err != nil {
		return dst, &ParseError{Column: column, Err: err}
	}
	return dst, nil
}

func needs(t ie.DataType) string {
	switch t {
	case ie.BasicList:
		return "the name of an element with an array of its values"
	case ie.SubTemplateList:
		return "@records"
	}
	return "@parts"
}

// listParts gathers the keys of one list.
type listParts struct {
	p        *Parser
	t        ie.DataType
	depth    int
	semantic ipfix.ListSemantic
	template uint16
	field    ipfix.FieldSpec
	content  []byte
	data     []byte
	named    bool // basicList: the element was there
	records  bool // @records
	parts    bool // @parts
}

func (l *listParts) key(key []byte, column int) error {
	s := &l.p.scan
	switch k := string(key); {
	case k == "@semantic":
		return l.readSemantic()
	case k == "@template":
		return l.readTemplate()
	case k == "@data":
		return l.readData()
	case k == "@records" && l.t == ie.SubTemplateList && !l.records:
		l.records = true
		return l.readRecords()
	case k == "@parts" && l.t == ie.SubTemplateMultiList && !l.parts:
		l.parts = true
		return l.readParts()
	case k != "" && k[0] == '@':
		return &ParseError{Column: column, Key: clip(key), Err: fmt.Errorf("no such key in a %v", l.t)}
	case l.t != ie.BasicList:
		return &ParseError{Column: column, Key: clip(key), Err: fmt.Errorf("no such key in a %v, which needs %s", l.t, needs(l.t))}
	case l.named:
		return &ParseError{Column: column, Key: clip(key), Err: errors.New("a basicList has one element only")}
	}
	l.named = true
	n, err := l.p.resolve(key, column)
	if err != nil {
		return err
	}
	l.field = ipfix.FieldSpec{ID: n.id, Length: ipfix.VariableLength}
	if n.el != nil {
		l.field.Length = n.el.Type.Size()
	}
	if err := l.array(); err != nil {
		return err
	}
	return s.array(func() (err error) {
		if tok, err := s.peek(); err != nil {
			return err
		} else if tok == tokenNull {
			return s.at("null cannot stand in a basicList")
		}
		l.content, err = l.p.value(l.content, n.el, l.field.Length, l.depth+1)
		if err == nil && len(l.content) > maxRecord {
			err = s.at("the list fits in no message")
		}
		return err
	})
}

// array sees to it that an array comes.
func (l *listParts) array() error {
	if tok, err := l.p.scan.peek(); err != nil {
		return err
	} else if tok != tokenArray {
		return l.p.scan.at("%v where an array is expected", tok)
	}
	return nil
}

func (l *listParts) readSemantic() error {
	s := &l.p.scan
	column := s.i + 1
	text, _, err := s.scalar()
	if err != nil {
		return err
	}
	for _, v := range []ipfix.ListSemantic{ipfix.NoneOf, ipfix.ExactlyOneOf, ipfix.OneOrMoreOf, ipfix.AllOf, ipfix.Ordered, ipfix.UndefinedList} {
		if v.String() == string(text) {
			l.semantic = v
			return nil
		}
	}
	n, err := parseUint(text)
	if err != nil || n > 255 {
		return &ParseError{Column: column, Key: "@semantic", Err: fmt.Errorf("%q is not noneOf, exactlyOneOf, oneOrMoreOf, allOf, ordered, undefined or a number up to 255", clip(text))}
	}
	l.semantic = ipfix.ListSemantic(n)
	return nil
}

// readTemplate: the number says what a list without records would have held;
// one with records gets the template that Define knows.
func (l *listParts) readTemplate() error {
	s := &l.p.scan
	column := s.i + 1
	text, _, err := s.scalar()
	if err != nil {
		return err
	}
	n, err := parseUint(text)
	if err != nil || n > 0xFFFF {
		return &ParseError{Column: column, Key: "@template", Err: fmt.Errorf("%q is not the number of a template", clip(text))}
	}
	if !l.records {
		l.template = uint16(n)
	}
	return nil
}

// readData: octets of a list whose templates nobody knew. They name templates
// of another session, so only basicLists can be sent on.
func (l *listParts) readData() error {
	s := &l.p.scan
	column := s.i + 1
	text, _, err := s.scalar()
	if err != nil {
		return err
	}
	if l.t != ie.BasicList {
		return &ParseError{Column: column, Key: "@data", Err: fmt.Errorf("octets of a %v mean nothing without its templates", l.t)}
	}
	if l.data, err = appendOctets([]byte{}, text); err != nil {
		return &ParseError{Column: column, Key: "@data", Err: err}
	}
	return nil
}

// readRecords reads the records of one template.
func (l *listParts) readRecords() error {
	s := &l.p.scan
	if err := l.array(); err != nil {
		return err
	}
	var first []ipfix.FieldSpec
	return s.array(func() error {
		column := s.i + 1
		specs, data, err := l.p.nested(l.depth + 1)
		if err != nil {
			return err
		}
		if first == nil {
			first = specs
			if l.template, err = l.p.define(specs, column); err != nil {
				return err
			}
		} else if !same(first, specs) {
			return &ParseError{Column: column, Err: errors.New("the records of a list have the same keys in the same order")}
		}
		if l.content = append(l.content, data...); len(l.content) > maxRecord {
			return s.at("the list fits in no message")
		}
		return nil
	})
}

func same(a, b []ipfix.FieldSpec) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// readParts reads the parts of a subTemplateMultiList, which look like
// subTemplateLists without a semantic.
func (l *listParts) readParts() error {
	s := &l.p.scan
	if err := l.array(); err != nil {
		return err
	}
	return s.array(func() (err error) {
		part := listParts{p: l.p, t: ie.SubTemplateList, depth: l.depth}
		column := s.i + 1
		if err := s.object(part.key); err != nil {
			return err
		}
		if !part.records {
			return &ParseError{Column: column, Key: "@parts", Err: errors.New("a part needs @records")}
		}
		l.content, err = ipfix.AppendPart(l.content, part.template, part.content)
		if err == nil && len(l.content) > maxRecord {
			err = errors.New("the list fits in no message")
		}
		if err != nil {
			return &ParseError{Column: column, Key: "@parts", Err: err}
		}
		return nil
	})
}

// nested reads one record within a list.
func (p *Parser) nested(depth int) (specs []ipfix.FieldSpec, data []byte, err error) {
	seen := make(map[ie.ID]bool)
	s := &p.scan
	column := s.i + 1
	err = s.object(func(key []byte, column int) (err error) {
		if len(key) > 0 && key[0] == '@' {
			return s.skip(0)
		}
		specs, data, err = p.field(specs, data, key, column, seen, depth)
		return err
	})
	if err == nil && len(specs) == 0 {
		err = &ParseError{Column: column, Err: errors.New("the record has no fields")}
	}
	return specs, data, err
}

func (p *Parser) define(specs []ipfix.FieldSpec, column int) (uint16, error) {
	if p.Define == nil {
		return 0, &ParseError{Column: column, Err: errors.New("records within records cannot be exported here")}
	}
	t, err := p.Define(0, specs)
	if err != nil {
		return 0, &ParseError{Column: column, Err: err}
	}
	return t.ID, nil
}
