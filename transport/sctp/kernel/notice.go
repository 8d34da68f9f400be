package kernel

import (
	"encoding/binary"
	"net/netip"

	"ipfixsuite/transport/sctp"
)

// Notification types (RFC 6458, Section 6.1; linux/sctp.h).
const (
	noticeAssocChange     = 0x8001
	noticePathChange      = 0x8002
	noticeSendFailed      = 0x8003 // deprecated form
	noticeShutdown        = 0x8005
	noticePartialDelivery = 0x8006
	noticeAuthentication  = 0x8008
	noticeSenderDry       = 0x8009
	noticeSendFailedEvent = 0x800D
)

// States of an association change.
const (
	assocUp          = 0
	assocLost        = 1
	assocRestart     = 2
	assocShutdown    = 3
	assocCannotStart = 4
)

// States of a path change.
const (
	pathAvailable   = 0
	pathUnreachable = 1
)

const (
	noticeHeader    = 8
	assocChangeLen  = 20
	pathChangeLen   = 148
	storageLen      = 128 // struct sockaddr_storage
	sendFailedLen   = 48
	sendFailedELen  = 32
	maxAbortReason  = 256
	chunkAbort      = 6
	chunkHeader     = 4  // also that of a cause
	causeUserAbort  = 12 // RFC 9260, Section 3.3.10.12
	familyIPv4      = 2
	familyIPv6      = 10
	senderUnordered = 4 // the U and B bits of a DATA chunk (RFC 9260, Section 3.3.1)
	senderBegins    = 2
	dataSent        = 1 // SCTP_DATA_SENT
)

// notice is one notification, as far as it matters here.
type notice struct {
	kind  uint16
	state uint32
	cause uint32
	path  netip.AddrPort
	// of a message that failed
	stream    uint16
	unordered bool
	begins    bool // it is the message's first piece, or all of it
	sent      bool // that piece had been sent
	ppid      uint32
	tag       uint32
	// of an association change
	out, in int
	aborted bool
	reason  string
}

// parseNotice reads what recvmsg marked as a notification, in the host's byte
// order. Kinds that are not known are no error.
func parseNotice(b []byte) (n notice, ok bool) {
	ne := binary.NativeEndian
	if len(b) < noticeHeader {
		return n, false
	}
	n.kind = ne.Uint16(b)
	switch n.kind {
	case noticeAssocChange:
		if len(b) < assocChangeLen {
			return n, false
		}
		n.state, n.cause = uint32(ne.Uint16(b[8:])), uint32(ne.Uint16(b[10:]))
		n.out, n.in = int(ne.Uint16(b[12:])), int(ne.Uint16(b[14:]))
		// With an ABORT of the peer come its causes; a peer that does not
		// answer has none.
		if n.state == assocLost || n.state == assocCannotStart {
			n.aborted, n.cause, n.reason = abortCauses(b[assocChangeLen:], n.cause)
		}
	case noticePathChange:
		if len(b) < pathChangeLen {
			return n, false
		}
		n.path = storage(b[8:])
		n.state, n.cause = ne.Uint32(b[8+storageLen:]), ne.Uint32(b[12+storageLen:])
	case noticeSendFailed:
		if len(b) < sendFailedLen {
			return n, false
		}
		n.sent = ne.Uint16(b[2:]) == dataSent
		n.cause, n.stream = ne.Uint32(b[8:]), ne.Uint16(b[12:])
		n.unordered, n.begins = ne.Uint16(b[16:])&senderUnordered != 0, ne.Uint16(b[16:])&senderBegins != 0
		n.ppid, n.tag = binary.BigEndian.Uint32(b[20:]), ne.Uint32(b[24:])
	case noticeSendFailedEvent:
		if len(b) < sendFailedELen {
			return n, false
		}
		n.sent = ne.Uint16(b[2:]) == dataSent
		n.cause, n.stream = ne.Uint32(b[8:]), ne.Uint16(b[12:])
		n.unordered, n.begins = ne.Uint16(b[14:])&senderUnordered != 0, ne.Uint16(b[14:])&senderBegins != 0
		n.ppid, n.tag = binary.BigEndian.Uint32(b[16:]), ne.Uint32(b[20:])
	}
	return n, true
}

// abortCauses reads the ABORT that ended an association. Linux leaves its
// chunk header out (RFC 6458, Section 6.1.1, has it): causes begin with zero.
func abortCauses(b []byte, cause uint32) (aborted bool, code uint32, reason string) {
	if len(b) == 0 {
		return false, cause, ""
	}
	if b[0] == chunkAbort {
		b = b[min(len(b), chunkHeader):]
	}
	if len(b) < chunkHeader {
		return true, 0, ""
	}
	code = uint32(binary.BigEndian.Uint16(b))
	if n := int(binary.BigEndian.Uint16(b[2:])); code == causeUserAbort && n >= chunkHeader && n <= len(b) {
		reason = sctp.PrintableReason(b[chunkHeader:min(n, chunkHeader+maxAbortReason)])
	}
	return true, code, reason
}

// storage reads a struct sockaddr_storage.
func storage(b []byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(b[2:])
	switch binary.NativeEndian.Uint16(b) {
	case familyIPv4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), port)
	case familyIPv6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])).Unmap(), port)
	}
	return netip.AddrPort{}
}
