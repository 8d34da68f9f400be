package record

import (
	"errors"
	"fmt"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// Limits of a line.
const (
	// maxRecord is what a message has room for behind its header and that of
	// the set.
	maxRecord = ipfix.MaxMessage - ipfix.HeaderLen - ipfix.SetHeaderLen
	// MaxFields bounds the fields of a line.
	MaxFields = 1024
	// maxNames bounds the names that a Parser remembers.
	maxNames = 4096
)

// A ParseError says what of a line cannot be read, and where.
type ParseError struct {
	Column int    // in octets, from 1
	Key    string // of the field; "" if the fault is in none
	Err    error
}

func (e *ParseError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("column %d: %v", e.Column, e.Err)
	}
	return fmt.Sprintf("column %d: %q: %v", e.Column, e.Key, e.Err)
}

func (e *ParseError) Unwrap() error { return e.Err }

// A Parser reads JSON lines. Its zero value knows IANA's elements; it may be
// used by one goroutine at a time.
type Parser struct {
	Registry *ie.Registry // names; nil is IANA's
	// Define gives the template that records within a subTemplateList or
	// subTemplateMultiList have; nil refuses such lists. Usually it is the
	// Define of an exporter.
	Define func(scope int, specs []ipfix.FieldSpec) (*ipfix.Template, error)

	names map[string]name
	scan  scanner
	specs []ipfix.FieldSpec
	data  []byte
}

type name struct {
	id ie.ID
	el *ie.Element
}

// A Record is one line. Its slices are valid until the next Parse.
type Record struct {
	Scope int               // scope fields, from @scope: then it is one of an Options Template
	Specs []ipfix.FieldSpec // its template, fields in the order of the keys
	Data  []byte            // the Data Record for that template
}

// Parse reads one line. Keys are names of Information Elements, their values
// RFC 7373 text as an Encoder writes it; an array is an element that stands in
// the template several times. Numbers and addresses get the size of their
// type, strings and octets a variable length. A key with null is left out, and
// so are those that begin with @, except @scope: the number of scope fields.
func (p *Parser) Parse(line []byte) (Record, error) {
	p.scan = scanner{b: line, buf: p.scan.buf[:0]}
	p.specs, p.data = p.specs[:0], p.data[:0]
	s := &p.scan
	var scope uint64
	specs, data := p.specs, p.data
	seen := make(map[ie.ID]bool)
	err := s.object(func(key []byte, column int) (err error) {
		if len(key) > 0 && key[0] == '@' {
			if string(key) == "@scope" {
				scope, err = p.scope()
				return err
			}
			return s.skip(0)
		}
		specs, data, err = p.field(specs, data, key, column, seen, 0)
		return err
	})
	p.specs, p.data = specs, data
	if err != nil {
		return Record{}, err
	}
	s.space()
	switch {
	case s.i < len(line):
		return Record{}, s.at("something follows the record, one object a line is expected")
	case len(specs) == 0:
		return Record{}, &ParseError{Column: 1, Err: errors.New("the record has no fields")}
	case len(data) > maxRecord:
		return Record{}, &ParseError{Column: 1, Err: fmt.Errorf("the record has %d octets, a message has room for %d", len(data), maxRecord)}
	case scope > uint64(len(specs)):
		return Record{}, &ParseError{Column: 1, Key: "@scope", Err: fmt.Errorf("%d scope fields of %d", scope, len(specs))}
	}
	return Record{Scope: int(scope), Specs: specs, Data: data}, nil
}

func (p *Parser) scope() (uint64, error) {
	column := p.scan.i + 1
	text, tok, err := p.scan.scalar()
	if err != nil {
		return 0, err
	}
	n, err := parseUint(text)
	if err != nil || tok != tokenNumber {
		return 0, &ParseError{Column: column, Key: "@scope", Err: fmt.Errorf("%q is not the number of scope fields", clip(text))}
	}
	return n, nil
}

