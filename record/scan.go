package record

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// scanner reads JSON from one line. It allocates for strings with escapes
// only; everything else is a view of the line.
type scanner struct {
	b   []byte
	i   int
	buf []byte // of strings with escapes; grows for the length of a line
}

// token is the kind of a value, by its first octet.
type token byte

const (
	tokenString token = '"'
	tokenNumber token = '0'
	tokenObject token = '{'
	tokenArray  token = '['
	tokenTrue   token = 't'
	tokenFalse  token = 'f'
	tokenNull   token = 'n'
)

func (t token) String() string {
	switch t {
	case tokenString:
		return "a string"
	case tokenNumber:
		return "a number"
	case tokenObject:
		return "an object"
	case tokenArray:
		return "an array"
	case tokenTrue, tokenFalse:
		return "a boolean"
	}
	return "null"
}

var errJSON = errors.New("not JSON")

// at is an error at the scanner's place.
func (s *scanner) at(format string, args ...any) error {
	return &ParseError{Column: s.i + 1, Err: fmt.Errorf(format, args...)}
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// expect takes the octet c after white space.
func (s *scanner) expect(c byte) error {
	if !s.take(c) {
		return s.unexpected(fmt.Sprintf("%q", c))
	}
	return nil
}

func (s *scanner) unexpected(want string) error {
	if s.i >= len(s.b) {
		return s.at("%w: the line ends where %s is expected", errJSON, want)
	}
	r, _ := utf8.DecodeRune(s.b[s.i:])
	return s.at("%w: %q where %s is expected", errJSON, r, want)
}

// take takes the octet c after white space if it is there.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// peek says what comes.
func (s *scanner) peek() (token, error) {
	s.space()
	if s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case '"', '{', '[', 't', 'f', 'n':
			return token(c), nil
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			return tokenNumber, nil
		}
	}
	return 0, s.unexpected("a value")
}

// scalar reads a string (its inside), a number or a literal (as it stands).
func (s *scanner) scalar() (text []byte, t token, err error) {
	t, err = s.peek()
	if err != nil {
		return nil, 0, err
	}
	switch t {
	case tokenString:
		text, err = s.str()
	case tokenNumber:
		text, err = s.number()
	case tokenTrue:
		text, err = s.literal("true")
	case tokenFalse:
		text, err = s.literal("false")
	case tokenNull:
		text, err = s.literal("null")
	}
	return text, t, err
}

func (s *scanner) literal(word string) ([]byte, error) {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return nil, s.unexpected("a value")
	}
	s.i += len(word)
	return s.b[s.i-len(word) : s.i], nil
}

func (s *scanner) digits() int {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i - start
}

func (s *scanner) number() ([]byte, error) {
	start := s.i
	if s.b[s.i] == '-' {
		s.i++
	}
	first := s.i
	n := s.digits()
	if n == 0 {
		return nil, s.unexpected("a digit")
	}
	if n > 1 && s.b[first] == '0' {
		s.i = first
		return nil, s.at("%w: a number begins with 0", errJSON)
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if s.digits() == 0 {
			return nil, s.unexpected("a digit")
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if s.digits() == 0 {
			return nil, s.unexpected("a digit")
		}
	}
	return s.b[start:s.i], nil
}

// str reads a string. Ill-formed UTF-8 is not JSON, and must not be exported
// (RFC 7011, Section 6.1.6, MUST NOT).
func (s *scanner) str() ([]byte, error) {
	s.i++
	start := s.i
	ascii := true
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			text := s.b[start:s.i]
			if !ascii && !utf8.Valid(text) {
				s.i = start
				return nil, s.at("the string is not UTF-8")
			}
			s.i++
			return text, nil
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return nil, s.at("%w: a control character in a string", errJSON)
		case c >= utf8.RuneSelf:
			ascii = false
		}
		s.i++
	}
	return nil, s.unexpected("the end of a string")
}

// escaped goes on with a string in which an escape was found.
func (s *scanner) escaped(start int) ([]byte, error) {
	from := len(s.buf)
	s.buf = append(s.buf, s.b[start:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			s.i++
			text := s.buf[from:len(s.buf):len(s.buf)]
			if !utf8.Valid(text) {
				s.i = start
				return nil, s.at("the string is not UTF-8")
			}
			return text, nil
		case c < 0x20:
			return nil, s.at("%w: a control character in a string", errJSON)
		case c != '\\':
			s.buf = append(s.buf, c)
			s.i++
			continue
		}
		if s.i+1 >= len(s.b) {
			break
		}
		switch c := s.b[s.i+1]; c {
		case '"', '\\', '/':
			s.buf = append(s.buf, c)
		case 'b':
			s.buf = append(s.buf, '\b')
		case 'f':
			s.buf = append(s.buf, '\f')
		case 'n':
			s.buf = append(s.buf, '\n')
		case 'r':
			s.buf = append(s.buf, '\r')
		case 't':
			s.buf = append(s.buf, '\t')
		case 'u':
			if err := s.unicode(); err != nil {
				return nil, err
			}
			continue
		default:
			return nil, s.at("%w: unknown escape \\%c", errJSON, c)
		}
		s.i += 2
	}
	s.i = len(s.b)
	return nil, s.unexpected("the end of a string")
}

// unicode reads \uXXXX, or two of them that are one character.
func (s *scanner) unicode() error {
	r, ok := s.hex4(s.i)
	if !ok {
		return s.at("%w: \\u without four hexadecimal digits", errJSON)
	}
	s.i += 6
	if r >= 0xD800 && r < 0xE000 {
		low, ok := s.hex4(s.i)
		if r >= 0xDC00 || !ok || low < 0xDC00 || low >= 0xE000 {
			r = utf8.RuneError
		} else {
			r = (r-0xD800)<<10 + (low - 0xDC00) + 0x10000
			s.i += 6
		}
	}
	s.buf = utf8.AppendRune(s.buf, r)
	return nil
}

func (s *scanner) hex4(i int) (rune, bool) {
	if len(s.b)-i < 6 || s.b[i] != '\\' || s.b[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s.b[i+2 : i+6] {
		d, ok := hexValue(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

func hexValue(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// skip passes over one value of any kind.
func (s *scanner) skip(depth int) error {
	t, err := s.peek()
	if err != nil {
		return err
	}
	if t != tokenObject && t != tokenArray {
		_, _, err = s.scalar()
		return err
	}
	if depth >= MaxDepth {
		return s.at("more than %d lists or objects within each other", MaxDepth)
	}
	if t == tokenArray {
		return s.array(func() error { return s.skip(depth + 1) })
	}
	return s.object(func([]byte, int) error { return s.skip(depth + 1) })
}

// array calls each before every element.
func (s *scanner) array(each func() error) error {
	s.i++
	if s.take(']') {
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return s.unexpected("',' or ']'")
		}
	}
}

// object calls each with every key and its column, before the value. The key
// is a view.
func (s *scanner) object(each func(key []byte, column int) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.take('}') {
		return nil
	}
	for {
		s.space()
		column := s.i + 1
		if s.i >= len(s.b) || s.b[s.i] != '"' {
			return s.unexpected("a key in quotes")
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := each(key, column); err != nil {
			return err
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return s.unexpected("',' or '}'")
		}
	}
}
