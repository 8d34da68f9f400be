package wire

import "encoding/binary"

// Feature is a feature number (RFC 4340, Section 6.4).
type Feature uint8

// Features. Those from 128 belong to the CCIDs; the last is CCID 3's.
const (
	FeatCCID              Feature = 1
	FeatShortSeqnos       Feature = 2
	FeatSequenceWindow    Feature = 3
	FeatECNIncapable      Feature = 4
	FeatAckRatio          Feature = 5
	FeatSendAckVector     Feature = 6
	FeatSendNDPCount      Feature = 7
	FeatMinCsCov          Feature = 8
	FeatCheckDataChecksum Feature = 9

	FeatSendLossEventRate Feature = 192
)

// Bounds and starting values of the non-negotiable features.
const (
	MinSequenceWindow     = 32
	MaxSequenceWindow     = 1<<46 - 1
	DefaultSequenceWindow = 100
	DefaultAckRatio       = 2
)

// Negotiable reports whether f's value is agreed upon by server priority;
// otherwise its location decides alone (RFC 4340, Section 6.3).
func (f Feature) Negotiable() bool { return f != FeatSequenceWindow && f != FeatAckRatio }

// FeatureOption is the content of a Change or Confirm option. Values are the
// feature's values as they stand: one octet each for the server-priority
// features, which come as a list in order of preference, the chosen one before
// it in a Confirm; 6 octets for Sequence Window, 2 for Ack Ratio. Without
// values a Confirm says that the Change was not understood.
type FeatureOption struct {
	Type    OptionType // OptChangeL to OptConfirmR
	Feature Feature
	Values  []byte // a view
}

// ParseFeature reads a Change or Confirm option.
func ParseFeature(o Option) (FeatureOption, bool) {
	if !o.Type.IsFeature() || len(o.Data) == 0 {
		return FeatureOption{}, false
	}
	return FeatureOption{o.Type, Feature(o.Data[0]), o.Data[1:]}, true
}

// AppendFeature appends a Change or Confirm option.
func AppendFeature(b []byte, t OptionType, f Feature, values ...byte) []byte {
	b = append(b, byte(t), byte(optionLen(1+len(values))), byte(f))
	return append(b, values...)
}

// SequenceWindow reads the value of that feature; ok is false out of its range
// or length (RFC 4340, Section 7.5.2).
func SequenceWindow(v []byte) (w uint64, ok bool) {
	if len(v) != 6 {
		return 0, false
	}
	w = Uint(v)
	return w, w >= MinSequenceWindow && w <= MaxSequenceWindow
}

// AppendSequenceWindow appends the value as an option holds it.
func AppendSequenceWindow(b []byte, w uint64) []byte { return appendUint(b, w, 6) }

// AckRatio reads the value of that feature; zero is not one (RFC 4340,
// Section 11.3).
func AckRatio(v []byte) (ratio uint16, ok bool) {
	if len(v) != 2 {
		return 0, false
	}
	ratio = binary.BigEndian.Uint16(v)
	return ratio, ratio > 0
}
