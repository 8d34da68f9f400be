package wire

// Seq is a sequence or acknowledgement number: 48 bits, circular (RFC 4340,
// Section 7). Values above 48 bits never occur.
type Seq uint64

const (
	seqBits = 48
	seqMask = 1<<seqBits - 1
	// ShortBits is the width of the numbers in packets with X=0.
	ShortBits = 24
	shortMask = 1<<ShortBits - 1
)

// MakeSeq is n modulo 2^48.
func MakeSeq(n uint64) Seq { return Seq(n & seqMask) }

// Add is s+n on the circle; n may be negative.
func (s Seq) Add(n int64) Seq { return (s + Seq(n)) & seqMask }

// Sub is the shorter signed way on the circle from t to s.
func (s Seq) Sub(t Seq) int64 { return int64((s-t)<<(64-seqBits)) >> (64 - seqBits) }

// Less reports whether s comes before t on the circle.
func (s Seq) Less(t Seq) bool { return s.Sub(t) < 0 }

// Between reports whether s lies in [lo, hi] on the circle.
func (s Seq) Between(lo, hi Seq) bool { return (s-lo)&seqMask <= (hi-lo)&seqMask }

// MaxSeq is the later of two numbers.
func MaxSeq(s, t Seq) Seq {
	if s.Less(t) {
		return t
	}
	return s
}

// MinSeq is the earlier of two numbers.
func MinSeq(s, t Seq) Seq {
	if s.Less(t) {
		return s
	}
	return t
}

// Extend widens a 24-bit number to the 48-bit number nearest to ref, which is
// GSR+1 for sequence numbers and GSS for acknowledgement numbers (RFC 4340,
// Section 7.6).
func Extend(low uint32, ref Seq) Seq {
	// The signed 24-bit distance from ref's low bits to the number.
	d := int64(int32((low-uint32(ref))<<(32-ShortBits)) >> (32 - ShortBits))
	return ref.Add(d)
}
