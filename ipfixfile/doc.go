// Package ipfixfile reads and writes IPFIX Files (RFC 5655): serialized
// IPFIX Messages, one after the other, with nothing between them.
//
// Reader delivers whole messages from any stream, reports what is truncated
// or garbled with its byte offset and finds the next message again by the
// rule of Section 10.3. Writer appends whole messages to a series of files
// that rotate by size and age; a file under way is called NAME.part and gets
// its name only when it is finished, so that whoever sees NAME sees whole
// messages. Recover does the same for what a killed process left behind.
//
// Messages are taken and given as octets: the package knows the message
// header, not templates or records. It holds no goroutines; a Writer looks
// at the clock only when it writes out or is asked to flush. It leaves out
// signatures and encryption (Section 9); gzip and bzip2 (Section 10) are
// recognised for reading only.
//
//	 0                   1                   2                   3
//	+-------------------------------+-------------------------------+
//	|         Version (10)          |   Length, header included     |
//	+-------------------------------+-------------------------------+
//	|                          Export Time                          |
//	+---------------------------------------------------------------+
//	|                        Sequence Number                        |
//	+---------------------------------------------------------------+
//	|                     Observation Domain ID                     |
//	+---------------------------------------------------------------+
package ipfixfile

import "encoding/binary"

const (
	version    = 10
	headerLen  = 16
	setHdrLen  = 4
	maxMessage = 0xFFFF // the Length field has 16 bits
)

// messageLen is the length that the header at the start of b claims, 0 where
// no message can start.
func messageLen(b []byte) int {
	if len(b) < 4 || binary.BigEndian.Uint16(b) != version {
		return 0
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < headerLen {
		return 0
	}
	return n
}

// setsFit tells whether the sets of a whole message end exactly where the
// message ends.
func setsFit(msg []byte) bool {
	rest := msg[headerLen:]
	for len(rest) >= setHdrLen {
		id := binary.BigEndian.Uint16(rest)
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if n < setHdrLen || n > len(rest) || id < 2 || id > 3 && id < 256 {
			return false
		}
		rest = rest[n:]
	}
	return len(rest) == 0
}
