package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// Type is a packet type (RFC 4340, Table 1).
type Type uint8

// Packet types. Listen is RFC 5596's.
const (
	Request Type = iota
	Response
	Data
	Ack
	DataAck
	CloseReq
	Close
	Reset
	Sync
	SyncAck
	Listen
)

var typeNames = [...]string{"Request", "Response", "Data", "Ack", "DataAck", "CloseReq", "Close", "Reset", "Sync", "SyncAck", "Listen"}

// Known reports whether t is defined; packets of other types are ignored.
func (t Type) Known() bool { return t <= Listen }

// HasAck reports whether packets of type t carry an acknowledgement number.
func (t Type) HasAck() bool { return t != Request && t != Data && t != Listen }

// HasData reports whether the application data area of type t is the
// application's; elsewhere it is padding, or a Reset's error text.
func (t Type) HasData() bool {
	return t == Data || t == DataAck || t == Request || t == Response
}

// MayBeShort reports whether type t may have 24-bit numbers.
func (t Type) MayBeShort() bool { return t == Data || t == Ack || t == DataAck }

func (t Type) String() string {
	if t.Known() {
		return typeNames[t]
	}
	return "Type(" + strconv.Itoa(int(t)) + ")"
}

// ResetCode is the reason given in a Reset (RFC 4340, Section 5.6).
type ResetCode uint8

// Reset codes; EncapsulatedPortReuse is RFC 6773's.
const (
	ResetUnspecified ResetCode = iota
	ResetClosed
	ResetAborted
	ResetNoConnection
	ResetPacketError
	ResetOptionError
	ResetMandatoryError
	ResetRefused
	ResetBadServiceCode
	ResetTooBusy
	ResetBadInitCookie
	ResetAggressionPenalty
	ResetEncapsulatedPortReuse
)

var resetNames = [...]string{
	"unspecified", "closed", "aborted", "no connection", "packet error", "option error", "mandatory error",
	"connection refused", "bad service code", "too busy", "bad init cookie", "aggression penalty", "encapsulated port reuse",
}

func (c ResetCode) String() string {
	if int(c) < len(resetNames) {
		return resetNames[c]
	}
	return "reset code " + strconv.Itoa(int(c))
}

// ServiceCode names the application-level service of a connection (RFC 4340,
// Section 8.1.2).
type ServiceCode uint32

// InvalidServiceCode is reserved and never on the wire.
const InvalidServiceCode ServiceCode = 0xffffffff

// serviceChars are what the form "SC:" is made of (RFC 4340, Section 8.1.2).
const serviceChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+.*/?@"

// String is "SC:" and up to four characters if the code has that form, else
// "SC=" and the number.
func (s ServiceCode) String() string {
	b := [4]byte{byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s)}
	text := strings.TrimRight(string(b[:]), " ")
	if text == "" || strings.Trim(text, serviceChars) != "" {
		return "SC=" + strconv.FormatUint(uint64(s), 10)
	}
	return "SC:" + text
}

// ParseServiceCode reads the three written forms: SC:fdpz, SC=1717858426 and
// SC=x6664707A.
func ParseServiceCode(s string) (ServiceCode, error) {
	bad := fmt.Errorf("service code %q: want SC:abcd, SC=decimal or SC=xhex", s)
	if text, ok := strings.CutPrefix(s, "SC:"); ok {
		if text == "" || len(text) > 4 || strings.Trim(text, serviceChars) != "" {
			return 0, bad
		}
		var v ServiceCode
		for i := range 4 {
			c := byte(' ')
			if i < len(text) {
				c = text[i]
			}
			v = v<<8 | ServiceCode(c)
		}
		return v, nil
	}
	digits, ok := strings.CutPrefix(s, "SC=")
	base := 10
	if ok && len(digits) > 1 && (digits[0] == 'x' || digits[0] == 'X') {
		digits, base = digits[1:], 16
	}
	v, err := strconv.ParseUint(digits, base, 32)
	if !ok || err != nil || ServiceCode(v) == InvalidServiceCode {
		return 0, bad
	}
	return ServiceCode(v), nil
}
