//go:build linux && !386

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport/sctp"
)

// levelSCTP is that of SCTP's options and control messages.
const levelSCTP = unix.IPPROTO_SCTP

// Socket options (linux/sctp.h; RFC 6458, Section 8).
const (
	optRTOInfo        = 0
	optAssocInfo      = 1
	optNoDelay        = 3
	optPathParameters = 9
	optStatus         = 14
	optAuthChunk      = 21
	optHMACIdent      = 22
	optAuthKey        = 23
	optActiveKey      = 24
	optDeleteKey      = 25
	optPeerAuthChunks = 26
	optReceiveInfo    = 32
	optGetAssocStats  = 112
	optPRSupported    = 113
	optPRStatus       = 115
	optEvent          = 127
	optAuthSupported  = 129
)

// Control messages.
const (
	controlSendInfo    = 2
	controlReceiveInfo = 3
	controlPRInfo      = 5

	sendInfoLen    = 16
	receiveInfoLen = 28
	prInfoLen      = 8

	flagUnordered = 1
	flagImmediate = 8
	policyTTL     = 0x10
	policyAll     = 0x80
)

const (
	statusLen     = 176
	assocStatsLen = 256
	pathParamsLen = 156
	// maxKeyLen bounds SCTP-AUTH keys: RFC 6083 makes 64 octets.
	maxKeyLen = 256
	// maxAuthChunks is as many chunk types as there are.
	maxAuthChunks = 256

	pathHeartbeatEnable = 1
	pathHeartbeatDemand = 4
	pathDiscoveryOff    = 1 << 4
)

var native = binary.NativeEndian

func setOption(fd, name int, b []byte) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), levelSCTP, uintptr(name), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// getOption fills b and returns how much the kernel wrote.
func getOption(fd, name int, b []byte) (int, error) {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), levelSCTP, uintptr(name), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// associationValue is struct sctp_assoc_value of the endpoint.
func associationValue(v uint32) []byte {
	return native.AppendUint32(make([]byte, 4, 8), v)
}

// prepare sets what must be set before INIT.
func prepare(fd int, c sctp.Config) error {
	var errs []error
	set := func(what string, name int, b []byte) {
		if err := setOption(fd, name, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	setBuffer(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, c.SendBuffer)
	setBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, c.ReceiveBuffer)
	one := native.AppendUint32(nil, 1)
	// IPFIX messages are whole: waiting for more to bundle only delays them.
	set("SCTP_NODELAY", optNoDelay, one)
	set("SCTP_RECVRCVINFO", optReceiveInfo, one)
	if c.Auth {
		if err := demandAuth(fd); err != nil {
			errs = append(errs, err)
		}
	}
	set("SCTP_RTOINFO", optRTOInfo, rtoInfo(c))
	info := make([]byte, 20)
	native.PutUint16(info[4:], uint16(min(c.MaxRetransmits, 0xFFFF)))
	set("SCTP_ASSOCINFO", optAssocInfo, info)
	set("SCTP_PEER_ADDR_PARAMS", optPathParameters, pathParameters(c))
	for _, kind := range []uint16{noticeAssocChange, noticePathChange, noticeShutdown, noticePartialDelivery, noticeSenderDry, noticeAuthentication} {
		if err := subscribe(fd, kind, true); err != nil {
			errs = append(errs, fmt.Errorf("SCTP_EVENT %#x: %w", kind, err))
		}
	}
	if subscribe(fd, noticeSendFailedEvent, true) != nil {
		if err := subscribe(fd, noticeSendFailed, true); err != nil {
			errs = append(errs, fmt.Errorf("SCTP_EVENT of failed messages: %w", err))
		}
	}
	return errors.Join(errs...)
}

// setBuffer goes beyond the system's limit where it may.
func setBuffer(fd, plain, force, octets int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, octets) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, octets) // as much as there is
	}
}

// demandAuth makes SCTP-AUTH part of the INIT: DATA and FORWARD-TSN only
// authenticated (RFC 6083, Section 4.5, MUST), SHA-256 before SHA-1, which
// every peer has (RFC 4895, Section 3.3).
func demandAuth(fd int) error {
	// Kernels before 5.4 know only the sysctl; what follows tells.
	_ = setOption(fd, optAuthSupported, associationValue(1))
	if err := setOption(fd, optHMACIdent, native.AppendUint16(native.AppendUint16(native.AppendUint32(nil, 2), 3), 1)); err != nil {
		return fmt.Errorf("SCTP-AUTH (net.sctp.auth_enable=1?): %w", err)
	}
	for _, chunk := range []byte{sctp.ChunkData, sctp.ChunkForwardTSN} {
		if err := setOption(fd, optAuthChunk, []byte{chunk}); err != nil {
			return fmt.Errorf("SCTP-AUTH of chunk %#x: %w", chunk, err)
		}
	}
	return nil
}

