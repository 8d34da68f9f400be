package carrier

import (
	"errors"
	"log/slog"
	"net/netip"

	"ipfixsuite/transport/dccp/wire"
)

// DefaultUDPPort is the port of DCCP in UDP (RFC 6773, Section 3.8).
const DefaultUDPPort = 6511

// DefaultMark is what raw sockets' packets are marked with (SO_MARK) unless
// Config says otherwise: 0x33, as protocol 33 of old.
const DefaultMark = 0x33

const (
	headers4  = 20 // an IPv4 header without options
	headers6  = 40
	udpOctets = 8
	// minMTU is the least path MTU of IPv6, kept to where nothing is known.
	minMTU = 1280
	// leastMTU is below what any path of ours has: a smaller report is an
	// error or an attack (RFC 1191 has 68; a DCCP packet needs more).
	leastMTU = 256
)

// Config sets up a carrier. The zero value works.
type Config struct {
	// MTU is the size of the largest IP packet to send, headers included, in
	// octets. Zero: what the system knows of the path. A path with a smaller
	// MTU is still obeyed.
	MTU int
	// ReceiveBuffer is the kernel's buffer for packets not yet read, in
	// octets. Zero: 4 MiB for sockets of many peers, the system's default for
	// others. Negative: the system's default.
	ReceiveBuffer int
	// Mark is put on the packets of a raw socket (SO_MARK), so that a filter
	// can tell them from the kernel's. Zero: DefaultMark. Negative: none.
	Mark int
	// Port, of a raw socket, is the only DCCP port whose packets are read.
	// Zero: all.
	Port uint16
	// Log takes what the operator should know. Nil: nothing is logged.
	Log *slog.Logger
}

func (c Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// MarkInForce is the mark that packets of raw sockets carry; 0: none.
func (c Config) MarkInForce() int {
	if c.Mark == 0 {
		return DefaultMark
	}
	return max(c.Mark, 0)
}

// Stats counts packets that a carrier read and did not hand out.
type Stats struct {
	Short    uint64 // too few octets for any DCCP packet
	Checksum uint64 // not as it was sent
}

// ErrUnsupported says that this system offers no such carrier.
var ErrUnsupported = errors.New("not supported on this system")

// Error is a carrier that could not be had, with a way out.
type Error struct {
	What string
	Err  error
	hint string
}

func (e *Error) Error() string { return e.What + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Hint tells what to do about it; empty if there is nothing to say.
func (e *Error) Hint() string { return e.hint }

// fragmentable tells whether the packet b may be fragmented: the handshake
// shall not depend on path MTU discovery, nor a Reset (RFC 4340, Section
// 14.2, SHOULD).
func fragmentable(b []byte) bool {
	if len(b) < wire.MinHeader {
		return false
	}
	switch wire.Type(b[8] >> 1 & 0xf) {
	case wire.Request, wire.Response, wire.Reset:
		return true
	}
	return false
}

// room is what an IP packet of mtu octets holds behind its header and extra
// octets.
func room(mtu int, peer netip.Addr, extra int) int {
	mtu = min(max(mtu, leastMTU), 65535)
	if peer.Unmap().Is4() {
		return mtu - headers4 - extra
	}
	return mtu - headers6 - extra
}
