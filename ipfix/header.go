package ipfix

import (
	"encoding/binary"
	"fmt"
)

// The sizes and numbers of RFC 7011, Sections 3.1 and 3.3.2.
const (
	Version      = 10    // RFC 7011, Section 3.1
	HeaderLen    = 16    // octets of the Message Header
	SetHeaderLen = 4     // octets of a Set Header
	MaxMessage   = 65535 // what the 16-bit message length can say

	TemplateSetID        = 2
	OptionsTemplateSetID = 3
	MinDataSetID         = 256 // template ids and data set ids start here

	// VariableLength as a field length: the length stands before each
	// value (RFC 7011, Section 7).
	VariableLength = 0xFFFF
)

// A Header is the Message Header (RFC 7011, Section 3.1).
type Header struct {
	Length     uint16 // octets of the whole message
	ExportTime uint32 // UNIX seconds
	Sequence   uint32 // Data Records sent before this message, modulo 2^32
	Domain     uint32 // Observation Domain ID
}

// ParseHeader reads the header of the message in b. The header is also
// returned beside [ErrTruncated], when b is shorter than the message says:
// the sets that are there whole can still be read.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		if len(b) >= 2 && binary.BigEndian.Uint16(b) != Version {
			return Header{}, fault(0, "version", versionError(binary.BigEndian.Uint16(b)))
		}
		return Header{}, fault(len(b), "message header", ErrTruncated)
	}
	if v := binary.BigEndian.Uint16(b); v != Version {
		return Header{}, fault(0, "version", versionError(v))
	}
	h := Header{
		Length:     binary.BigEndian.Uint16(b[2:]),
		ExportTime: binary.BigEndian.Uint32(b[4:]),
		Sequence:   binary.BigEndian.Uint32(b[8:]),
		Domain:     binary.BigEndian.Uint32(b[12:]),
	}
	if h.Length < HeaderLen {
		return h, fault(2, "message length", ErrLength)
	}
	if int(h.Length) > len(b) {
		return h, fault(2, "message length", fmt.Errorf("%d octets of %d: %w", len(b), h.Length, ErrTruncated))
	}
	return h, nil
}

func versionError(v uint16) error { return fmt.Errorf("version %d: %w", v, ErrVersion) }

// AppendBinary appends the 16 octets of the header.
func (h Header) AppendBinary(dst []byte) ([]byte, error) {
	if h.Length < HeaderLen {
		return dst, fmt.Errorf("message length %d: %w", h.Length, ErrLength)
	}
	var b [HeaderLen]byte
	h.put(b[:])
	return append(dst, b[:]...), nil
}

func (h Header) put(b []byte) {
	_ = b[HeaderLen-1]
	binary.BigEndian.PutUint16(b, Version)
	binary.BigEndian.PutUint16(b[2:], h.Length)
	binary.BigEndian.PutUint32(b[4:], h.ExportTime)
	binary.BigEndian.PutUint32(b[8:], h.Sequence)
	binary.BigEndian.PutUint32(b[12:], h.Domain)
}
