// Package wire codes the packets of MTA-TLS (draft-badra-tls-multiplexing-01,
// Section 2); spec.md in the directory above draws them and says what was
// decided where the draft leaves it open.
//
// It is pure: it appends to the caller's buffer and decodes to views of it.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type is a packet's type (Section 2.3).
type Type uint8

// The types of the draft.
const (
	OpenRequest Type = 1 + iota
	OpenSuccess
	OpenFailure
	CloseRequest
	CloseConfirmation
	Data
	NewMaxPacket
	Acknowledgment
)

func (t Type) String() string {
	names := [...]string{"", "ChannelEstablishmentRequest", "ChannelEstablishmentSuccess", "ChannelRequestEchec", "ChannelCloseRequest",
		"ChannelCloseConfirmation", "MTATLSPlaintext", "NewMaxPacketLength", "Acknowledgment"}
	if t == 0 || int(t) >= len(names) {
		return fmt.Sprintf("type %d", uint8(t))
	}
	return names[t]
}

// ChannelID names a channel in both directions: the asker's half first.
type ChannelID uint32

// MakeID joins the halves.
func MakeID(sender, receiver uint16) ChannelID {
	return ChannelID(sender)<<16 | ChannelID(receiver)
}

// Sender is the asker's half.
func (id ChannelID) Sender() uint16 { return uint16(id >> 16) }

func (id ChannelID) String() string { return fmt.Sprintf("%04x:%04x", uint16(id>>16), uint16(id)) }

const (
	// DataHeaderLen is what stands before the data of a MTATLSPlaintext.
	DataHeaderLen = 1 + 4 + 4
	// MaxData bounds the data of one packet that is taken whole.
	MaxData = 1 << 16
	// MaxAddress bounds the text of an address: a DNS name has 253 octets.
	MaxAddress = 255
	// MaxError is how much of an error's text we send.
	MaxError = 1024

	controlHeaderLen = 1 + 2
)

// Packet is any of the packets; which fields mean something depends on Type.
type Packet struct {
	Type Type
	// Sender is the asker's half of the identifier, of OpenRequest,
	// OpenSuccess and OpenFailure; Receiver the answerer's, of OpenSuccess.
	Sender, Receiver uint16
	// ID of all the others.
	ID ChannelID
	// Window and MaxPacket of OpenRequest and OpenSuccess; MaxPacket of
	// NewMaxPacket; Window, as what it has grown by, of Acknowledgment.
	Window, MaxPacket uint32
	// Source and Destination of OpenRequest.
	Source, Destination Address
	// Text of OpenFailure: what went wrong.
	Text []byte
	// Data of Data.
	Data []byte
}

// Address is a host, as a name or a numeric address, and a port.
type Address struct {
	Host []byte
	Port uint16
}

// ErrShort says that a packet is not complete yet.
var ErrShort = errors.New("packet is not complete")

// SyncError says that what should be a packet can be none: where the next one
// begins is not known.
type SyncError struct {
	Type   Type
	Length uint32
	Reason string
}

func (e *SyncError) Error() string {
	return fmt.Sprintf("%v of length %d: %s", e.Type, e.Length, e.Reason)
}

// TooLongError says that a MTATLSPlaintext is longer than MaxData. Its header
// is DataHeaderLen octets; Length more follow.
type TooLongError struct {
	ID     ChannelID
	Length uint32
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("channel %v: data of %d octets, more than %d", e.ID, e.Length, MaxData)
}

// Next decodes the packet that b begins with and returns its length. The
// Packet's slices are views of b. ErrShort asks for more octets, a
// *TooLongError is one packet's, a *SyncError is final. A packet of a type that the draft does not have is returned with
// that type and nothing else.
func Next(b []byte, p *Packet) (n int, err error) {
	*p = Packet{}
	if len(b) < controlHeaderLen {
		return 0, ErrShort
	}
	p.Type = Type(b[0])
	if p.Type == Data {
		return nextData(b, p)
	}
	length := int(binary.BigEndian.Uint16(b[1:]))
	fail := func(reason string) (int, error) {
		return 0, &SyncError{Type: p.Type, Length: uint32(length), Reason: reason}
	}
	if p.Type == 0 {
		return fail("no such type")
	}
	if length < controlHeaderLen {
		return fail("shorter than its header")
	}
	if want, fixed := fixedLen[p.Type]; fixed && length != want {
		return fail(fmt.Sprintf("not %d", want))
	}
	if len(b) < length {
		return 0, ErrShort
	}
	body := b[controlHeaderLen:length]
	switch p.Type {
	case OpenRequest:
		if !p.parseRequest(body) {
			return fail("its addresses do not fill it")
		}
	case OpenSuccess:
		p.Sender, p.Receiver = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
		p.Window, p.MaxPacket = binary.BigEndian.Uint32(body[4:]), binary.BigEndian.Uint32(body[8:])
	case OpenFailure:
		if len(body) < 4 || int(binary.BigEndian.Uint16(body[2:])) != len(body)-4 {
			return fail("its text does not fill it")
		}
		p.Sender, p.Text = binary.BigEndian.Uint16(body), body[4:]
	case CloseRequest, CloseConfirmation:
		p.ID = ChannelID(binary.BigEndian.Uint32(body))
	case NewMaxPacket:
		p.ID, p.MaxPacket = ChannelID(binary.BigEndian.Uint32(body)), binary.BigEndian.Uint32(body[4:])
	case Acknowledgment:
		p.ID, p.Window = ChannelID(binary.BigEndian.Uint32(body)), binary.BigEndian.Uint32(body[4:])
	default:
	}
	return length, nil
}

