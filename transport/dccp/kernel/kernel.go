package kernel

import (
	"errors"
	"net"
	"net/netip"

	"ipfixsuite/transport/dccp/wire"
)

// ErrUnsupported says that this kernel has no DCCP sockets.
var ErrUnsupported = errors.New("this kernel has no DCCP sockets")

// ErrSecured says that the connection carries DTLS, beside which nothing
// unprotected is sent (RFC 5238, Section 3.4, MUST).
var ErrSecured = errors.New("dccp: the connection carries DTLS: nothing is sent beside it")

// ErrTooLarge says that a message exceeds the MPS in force.
var ErrTooLarge = errors.New("dccp: message exceeds the maximum packet size")

const (
	defaultBacklog = 128
	// defaultQueue exceeds the kernel's own 5 by what a burst needs.
	defaultQueue = 64
	// defaultReceiveBuffer keeps losses here rare: told of more than 64 in a
	// row, Linux takes them for one more (6.1; its cells of an Ack Vector hold
	// 64, it reckons with 63).
	defaultReceiveBuffer = 1 << 20
	maxServices          = 32 // the kernel's bound is 32 besides the first
)

// Config sets up sockets. The zero value works.
type Config struct {
	// Services are the service codes: a client's one, or those that a
	// listener accepts. Empty: 0.
	Services []wire.ServiceCode
	// Backlog bounds a listener's connections that nobody has accepted yet.
	// Zero: 128.
	Backlog int
	// ReceiveBuffer is the kernel's buffer for what was not read yet, in
	// octets. Zero: 1 MiB. Negative: the system's default. Privileges may be
	// needed for more than the system's limit.
	ReceiveBuffer int
	// MTU bounds the IP packets sent, in octets. Zero: what the path takes.
	MTU int
	// QueueMessages bounds the messages that wait for congestion control.
	// Zero: 64.
	QueueMessages int
}

func (c Config) validate() error {
	if len(c.Services) > maxServices {
		return errors.New("dccp: more than 32 service codes")
	}
	return nil
}

// addr is an address of DCCP.
type addr netip.AddrPort

// Network implements net.Addr.
func (addr) Network() string { return "dccp" }

// String implements net.Addr.
func (a addr) String() string { return netip.AddrPort(a).String() }

var _ net.Addr = addr{}