// resolve finds the element that a key names.
func (p *Parser) resolve(key []byte, column int) (name, error) {
	if n, ok := p.names[string(key)]; ok {
		return n, nil
	}
	id, el, err := p.Registry.Resolve(string(key))
	if err != nil {
		return name{}, &ParseError{Column: column, Err: err}
	}
	if p.names == nil || len(p.names) >= maxNames {
		p.names = make(map[string]name)
	}
	n := name{id, el}
	p.names[string(key)] = n
	return n, nil
}

// field reads the value of one key, and the array of an element that stands in
// the template more than once.
func (p *Parser) field(specs []ipfix.FieldSpec, data, key []byte, column int, seen map[ie.ID]bool, depth int) ([]ipfix.FieldSpec, []byte, error) {
	s := &p.scan
	n, err := p.resolve(key, column)
	if err != nil {
		return specs, data, err
	}
	if seen[n.id] {
		return specs, data, &ParseError{Column: column, Key: string(key), Err: errors.New("it stands in the record already, use an array")}
	}
	seen[n.id] = true
	spec := ipfix.FieldSpec{ID: n.id, Length: ipfix.VariableLength}
	if n.el != nil {
		spec.Length = n.el.Type.Size()
	}
	one := func() error {
		if len(specs) >= MaxFields {
			return &ParseError{Column: column, Key: string(key), Err: fmt.Errorf("more than %d fields", MaxFields)}
		}
		before := len(data)
		tok, err := s.peek()
		if err != nil {
			return err
		}
		data, err = p.value(data, n.el, spec.Length, depth)
		if err != nil {
			return withKey(err, key)
		}
		if tok == tokenNull {
			data = data[:before]
			return nil
		}
		specs = append(specs, spec)
		return nil
	}
	tok, err := s.peek()
	if err != nil {
		return specs, data, err
	}
	if tok == tokenArray {
		err = s.array(one)
	} else {
		err = one()
	}
	return specs, data, err
}

// withKey names the key that a fault is in, the innermost one.
func withKey(err error, key []byte) error {
	if e, ok := errors.AsType[*ParseError](err); ok && e.Key == "" && !errors.Is(err, errJSON) {
		e.Key = clip(key)
	}
	return err
}

// value reads one value and appends it as a field of length has it; null
// appends nothing.
func (p *Parser) value(data []byte, el *ie.Element, length uint16, depth int) ([]byte, error) {
	s := &p.scan
	tok, err := s.peek()
	if err != nil {
		return data, err
	}
	column := s.i + 1
	list := el != nil && el.Type.Structured()
	switch {
	case tok == tokenObject && list:
		x, err := p.list(nil, el.Type, depth)
		if err != nil {
			return data, err
		}
		return appendList(data, x, column)
	case tok == tokenObject, tok == tokenArray:
		t := ie.OctetArray
		if el != nil {
			t = el.Type
		}
		return data, s.at("%v where %s is expected", tok, expected(t))
	}
	text, tok, err := s.scalar()
	if err != nil {
		return data, err
	}
	if tok == tokenNull {
		return data, nil
	}
	if list {
		return data, &ParseError{Column: column, Err: fmt.Errorf("%v where %s is expected", tok, expected(el.Type))}
	}
	data, err = appendValue(data, el, text, tok)
	if err != nil {
		return data, &ParseError{Column: column, Err: err}
	}
	return data, nil
}

// appendList appends a list's octets with 3 octets of length, whatever it is
// (RFC 6313, Section 5.1, RECOMMENDED).
func appendList(data, x []byte, column int) ([]byte, error) {
	if len(x) > maxRecord {
		return data, &ParseError{Column: column, Err: fmt.Errorf("a list of %d octets fits in no message", len(x))}
	}
	data = append(data, 255, byte(len(x)>>8), byte(len(x)))
	return append(data, x...), nil
}
