package record

import (
	"encoding/binary"
	"strconv"
)

const hexDigits = "0123456789abcdef"

// Tables of decimal text: they make the difference between 340 and 170 ns for
// a record of 20 fields.
var (
	two   = twoDigits()
	four  = fourDigits()
	quad  = dottedOctets()
	pairs = hexPairs()
)

func twoDigits() (t [100][2]byte) {
	for i := range t {
		t[i] = [2]byte{'0' + byte(i/10), '0' + byte(i%10)}
	}
	return t
}

func fourDigits() (t [10000][4]byte) {
	for i := range t {
		t[i] = [4]byte{'0' + byte(i/1000), '0' + byte(i/100%10), '0' + byte(i/10%10), '0' + byte(i%10)}
	}
	return t
}

// octetText is an octet of an address with the dot behind it, and its length.
type octetText struct {
	text [4]byte
	n    uint32
}

func dottedOctets() (t [256]octetText) {
	for i := range t {
		s := strconv.AppendInt(t[i].text[:0], int64(i), 10)
		t[i].text[len(s)] = '.'
		t[i].n = uint32(len(s) + 1)
	}
	return t
}

func hexPairs() (t [256][2]byte) {
	for i := range t {
		t[i] = [2]byte{hexDigits[i>>4], hexDigits[i&15]}
	}
	return t
}

// maxUint is the room that putUint needs.
const maxUint = 20

// putUint writes v into p, which has room for maxUint, and says how many
// digits it has. The lengths of real counters cannot be foretold: so the head,
// of 1 to 4 digits, is taken without a branch from the text of 4.
func putUint(p []byte, v uint64) int {
	_ = p[maxUint-1]
	if v < 1e4 {
		text, n := head(v)
		binary.LittleEndian.PutUint32(p, text)
		return n
	}
	if v < 1e8 {
		hi := v / 1e4
		text, n := head(hi)
		binary.LittleEndian.PutUint32(p, text)
		*(*[4]byte)(p[n:]) = four[v-hi*1e4]
		return n + 4
	}
	if v < 1e12 {
		hi := v / 1e8
		text, n := head(hi)
		binary.LittleEndian.PutUint32(p, text)
		put8(p[n:], v-hi*1e8)
		return n + 8
	}
	if v < 1e16 {
		hi := v / 1e12
		text, n := head(hi)
		binary.LittleEndian.PutUint32(p, text)
		v -= hi * 1e12
		mid := v / 1e8
		*(*[4]byte)(p[n:]) = four[mid]
		put8(p[n+4:], v-mid*1e8)
		return n + 12
	}
	hi := v / 1e16
	text, n := head(hi)
	binary.LittleEndian.PutUint32(p, text)
	v -= hi * 1e16
	mid := v / 1e8
	put8(p[n:], mid)
	put8(p[n+8:], v-mid*1e8)
	return n + 16
}

// head is the text of v below 10000, first digit in the lowest octet, and its
// length.
func head(v uint64) (text uint32, n int) {
	d := (9-v)>>63 + (99-v)>>63 + (999-v)>>63 // digits but one
	return binary.LittleEndian.Uint32(four[v][:]) >> (24 - 8*d), int(d) + 1
}

// put8 writes 8 digits.
func put8(p []byte, v uint64) {
	_ = p[7]
	hi := v / 1e4
	*(*[4]byte)(p) = four[hi]
	*(*[4]byte)(p[4:]) = four[v-hi*1e4]
}

// putInt writes v into p.
func putInt(p []byte, v int64) int {
	if v < 0 {
		p[0] = '-'
		return 1 + putUint(p[1:], -uint64(v))
	}
	return putUint(p, uint64(v))
}

// putIPv4 writes the address of 4 octets; it needs 16 octets of room.
func putIPv4(p, x []byte) int {
	_ = x[3]
	_ = p[15]
	a, b, c, d := &quad[x[0]], &quad[x[1]], &quad[x[2]], &quad[x[3]]
	*(*[4]byte)(p) = a.text
	n := a.n
	*(*[4]byte)(p[n:]) = b.text
	n += b.n
	*(*[4]byte)(p[n:]) = c.text
	n += c.n
	*(*[4]byte)(p[n:]) = d.text
	return int(n + d.n - 1)
}

// putHex writes two digits an octet.
func putHex(p, x []byte) int {
	p = p[:2*len(x)]
	for i, c := range x {
		*(*[2]byte)(p[2*i:]) = pairs[c]
	}
	return len(p)
}

// loadUint reads an integer of 1 to 8 octets.
func loadUint(x []byte) uint64 {
	switch len(x) {
	case 1:
		return uint64(x[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(x))
	case 4:
		return uint64(binary.BigEndian.Uint32(x))
	case 8:
		return binary.BigEndian.Uint64(x)
	}
	var v uint64
	for _, c := range x {
		v = v<<8 | uint64(c)
	}
	return v
}
