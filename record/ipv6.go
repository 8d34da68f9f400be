package record

import "encoding/binary"

// A zeroRun is the part of an IPv6 address that "::" stands for.
type zeroRun struct{ start, end uint8 }

// zeroRuns has, for each set of groups that are zero (the first group is the
// lowest bit), the longest run of two and more, the first of equal ones
// (RFC 5952, Section 4.2).
var zeroRuns = findZeroRuns()

func findZeroRuns() (t [256]zeroRun) {
	for mask := range t {
		best := zeroRun{start: 8, end: 8} // none
		for i := range uint8(8) {
			j := i
			for j < 8 && mask>>j&1 == 1 {
				j++
			}
			if j-i >= 2 && j-i > best.end-best.start {
				best = zeroRun{i, j}
			}
		}
		t[mask] = best
	}
	return t
}

// putIPv6 writes the address of 16 octets as RFC 5952 does; it needs 48 octets
// of room.
func putIPv6(p, x []byte) int {
	_ = x[15]
	_ = p[47]
	if binary.BigEndian.Uint64(x) == 0 && binary.BigEndian.Uint32(x[8:]) == 0xFFFF {
		copy(p, "::ffff:")
		return 7 + putIPv4(p[7:], x[12:])
	}
	mask := 0
	for i := range 8 {
		mask |= int((uint32(binary.BigEndian.Uint16(x[2*i:]))-1)>>31) << i
	}
	run := zeroRuns[mask]
	n := 0
	for i := 0; i < 8; i++ {
		if i == int(run.start) {
			*(*[2]byte)(p[n:]) = [2]byte{':', ':'}
			n += 2
			if i = int(run.end); i == 8 {
				break
			}
		} else if i > 0 {
			p[n] = ':'
			n++
		}
		n += putGroup(p[n:], x[2*i], x[2*i+1])
	}
	return n
}

// putGroup writes 1 to 4 hexadecimal digits, without a branch as putUint does.
func putGroup(p []byte, hi, lo byte) int {
	v := uint32(hi)<<8 | uint32(lo)
	text := uint32(binary.LittleEndian.Uint16(pairs[hi][:])) | uint32(binary.LittleEndian.Uint16(pairs[lo][:]))<<16
	d := (0xF-v)>>31 + (0xFF-v)>>31 + (0xFFF-v)>>31
	binary.LittleEndian.PutUint32(p, text>>(24-8*d))
	return int(d) + 1
}
