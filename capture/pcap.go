package capture

import (
	"encoding/binary"
	"fmt"
	"io"
)

// pcapState is what the header of a pcap file says
// (draft-ietf-opsawg-pcap, Section 4).
type pcapState struct {
	order  binary.ByteOrder
	little bool
	nanos  int64 // per unit of the second part of a time
	head   int   // length of a packet's header
	link   LinkType
}

func (r *Reader) pcapHeader(magic uint32) error {
	b, err := r.win.need(24)
	if err != nil {
		return r.fault("file header", err)
	}
	s := &r.pcap
	*s = pcapState{order: binary.BigEndian, nanos: 1000, head: 16}
	switch magic {
	case magicMicroLE:
		s.little = true
	case magicNano:
		s.nanos = 1
	case magicNanoLE:
		s.little, s.nanos = true, 1
	case magicModified:
		s.head = 24
	case magicModLE:
		s.little, s.head = true, 24
	}
	if s.little {
		s.order = binary.LittleEndian
	}
	if major := s.order.Uint16(b[4:]); major != 2 {
		return r.fault("version", fmt.Errorf("%d.%d, want 2.x", major, s.order.Uint16(b[6:])))
	}
	// The upper bits tell of frame check sequences at the packets' ends,
	// which nobody here looks at: IP headers say where packets end.
	s.link = LinkType(s.order.Uint32(b[20:]) & 0xffff)
	r.win.advance(24)
	return nil
}

// nextRecord reads a packet of a pcap file.
func (r *Reader) nextRecord(p *Packet) error {
	s := &r.pcap
	b, err := r.win.need(s.head)
	if err != nil {
		if err == io.EOF { //nolint:errorlint // the window returns io.EOF itself
			return err
		}
		return r.fault("packet header", err)
	}
	var sec, frac, captured, length uint32
	if s.little {
		sec, frac = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		captured, length = binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	} else {
		sec, frac = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		captured, length = binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	}
	if captured > maxCapture {
		return r.fault("captured length", fmt.Errorf("%d octets, more than %d", captured, maxCapture))
	}
	n := s.head + int(captured)
	if b, err = r.win.need(n); err != nil {
		return r.fault("packet", err)
	}
	*p = Packet{
		Time:   int64(sec)*1e9 + int64(frac)*s.nanos,
		Data:   b[s.head:n:n],
		Length: wireLength(captured, length),
		Link:   s.link,
	}
	r.win.advance(n)
	return nil
}

// wireLength is the length on the wire: what the file says, within what can
// be and not less than what was captured.
func wireLength(captured, length uint32) int {
	return int(max(captured, min(length, 1<<30)))
}
