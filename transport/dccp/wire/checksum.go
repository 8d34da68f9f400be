package wire

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"
	"net/netip"
)

// Protocol is DCCP's IP protocol number.
const Protocol = 33

// ErrChecksum is a header checksum that does not match; such a packet is
// ignored (RFC 4340, Section 9.1, MUST).
var ErrChecksum = errors.New("dccp packet: checksum does not match")

// SetChecksum fills in the checksum of the whole packet b, which goes from
// src to dst natively over IP, as far as its coverage field says (RFC 4340,
// Section 9). Zones do not matter; both addresses are of one family.
func SetChecksum(b []byte, src, dst netip.Addr) {
	if len(b) < MinHeader {
		return
	}
	b[6], b[7] = 0, 0
	binary.BigEndian.PutUint16(b[6:], ^checksum(b, src, dst))
}

// VerifyChecksum checks the checksum of the packet b, which Parse accepts.
func VerifyChecksum(b []byte, src, dst netip.Addr) error {
	if len(b) < MinHeader || checksum(b, src, dst) != 0xffff {
		return ErrChecksum
	}
	return nil
}

// checksum is the one's complement sum over the pseudo-header and what is
// covered of b (RFC 4340, Sections 9.1 and 9.2).
func checksum(b []byte, src, dst netip.Addr) uint16 {
	src, dst = src.Unmap(), dst.Unmap()
	n := uint64(len(b))
	var s uint64
	if src.Is4() && dst.Is4() {
		a, z := src.As4(), dst.As4()
		s = uint64(binary.BigEndian.Uint32(a[:])) + uint64(binary.BigEndian.Uint32(z[:]))
	} else {
		a, z := src.As16(), dst.As16()
		s = sum(sum(0, a[:]), z[:])
	}
	s += Protocol + n>>16 + n&0xffff
	return fold(sum(s, b[:covered(b)]))
}

// covered is how far the checksum of b reaches.
func covered(b []byte) int {
	cov := int(b[5] & 0xf)
	if cov == 0 {
		return len(b)
	}
	return min(int(b[4])*4+(cov-1)*4, len(b))
}

// sum adds b as big-endian words to s. Words of 64 bits are added with end
// around carry: 2^64-1 is a multiple of 2^16-1, so fold is none the wiser.
func sum(s uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 8 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var tail [8]byte
	copy(tail[:], b)
	s, carry = bits.Add64(s, binary.BigEndian.Uint64(tail[:]), carry)
	s, carry = bits.Add64(s, 0, carry)
	return s + carry
}

func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s>>16 + s&0xffff)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// DataCRC is the CRC-32c that a Data Checksum option holds (RFC 4340, Section
// 9.3), in the order in which SCTP sends it: least significant octet first.
// AppendDataChecksum and CheckDataCRC take care of that.
func DataCRC(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }
