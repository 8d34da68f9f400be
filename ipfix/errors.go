package ipfix

import (
	"errors"
	"fmt"
)

// What callers tell apart; everything else about a fault is in its text.
var (
	// ErrVersion: the first two octets are not 10 (RFC 7011, Section 3.1).
	ErrVersion = errors.New("not an IPFIX message")
	// ErrTruncated: a length points behind the octets that are there.
	ErrTruncated = errors.New("truncated")
	// ErrLength: a length is smaller than what it has to include.
	ErrLength = errors.New("impossible length")
)

// A ParseError says what of the peer's octets could not be read, where and
// why.
type ParseError struct {
	// Offset counts octets from the first one of what was given to the
	// parser: the message, a set's body, a list. [ParseError.At] moves it.
	Offset int
	Field  string // the part in question, such as "set length"
	Err    error
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("octet %d: %s: %v", e.Offset, e.Field, e.Err)
}

func (e *ParseError) Unwrap() error { return e.Err }

// At returns err with its offset counted from base octets earlier, if it is a
// ParseError: a fault within a set's body becomes one within the message.
func At(err error, base int) error {
	if e, ok := errors.AsType[*ParseError](err); ok {
		return &ParseError{Offset: e.Offset + base, Field: e.Field, Err: e.Err}
	}
	return err
}

func fault(offset int, field string, err error) *ParseError {
	return &ParseError{Offset: offset, Field: field, Err: err}
}
