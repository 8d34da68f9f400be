// Package heartbeat implements the TLS and DTLS heartbeat protocol (RFC 6520):
// the message, the timer that spaces a request's transmissions, and the machine
// that judges by the answers whether a session's peer lives.
//
//	+------+----------------+-----------------+----------------------+
//	| type | payload length | payload         | padding, 16 or more  |
//	| 1    | 2              | payload length  | random               |
//	+------+----------------+-----------------+----------------------+
//
// It is pure: time and randomness are passed in, what the machines ask for is
// done by the owner of the session. That a request is never sent to a peer that
// does not take any, nor during a handshake, is the session's business.
package heartbeat

import (
	"encoding/binary"
	"errors"
)

// Type says what a message is.
type Type uint8

const (
	Request  Type = 1
	Response Type = 2
)

// Mode is the value of the heartbeat hello extension (RFC 6520, Section 2): it
// tells the peer what it may send.
type Mode uint8

const (
	// PeerAllowed: the peer may send requests and will be answered.
	PeerAllowed Mode = 1
	// PeerNotAllowed: the peer must not send requests.
	PeerNotAllowed Mode = 2
)

// Valid reports whether m is one of the two modes; another one in a hello is
// an illegal_parameter (RFC 6520, Section 2).
func (m Mode) Valid() bool { return m == PeerAllowed || m == PeerNotAllowed }

const (
	// ExtensionType is the hello extension's number.
	ExtensionType = 15
	// HeaderLen is a message's type and payload length.
	HeaderLen = 3
	// MinPadding is the least padding of a message (RFC 6520, Section 4).
	MinPadding = 16
	// MaxMessage is the largest message (RFC 6520, Section 4).
	MaxMessage = 1 << 14
)

var (
	// ErrShort: payload length and padding exceed the message.
	ErrShort = errors.New("heartbeat payload length exceeds message")
	// ErrTooLarge: a message over 2^14 octets.
	ErrTooLarge = errors.New("heartbeat message too large")
	// ErrType: neither request nor response.
	ErrType = errors.New("unknown heartbeat message type")
	// ErrPadding: less than 16 octets of padding were passed to Append.
	ErrPadding = errors.New("heartbeat padding too short")
)

// Message is one heartbeat message without its padding.
type Message struct {
	Type    Type
	Payload []byte
}

// Parse reads the message that fills b, the content of one record. Payload
// aliases b. On an error the message must be discarded silently.
func Parse(b []byte) (Message, error) {
	if len(b) > MaxMessage {
		return Message{}, ErrTooLarge
	}
	if len(b) < HeaderLen+MinPadding {
		return Message{}, ErrShort
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	// A payload_length too large for the record is discarded silently (RFC
	// 6520, Section 4, MUST); to answer it would hand out memory
	// (CVE-2014-0160). The padding's minimum is counted in.
	if HeaderLen+n+MinPadding > len(b) {
		return Message{}, ErrShort
	}
	t := Type(b[0])
	if t != Request && t != Response {
		return Message{}, ErrType
	}
	return Message{Type: t, Payload: b[HeaderLen : HeaderLen+n : HeaderLen+n]}, nil
}

// AppendBinary appends the message with the given padding, which must be at
// least MinPadding random octets.
func (m Message) AppendBinary(dst, padding []byte) ([]byte, error) {
	switch {
	case m.Type != Request && m.Type != Response:
		return dst, ErrType
	case len(padding) < MinPadding:
		return dst, ErrPadding
	case HeaderLen+len(m.Payload)+len(padding) > MaxMessage:
		return dst, ErrTooLarge
	}
	dst = append(dst, byte(m.Type))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.Payload)))
	dst = append(dst, m.Payload...)
	return append(dst, padding...), nil
}
