package wire

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Init is the fixed part of an INIT or INIT ACK (RFC 9260, Sections 3.3.2 and
// 3.3.3) and a view of its parameters.
type Init struct {
	Tag     uint32
	Window  uint32
	Out, In uint16 // streams its sender will use, and allows
	TSN     uint32
	Params  []byte
}

const initFixed = 16

// ParseInit reads an INIT's or INIT ACK's value.
func ParseInit(value []byte) (i Init, ok bool) {
	if len(value) < initFixed {
		return i, false
	}
	i.Tag = binary.BigEndian.Uint32(value)
	i.Window = binary.BigEndian.Uint32(value[4:])
	i.Out = binary.BigEndian.Uint16(value[8:])
	i.In = binary.BigEndian.Uint16(value[10:])
	i.TSN = binary.BigEndian.Uint32(value[12:])
	i.Params = value[initFixed:]
	return i, true
}

// AppendFixed writes the fixed part.
func (i *Init) AppendFixed(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, i.Tag)
	b = binary.BigEndian.AppendUint32(b, i.Window)
	b = binary.BigEndian.AppendUint16(b, i.Out)
	b = binary.BigEndian.AppendUint16(b, i.In)
	return binary.BigEndian.AppendUint32(b, i.TSN)
}

// Options are what the parameters of an INIT or INIT ACK say, as views; nil
// means absent.
type Options struct {
	ForwardTSN bool   // partial reliability is understood (RFC 3758, Section 3.3)
	Cookie     []byte // INIT ACK
	// Random, ChunkList and HMACs are the values of SCTP-AUTH's parameters
	// (RFC 4895, Section 3).
	Random, ChunkList, HMACs []byte
	// HostName: the peer wants to be known by a name (deprecated).
	HostName bool
	// Unrecognized collects parameters to be reported, each whole and padded,
	// not more than maxUnrecognized octets.
	Unrecognized []byte
}

// maxUnrecognized bounds what an INIT makes us send back.
const maxUnrecognized = 128

var (
	// ErrParams: the parameters are no sequence of parameters.
	ErrParams = errors.New("malformed parameters")
	// ErrAuthParams: SCTP-AUTH's parameters break its rules: another than a
	// 32-octet random number, or one of them twice.
	ErrAuthParams = errors.New("bad SCTP-AUTH parameters")
)

// RandomLen is the length of SCTP-AUTH's random number (RFC 4895, Section 3.1).
const RandomLen = 32

// ParseOptions reads parameters. Unknown ones are treated as their high bits
// demand; reported is appended to for those to be reported.
func ParseOptions(params, reported []byte) (o Options, err error) {
	o.Unrecognized = reported
	w := WalkParams(params)
	var p Param
	for w.Next(&p) {
		switch p.Type {
		case ParamForwardTSN:
			o.ForwardTSN = true
		case ParamExtensions:
			o.ForwardTSN = o.ForwardTSN || slices.Contains(p.Value, byte(ForwardTSN))
		case ParamCookie:
			o.Cookie = p.Value
		case ParamRandom:
			// An association whose random number has another length is
			// aborted (RFC 4895, Section 6.1, MUST).
			if o.Random != nil || len(p.Value) != RandomLen {
				return o, ErrAuthParams
			}
			o.Random = p.Value
		case ParamChunkList:
			if o.ChunkList != nil || len(p.Value) > 256 {
				return o, ErrAuthParams
			}
			o.ChunkList = present(p.Value)
		case ParamHMACs:
			if o.HMACs != nil || len(p.Value)%2 != 0 || len(p.Value) > maxHMACs*2 {
				return o, ErrAuthParams
			}
			o.HMACs = present(p.Value)
		case ParamHostName:
			o.HostName = true
		case ParamIPv4, ParamIPv6, ParamPreservative, ParamAddressTypes, ParamECN, ParamZeroChecksum,
			ParamPadding, ParamAdaptation, ParamUnrecognized:
			// Known, and of no concern to an association of one path.
		default:
			if p.Type.Report() && len(o.Unrecognized)+Padded(len(p.Raw)) <= maxUnrecognized {
				o.Unrecognized = Pad(append(o.Unrecognized, p.Raw...))
			}
			if !p.Type.Skip() {
				return o, nil
			}
		}
	}
	if w.Malformed() {
		return o, ErrParams
	}
	return o, nil
}

// maxHMACs bounds the algorithms a peer lists: two exist.
const maxHMACs = 16

// present tells an empty parameter from an absent one.
func present(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}

// AppendZeroChecksum writes the parameter by which an engine beside us agrees
// to leave out checksums; it is never put on the wire.
func AppendZeroChecksum(b []byte) []byte {
	return AppendParam(b, ParamZeroChecksum, binary.BigEndian.AppendUint32(nil, zeroChecksumMethod1))
}