// fixedLen are the lengths of the packets that have one.
var fixedLen = map[Type]int{
	OpenSuccess: controlHeaderLen + 12, CloseRequest: controlHeaderLen + 4, CloseConfirmation: controlHeaderLen + 4,
	NewMaxPacket: controlHeaderLen + 8, Acknowledgment: controlHeaderLen + 8,
}

func nextData(b []byte, p *Packet) (int, error) {
	if len(b) < DataHeaderLen {
		return 0, ErrShort
	}
	length := binary.BigEndian.Uint32(b[1:])
	p.ID = ChannelID(binary.BigEndian.Uint32(b[5:]))
	if length > MaxData {
		return 0, &TooLongError{ID: p.ID, Length: length}
	}
	n := DataHeaderLen + int(length)
	if len(b) < n {
		return 0, ErrShort
	}
	p.Data = b[DataHeaderLen:n]
	return n, nil
}

func (p *Packet) parseRequest(b []byte) bool {
	if len(b) < 10 {
		return false
	}
	p.Sender, p.Window, p.MaxPacket = binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:]), binary.BigEndian.Uint32(b[6:])
	rest, ok := p.Source.parse(b[10:])
	if !ok {
		return false
	}
	rest, ok = p.Destination.parse(rest)
	return ok && len(rest) == 0
}

func (a *Address) parse(b []byte) (rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if n == 0 || len(b) < 2+n+2 {
		return nil, false
	}
	a.Host, a.Port = b[2:2+n], binary.BigEndian.Uint16(b[2+n:])
	return b[2+n+2:], true
}

func (a *Address) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Host)))
	b = append(b, a.Host...)
	return binary.BigEndian.AppendUint16(b, a.Port)
}

// AppendBinary appends the packet's octets. A host longer than MaxAddress or
// empty, data longer than MaxData, or a type that the draft does not have is
// refused; an error's text is cut to MaxError.
func (p *Packet) AppendBinary(b []byte) ([]byte, error) {
	if p.Type == Data {
		if len(p.Data) > MaxData {
			return b, fmt.Errorf("data of %d octets, more than %d", len(p.Data), MaxData)
		}
		return append(AppendDataHeader(b, p.ID, len(p.Data)), p.Data...), nil
	}
	begin := len(b)
	b = append(b, byte(p.Type), 0, 0)
	switch p.Type {
	case OpenRequest:
		for _, a := range []*Address{&p.Source, &p.Destination} {
			if len(a.Host) == 0 || len(a.Host) > MaxAddress {
				return b[:begin], fmt.Errorf("host of %d octets", len(a.Host))
			}
		}
		b = binary.BigEndian.AppendUint16(b, p.Sender)
		b = binary.BigEndian.AppendUint32(b, p.Window)
		b = binary.BigEndian.AppendUint32(b, p.MaxPacket)
		b = p.Destination.append(p.Source.append(b))
	case OpenSuccess:
		b = binary.BigEndian.AppendUint16(b, p.Sender)
		b = binary.BigEndian.AppendUint16(b, p.Receiver)
		b = binary.BigEndian.AppendUint32(b, p.Window)
		b = binary.BigEndian.AppendUint32(b, p.MaxPacket)
	case OpenFailure:
		text := p.Text[:min(len(p.Text), MaxError)]
		b = binary.BigEndian.AppendUint16(b, p.Sender)
		b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
		b = append(b, text...)
	case CloseRequest, CloseConfirmation:
		b = binary.BigEndian.AppendUint32(b, uint32(p.ID))
	case NewMaxPacket:
		b = binary.BigEndian.AppendUint32(b, uint32(p.ID))
		b = binary.BigEndian.AppendUint32(b, p.MaxPacket)
	case Acknowledgment:
		b = binary.BigEndian.AppendUint32(b, uint32(p.ID))
		b = binary.BigEndian.AppendUint32(b, p.Window)
	default:
		return b[:begin], fmt.Errorf("%v cannot be sent", p.Type)
	}
	binary.BigEndian.PutUint16(b[begin+1:], uint16(len(b)-begin))
	return b, nil
}

// AppendDataHeader appends what stands before n octets of data.
func AppendDataHeader(b []byte, id ChannelID, n int) []byte {
	b = append(b, byte(Data))
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return binary.BigEndian.AppendUint32(b, uint32(id))
}
