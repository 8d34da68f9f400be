package wire

import (
	"encoding/binary"
	"errors"
	"time"
)

// OptionType is the first octet of an option (RFC 4340, Table 3).
type OptionType uint8

// Options. Those below 32 are one octet long. Types from 128 belong to the
// CCIDs: 128 to 191 go from HC-Sender to HC-Receiver, 192 to 255 back
// (RFC 4340, Section 10.3); the last three are CCID 3's (RFC 4342).
const (
	OptPadding       OptionType = 0
	OptMandatory     OptionType = 1
	OptSlowReceiver  OptionType = 2
	OptChangeL       OptionType = 32
	OptConfirmL      OptionType = 33
	OptChangeR       OptionType = 34
	OptConfirmR      OptionType = 35
	OptInitCookie    OptionType = 36
	OptNDPCount      OptionType = 37
	OptAckVector0    OptionType = 38 // ECN Nonce Echo 0
	OptAckVector1    OptionType = 39 // ECN Nonce Echo 1
	OptDataDropped   OptionType = 40
	OptTimestamp     OptionType = 41
	OptTimestampEcho OptionType = 42
	OptElapsedTime   OptionType = 43
	OptDataChecksum  OptionType = 44

	OptLossEventRate OptionType = 192
	OptLossIntervals OptionType = 193
	OptReceiveRate   OptionType = 194
)

// MaxOptionData is the most that one option carries.
const MaxOptionData = 253

// OnData reports whether an option of type t may be on a Data packet; others
// are ignored there, so that a guessed 24-bit number does no harm (RFC 4340,
// Sections 5.8 and 7.5.5).
func (t OptionType) OnData() bool {
	switch t {
	case OptMandatory, OptChangeL, OptConfirmL, OptChangeR, OptConfirmR, OptInitCookie,
		OptAckVector0, OptAckVector1, OptDataDropped, OptElapsedTime:
		return false
	}
	// What a CCID's receiver tells its sender hangs on an acknowledgement
	// number (RFC 4342, Section 8).
	return t < 192
}

// IsFeature reports whether t negotiates a feature.
func (t OptionType) IsFeature() bool { return t >= OptChangeL && t <= OptConfirmR }

// Option is one option; Data is a view, nil for options of one octet.
type Option struct {
	Type      OptionType
	Mandatory bool // Mandatory stood before it
	Data      []byte
}

// ErrMandatory is a Mandatory with no option after it, or before another
// Mandatory: the connection is reset with Option Error (RFC 4340, Section
// 5.8.2).
var ErrMandatory = errors.New("dccp options: Mandatory without an option")

// ErrOptionLength is an option whose length makes no sense. What came before
// holds, what follows is ignored (RFC 4340, Section 5.8, MUST).
var ErrOptionLength = errors.New("dccp options: nonsensical length")

// Options walks an option area, in its order:
//
//	for r := p.ReadOptions(); r.Next(); {
//		switch r.Option.Type { … }
//	}
//
// Padding is passed over, Mandatory becomes a property of the option that
// follows. Mandatory Padding is two octets of padding.
type Options struct {
	Option Option // valid after Next returned true
	rest   []byte
	err    error
	onData bool
}

// ReadOptions starts at the beginning of an option area.
func ReadOptions(area []byte) Options { return Options{rest: area} }

// ReadOptions starts at the beginning of the packet's options. On a Data packet
// those that do not count there are passed over, Mandatory among them.
func (p *Packet) ReadOptions() Options {
	return Options{rest: p.Options, onData: p.Type == Data}
}

// Next moves to the next option; false at the end or at a fault (Err).
func (r *Options) Next() bool {
	for r.next() {
		if !r.onData || r.Option.Type.OnData() {
			return true
		}
	}
	return false
}

func (r *Options) next() bool {
	mandatory := false
	for len(r.rest) > 0 {
		t := OptionType(r.rest[0])
		switch {
		case t == OptMandatory && r.onData:
			r.rest = r.rest[1:]
		case t == OptMandatory:
			if mandatory {
				return r.fail(ErrMandatory)
			}
			mandatory = true
			r.rest = r.rest[1:]
		case t == OptPadding:
			mandatory = false
			r.rest = r.rest[1:]
		case t < 32:
			r.Option = Option{t, mandatory, nil}
			r.rest = r.rest[1:]
			return true
		case len(r.rest) < 2 || r.rest[1] < 2 || int(r.rest[1]) > len(r.rest):
			return r.fail(ErrOptionLength)
		default:
			n := int(r.rest[1])
			r.Option = Option{t, mandatory, r.rest[2:n:n]}
			r.rest = r.rest[n:]
			return true
		}
	}
	if mandatory {
		return r.fail(ErrMandatory)
	}
	return false
}

