package wire

import "encoding/binary"

// ParamType is a parameter's type. Its two high bits say what a receiver does
// that does not know it (RFC 9260, Section 3.2.1).
type ParamType uint16

// Parameter types (RFC 9260, Section 3.3.2.1; RFC 4895, Section 3; RFC 3758,
// Section 3.1; RFC 5061, Section 4.2.7).
const (
	ParamHeartbeatInfo  ParamType = 1
	ParamIPv4           ParamType = 5
	ParamIPv6           ParamType = 6
	ParamCookie         ParamType = 7
	ParamUnrecognized   ParamType = 8
	ParamPreservative   ParamType = 9
	ParamHostName       ParamType = 11
	ParamAddressTypes   ParamType = 12
	ParamECN            ParamType = 0x8000
	ParamZeroChecksum   ParamType = 0x8001
	ParamRandom         ParamType = 0x8002
	ParamChunkList      ParamType = 0x8003
	ParamHMACs          ParamType = 0x8004
	ParamPadding        ParamType = 0x8005
	ParamExtensions     ParamType = 0x8008
	ParamForwardTSN     ParamType = 0xC000
	ParamAdaptation     ParamType = 0xC006
	paramSkip           ParamType = 0x8000
	paramReport         ParamType = 0x4000
	zeroChecksumMethod1 uint32    = 1
)

// Skip tells whether an unknown parameter is passed over; else those behind it
// are not read.
func (t ParamType) Skip() bool { return t&paramSkip != 0 }

// Report tells whether an unknown parameter is reported to its sender.
func (t ParamType) Report() bool { return t&paramReport != 0 }

// Param is a view of one parameter or error cause.
type Param struct {
	Type  ParamType
	Value []byte
	Raw   []byte // header and value, without padding
}

// Params walks through parameters or error causes.
type Params struct {
	rest []byte
	bad  bool
}

// WalkParams begins with b.
func WalkParams(b []byte) Params { return Params{rest: b} }

// Next fills in the next parameter; false at the end or where the rest is
// none.
func (w *Params) Next(p *Param) bool {
	if len(w.rest) == 0 {
		return false
	}
	if len(w.rest) < paramHeaderLen {
		w.bad = true
		return false
	}
	n := int(binary.BigEndian.Uint16(w.rest[2:]))
	if n < paramHeaderLen || n > len(w.rest) {
		w.bad = true
		return false
	}
	p.Type = ParamType(binary.BigEndian.Uint16(w.rest))
	p.Raw, p.Value = w.rest[:n], w.rest[paramHeaderLen:n]
	w.rest = w.rest[min(Padded(n), len(w.rest)):]
	return true
}

// Malformed tells whether Next ended at something that is no parameter.
func (w *Params) Malformed() bool { return w.bad }

// AppendParam writes a parameter or cause, behind the padding of the one
// before it: that of a chunk's last does not count in the chunk's length (RFC
// 9260, Section 3.2).
func AppendParam(b []byte, t ParamType, value []byte) []byte {
	return AppendBareParam(Pad(b), t, value)
}

// AppendBareParam writes one without any padding.
func AppendBareParam(b []byte, t ParamType, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = binary.BigEndian.AppendUint16(b, uint16(paramHeaderLen+len(value)))
	return append(b, value...)
}

// Cause is the code of an error cause (RFC 9260, Section 3.3.10; RFC 4895,
// Section 4).
type Cause uint16

const (
	CauseInvalidStream     Cause = 1
	CauseMissingParam      Cause = 2
	CauseStaleCookie       Cause = 3
	CauseOutOfResource     Cause = 4
	CauseUnresolvable      Cause = 5
	CauseUnrecognizedChunk Cause = 6
	CauseInvalidParam      Cause = 7
	CauseUnrecognizedParam Cause = 8
	CauseNoUserData        Cause = 9
	CauseCookieInShutdown  Cause = 10
	CauseUserAbort         Cause = 12
	CauseViolation         Cause = 13
	CauseUnsupportedHMAC   Cause = 0x0105
)

// AppendCause writes an error cause as AppendParam does.
func AppendCause(b []byte, c Cause, value []byte) []byte {
	return AppendParam(b, ParamType(c), value)
}

// FirstCause reads the first cause of an ABORT or ERROR; 0 if there is none.
func FirstCause(value []byte) (c Cause, info []byte) {
	w := WalkParams(value)
	var p Param
	if !w.Next(&p) {
		return 0, nil
	}
	return Cause(p.Type), p.Value
}
