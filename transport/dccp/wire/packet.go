package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of a packet's parts, in octets.
const (
	// MinHeader is the generic header with 24-bit numbers.
	MinHeader = 12
	// MaxHeader is what the data offset, eight bits of 32-bit words, reaches.
	MaxHeader = 255 * 4
	// DataAckHeader is the header of a DataAck with 48-bit numbers, options
	// aside: what a message that travels with an acknowledgement costs.
	DataAckHeader = 24
	// MaxPacket is what the 16-bit length of an IPv4 pseudo-header holds.
	MaxPacket = 65535
)

// Packet is one DCCP packet. Options and Data are views: Parse points them
// into its input, which must outlive them.
type Packet struct {
	SrcPort, DstPort uint16
	Type             Type
	CCVal            uint8 // for the sender's CCID, 4 bits
	CsCov            uint8 // checksum coverage, 4 bits: 0 all, n: the header and (n-1)*4 octets of Data
	Short            bool  // X=0: Seq and Ack are the low 24 bits alone; Data, Ack and DataAck only
	Seq              Seq
	Ack              Seq         // if Type.HasAck
	Service          ServiceCode // Request, Response, Listen
	Code             ResetCode   // Reset
	ResetData        [3]byte     // Reset: Data 1 to 3
	Options          []byte      // the option area, with its padding
	Data             []byte      // application data; a Reset's error text; else padding
}

// ParseError is a fault of a packet's octets.
type ParseError struct {
	Offset int    // where, from the packet's first octet
	Field  string // what was read there
	Err    error
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("dccp packet: %s at octet %d: %v", e.Field, e.Offset, e.Err)
}

func (e *ParseError) Unwrap() error { return e.Err }

// Faults that Parse finds. A fault is told without allocating: floods of
// broken packets cost no memory.
var (
	errShort    = &ParseError{0, "generic header", errors.New("packet too short")}
	errLong     = &ParseError{0, "packet", errors.New("longer than 65535 octets")}
	errType     = &ParseError{8, "type", errors.New("reserved packet type")}
	errX        = &ParseError{8, "X", errors.New("24-bit numbers on a packet type that must have 48")}
	errOffset   = &ParseError{4, "data offset", errors.New("inside the fixed header")}
	errOverrun  = &ParseError{4, "data offset", errors.New("beyond the packet's end")}
	errCoverage = &ParseError{5, "checksum coverage", errors.New("covers more than there is")}
)

// FixedLen is the length of a packet's header without options.
func (p *Packet) FixedLen() int { return fixedLen(p.Type, p.Short) }

func fixedLen(t Type, short bool) int {
	n := 16
	if short {
		n = MinHeader
	}
	if t.HasAck() {
		if short {
			n += 4
		} else {
			n += 8
		}
	}
	switch t {
	case Request, Response, Reset, Listen:
		n += 4
	}
	return n
}

// Parse reads the packet that b holds, checksum aside (VerifyChecksum). It
// makes the checks of Step 1 in RFC 4340, Section 8.5; options are looked at
// by ReadOptions.
func (p *Packet) Parse(b []byte) error {
	if len(b) < MinHeader {
		return errShort
	}
	if len(b) > MaxPacket {
		return errLong
	}
	t, short := Type(b[8]>>1&0xf), b[8]&1 == 0
	if !t.Known() {
		return errType
	}
	if short && !t.MayBeShort() {
		return errX
	}
	fixed, header := fixedLen(t, short), int(b[4])*4
	if header < fixed {
		return errOffset
	}
	if header > len(b) {
		return errOverrun
	}
	// Coverage beyond the data makes the packet one to ignore (RFC 4340,
	// Section 9.2, MUST).
	cov := b[5] & 0xf
	if cov > 0 && int(cov-1)*4 > len(b)-header {
		return errCoverage
	}
	*p = Packet{
		SrcPort: binary.BigEndian.Uint16(b),
		DstPort: binary.BigEndian.Uint16(b[2:]),
		Type:    t, Short: short,
		CCVal: b[5] >> 4, CsCov: cov,
		Options: b[fixed:header:header],
		Data:    b[header:],
	}
	at := 16
	if short {
		p.Seq = Seq(binary.BigEndian.Uint32(b[8:]) & shortMask)
		at = MinHeader
	} else {
		p.Seq = Seq(binary.BigEndian.Uint64(b[8:]) & seqMask)
	}
	if t.HasAck() {
		if short {
			p.Ack = Seq(binary.BigEndian.Uint32(b[at:]) & shortMask)
			at += 4
		} else {
			p.Ack = Seq(binary.BigEndian.Uint64(b[at:]) & seqMask)
			at += 8
		}
	}
	switch t {
	case Request, Response, Listen:
		p.Service = ServiceCode(binary.BigEndian.Uint32(b[at:]))
	case Reset:
		p.Code = ResetCode(b[at])
		copy(p.ResetData[:], b[at+1:])
	}
	return nil
}

// Faults of a packet that AppendBinary is asked for.
var (
	ErrOptionsTooLong = errors.New("dccp packet: options do not fit the header")
	ErrUnsendable     = errors.New("dccp packet: a field is out of its range")
)

// AppendBinary appends the packet to b and returns the longer slice. Options
// are padded to 32 bits. The checksum is left zero, which is right inside UDP
// (RFC 6773, Section 3.3); over IP SetChecksum fills it in.
func (p *Packet) AppendBinary(b []byte) ([]byte, error) {
	fixed := p.FixedLen()
	header := fixed + (len(p.Options)+3)&^3
	switch {
	case !p.Type.Known() || p.Short && !p.Type.MayBeShort() || p.CCVal > 15 || p.CsCov > 15:
		return b, ErrUnsendable
	case header > MaxHeader:
		return b, ErrOptionsTooLong
	case header+len(p.Data) > MaxPacket || p.CsCov > 0 && int(p.CsCov-1)*4 > len(p.Data):
		return b, ErrUnsendable
	}
	b = binary.BigEndian.AppendUint16(b, p.SrcPort)
	b = binary.BigEndian.AppendUint16(b, p.DstPort)
	b = append(b, byte(header/4), p.CCVal<<4|p.CsCov, 0, 0)
	if p.Short {
		b = binary.BigEndian.AppendUint32(b, uint32(p.Type)<<25|uint32(p.Seq&shortMask))
	} else {
		b = binary.BigEndian.AppendUint64(b, uint64(p.Type)<<57|1<<56|uint64(p.Seq&seqMask))
	}
	if p.Type.HasAck() {
		if p.Short {
			b = binary.BigEndian.AppendUint32(b, uint32(p.Ack&shortMask))
		} else {
			b = binary.BigEndian.AppendUint64(b, uint64(p.Ack&seqMask))
		}
	}
	switch p.Type {
	case Request, Response, Listen:
		b = binary.BigEndian.AppendUint32(b, uint32(p.Service))
	case Reset:
		b = append(b, byte(p.Code), p.ResetData[0], p.ResetData[1], p.ResetData[2])
	}
	b = append(b, p.Options...)
	for n := len(p.Options); n&3 != 0; n++ {
		b = append(b, byte(OptPadding))
	}
	return append(b, p.Data...), nil
}