func millis(d time.Duration) uint32 { return uint32(max(d.Milliseconds(), 1)) }

func rtoInfo(c sctp.Config) []byte {
	b := make([]byte, 16)
	native.PutUint32(b[4:], millis(c.RTOInitial))
	native.PutUint32(b[8:], millis(c.RTOMax))
	native.PutUint32(b[12:], millis(c.RTOMin))
	return b
}

// pathParameters is struct sctp_paddrparams, which is packed.
func pathParameters(c sctp.Config) []byte {
	b := make([]byte, pathParamsLen)
	native.PutUint32(b[132:], millis(c.Heartbeat))
	native.PutUint16(b[136:], uint16(min(c.PathRetransmits, 0xFFFF)))
	flags := uint32(pathHeartbeatEnable)
	if c.MTU > 0 {
		native.PutUint32(b[138:], uint32(c.MTU))
		flags |= pathDiscoveryOff
	}
	native.PutUint32(b[146:], flags)
	return b
}

func subscribe(fd int, kind uint16, on bool) error {
	var b [8]byte
	native.PutUint16(b[4:], kind)
	if on {
		b[6] = 1
	}
	return setOption(fd, optEvent, b[:])
}

// status is struct sctp_status.
type status struct {
	unacknowledged int // chunks sent and not acknowledged
	in, out        int
	primary        []byte // struct sockaddr_storage
	rtt            time.Duration
}

// unacknowledged is sstat_unackdata of struct sctp_status.
func unacknowledged(b []byte) int { return int(native.Uint16(b[12:])) }

func getStatus(fd int) (s status, err error) {
	b := make([]byte, statusLen)
	if _, err = getOption(fd, optStatus, b); err != nil {
		return s, err
	}
	return status{
		unacknowledged: unacknowledged(b),
		in:             int(native.Uint16(b[16:])), out: int(native.Uint16(b[18:])),
		primary: b[28 : 28+storageLen],
		rtt:     time.Duration(native.Uint32(b[164:])) * time.Millisecond,
	}, nil
}

// demandHeartbeat sends one to the primary path now.
func demandHeartbeat(fd int, primary []byte) error {
	b := make([]byte, pathParamsLen)
	copy(b[4:], primary)
	native.PutUint32(b[146:], pathHeartbeatDemand)
	return setOption(fd, optPathParameters, b)
}

// counters of struct sctp_assoc_stats.
type counters struct{ packetsIn, retransmitted uint64 }

func getCounters(fd int) (c counters, err error) {
	b := make([]byte, assocStatsLen)
	if _, err = getOption(fd, optGetAssocStats, b); err != nil {
		return c, err
	}
	return counters{packetsIn: native.Uint64(b[168:]), retransmitted: native.Uint64(b[176:])}, nil
}

// getAbandoned counts the messages that were given up after they had been
// sent, of which no notification tells.
func getAbandoned(fd int) (uint64, error) {
	var b [24]byte // struct sctp_prstatus
	native.PutUint16(b[6:], policyAll)
	if _, err := getOption(fd, optPRStatus, b[:]); err != nil {
		return 0, err
	}
	return native.Uint64(b[16:]), nil
}

func partialReliability(fd int) bool {
	b := associationValue(0)
	_, err := getOption(fd, optPRSupported, b)
	return err == nil && native.Uint32(b[4:]) != 0
}

// authKey is struct sctp_authkey.
func authKey(id uint16, key []byte) ([]byte, error) {
	if len(key) > maxKeyLen {
		return nil, fmt.Errorf("SCTP-AUTH key of %d octets", len(key))
	}
	b := native.AppendUint16(make([]byte, 4, 8+len(key)), id)
	b = native.AppendUint16(b, uint16(len(key)))
	return append(b, key...), nil
}

// keyID is struct sctp_authkeyid.
func keyID(id uint16) []byte {
	return native.AppendUint16(native.AppendUint16(make([]byte, 4, 8), id), 0)
}

// peerAuthChunks reads struct sctp_authchunks.
func peerAuthChunks(fd int) ([]byte, error) {
	b := make([]byte, 8+maxAuthChunks)
	n, err := getOption(fd, optPeerAuthChunks, b)
	if err != nil {
		return nil, err
	}
	count := int(native.Uint32(b[4:]))
	if count > n-8 {
		return nil, errors.New("SCTP_PEER_AUTH_CHUNKS is cut off")
	}
	return b[8 : 8+count], nil
}

// addrPort is the address in a socket address of the system.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
