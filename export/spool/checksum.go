package spool

import (
	"crypto/md5"
	"encoding/binary"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

const (
	messageMD5Checksum = 262
	messageScope       = 263

	// checksumSetLen is the set that ends each message: header, scope,
	// checksum.
	checksumSetLen = ipfix.SetHeaderLen + 1 + md5.Size
	// maxBody is the longest message that the checksum still fits behind.
	maxBody = ipfix.MaxMessage - checksumSetLen
)

// checksumTemplate is the Message Checksum Options Template (RFC 5655,
// Section 8.1.1).
func checksumTemplate(id uint16, reg *ie.Registry) (*ipfix.Template, error) {
	return ipfix.NewTemplate(id, 1, []ipfix.FieldSpec{
		{ID: ie.ID{Num: messageScope}, Length: 1},
		{ID: ie.ID{Num: messageMD5Checksum}, Length: md5.Size},
	}, reg)
}

// seal appends the checksum of the message at dst[start:] and sets its
// length; maxBody octets are the most.
func seal(dst []byte, start int, id uint16) []byte {
	var set [checksumSetLen]byte
	binary.BigEndian.PutUint16(set[:], id)
	binary.BigEndian.PutUint16(set[2:], checksumSetLen)
	dst = append(dst, set[:]...)
	msg := dst[start:]
	binary.BigEndian.PutUint16(msg[2:], uint16(len(msg)))
	// The checksum is over the message with its own octets 0 (RFC 5655,
	// Section 8.2.10).
	sum := md5.Sum(msg)
	copy(msg[len(msg)-md5.Size:], sum[:])
	return dst
}

// sealed reports whether msg, a message of ours of this length, is whole. It
// is as before when it returns.
func sealed(msg []byte) bool {
	n := len(msg) - checksumSetLen
	if n < ipfix.HeaderLen || binary.BigEndian.Uint16(msg[n:]) < ipfix.MinDataSetID ||
		binary.BigEndian.Uint16(msg[n+2:]) != checksumSetLen {
		return false
	}
	var stated [md5.Size]byte
	place := msg[len(msg)-md5.Size:]
	copy(stated[:], place)
	clear(place)
	sum := md5.Sum(msg)
	copy(place, stated[:])
	return sum == stated
}