func (r *Options) fail(err error) bool {
	r.rest, r.err = nil, err
	return false
}

// Err is what ended the walk early: ErrMandatory, ErrOptionLength or nil.
func (r *Options) Err() error { return r.err }

// AppendOption appends an option; data of more than MaxOptionData octets is a
// mistake of the caller's and panics. Types below 32 take no data.
func AppendOption(b []byte, t OptionType, data ...byte) []byte {
	if t < 32 {
		return append(b, byte(t))
	}
	return append(append(b, byte(t), byte(optionLen(len(data)))), data...)
}

func optionLen(n int) int {
	if n > MaxOptionData {
		panic("dccp options: option too long")
	}
	return n + 2
}

// AppendNDPCount appends the number of packets without data sent since the
// last with data, in as few octets as hold it (RFC 4340, Section 7.7).
func AppendNDPCount(b []byte, n uint64) []byte {
	n = min(n, seqMask)
	size := 1
	for v := n >> 8; v > 0; v >>= 8 {
		size++
	}
	b = append(b, byte(OptNDPCount), byte(2+size))
	return appendUint(b, n, size)
}

// NDPCount reads the data of an NDP Count option.
func NDPCount(data []byte) (uint64, bool) {
	if len(data) < 1 || len(data) > 6 {
		return 0, false
	}
	return Uint(data), true
}

// TimeUnit is what Timestamp, Timestamp Echo and Elapsed Time count in
// (RFC 4340, Section 13).
const TimeUnit = 10 * time.Microsecond

// AppendTimestamp appends a Timestamp option; stamp is in TimeUnits of a clock
// that need not mean anything to the peer.
func AppendTimestamp(b []byte, stamp uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(OptTimestamp), 6), stamp)
}

// Timestamp reads the data of a Timestamp option.
func Timestamp(data []byte) (uint32, bool) {
	if len(data) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(data), true
}

// AppendTimestampEcho appends the peer's stamp and the time that passed since
// it came; the elapsed time takes 0, 2 or 4 octets, as it needs.
func AppendTimestampEcho(b []byte, stamp uint32, elapsed time.Duration) []byte {
	u := timeUnits(elapsed)
	size := 4
	switch {
	case u == 0:
		size = 0
	case u <= 0xffff:
		size = 2
	}
	b = binary.BigEndian.AppendUint32(append(b, byte(OptTimestampEcho), byte(6+size)), stamp)
	return appendUint(b, u, size)
}

// TimestampEcho reads the data of a Timestamp Echo option.
func TimestampEcho(data []byte) (stamp uint32, elapsed time.Duration, ok bool) {
	switch len(data) {
	case 4, 6, 8:
		return binary.BigEndian.Uint32(data), time.Duration(Uint(data[4:])) * TimeUnit, true
	}
	return 0, 0, false
}

// AppendElapsedTime appends the time between the arrival of the packet that is
// acknowledged and this acknowledgement.
func AppendElapsedTime(b []byte, elapsed time.Duration) []byte {
	u := timeUnits(elapsed)
	size := 4
	if u <= 0xffff {
		size = 2
	}
	return appendUint(append(b, byte(OptElapsedTime), byte(2+size)), u, size)
}

// ElapsedTime reads the data of an Elapsed Time option.
func ElapsedTime(data []byte) (time.Duration, bool) {
	if len(data) != 2 && len(data) != 4 {
		return 0, false
	}
	return time.Duration(Uint(data)) * TimeUnit, true
}

// AppendDataChecksum appends the CRC-32c of the application data.
func AppendDataChecksum(b, data []byte) []byte {
	return binary.LittleEndian.AppendUint32(append(b, byte(OptDataChecksum), 6), DataCRC(data))
}

// CheckDataCRC compares a Data Checksum option with the application data; ok
// is false for an option of another length, which is ignored.
func CheckDataCRC(option, data []byte) (match, ok bool) {
	if len(option) != 4 {
		return false, false
	}
	return binary.LittleEndian.Uint32(option) == DataCRC(data), true
}

// Uint is the big-endian number that b, of at most 8 octets, holds.
func Uint(b []byte) uint64 {
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

func appendUint(b []byte, v uint64, size int) []byte {
	for i := size - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// timeUnits is d in TimeUnits, within 32 bits.
func timeUnits(d time.Duration) uint64 {
	return uint64(min(max(d, 0)/TimeUnit, 1<<32-1))
}
