package dtlsmux

import "encoding/binary"

// Extension is the number of data_multiplexing: of those for private use (RFC
// 8446, Section 11).
const Extension = 0xff4d

const (
	recordHeader    = 13
	handshakeHeader = 12

	contentHandshake = 22
	clientHello      = 1
	serverHello      = 2
)

// offers reports whether a record is a hello of that type, whole and in the
// clear, and whether it bears the extension.
func offers(record []byte, hello byte) (is, ext bool) {
	if len(record) < recordHeader+handshakeHeader || record[0] != contentHandshake || binary.BigEndian.Uint16(record[3:]) != 0 {
		return false, false
	}
	m := record[recordHeader:]
	if m[0] != hello {
		return false, false
	}
	total := uint24(m[1:])
	body := m[handshakeHeader:]
	if uint24(m[6:]) != 0 || uint24(m[9:]) != total || total > len(body) {
		return true, false // a fragment
	}
	return true, extended(body[:total], hello)
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// extended looks for the empty extension in a hello (RFC 5246, Section 7.4.1.2;
// RFC 6347, Section 4.2.1, for the cookie).
func extended(b []byte, hello byte) bool {
	skip := func(n int) bool {
		if n > len(b) {
			return false
		}
		b = b[n:]
		return true
	}
	// vector skips one whose length takes n octets.
	vector := func(n int) bool {
		if len(b) < n {
			return false
		}
		length := 0
		for _, o := range b[:n] {
			length = length<<8 | int(o)
		}
		return skip(n + length)
	}
	ok := skip(2+32) && vector(1) // version, random, session
	if hello == clientHello {
		ok = ok && vector(1) && vector(2) && vector(1) // cookie, suites, compression
	} else {
		ok = ok && skip(2+1)
	}
	if !ok || len(b) < 2 || int(binary.BigEndian.Uint16(b)) != len(b)-2 {
		return false
	}
	for b = b[2:]; len(b) >= 4; {
		kind, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if kind == Extension {
			return length == 0 // with anything in it it is another (Section 2.1)
		}
		if !skip(4 + length) {
			return false
		}
	}
	return false
}
