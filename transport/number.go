package transport

import (
	"crypto/rand"
	"encoding/binary"
)

// NewSessionNumber makes a Peer.Session: unique without anybody keeping
// count, never zero, and exact as a JSON number.
func NewSessionNumber() uint64 {
	var b [8]byte
	rand.Read(b[:]) // crypto/rand's Read never fails
	return binary.BigEndian.Uint64(b[:])>>11 | 1
}
