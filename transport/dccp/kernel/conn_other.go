//go:build !linux

package kernel

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// Supported tells why this kernel cannot serve an IP version.
func Supported(bool) error { return ErrUnsupported }

// Conn needs Linux.
type Conn struct {
	net.Conn
	secured atomic.Bool
}

func (*Conn) write([]byte) (int, error) { return 0, ErrUnsupported }

// MPS needs Linux.
func (*Conn) MPS() int { return 0 }

// ServiceCode needs Linux.
func (*Conn) ServiceCode() wire.ServiceCode { return 0 }

// LocalAddrPort needs Linux.
func (*Conn) LocalAddrPort() netip.AddrPort { return netip.AddrPort{} }

// RemoteAddrPort needs Linux.
func (*Conn) RemoteAddrPort() netip.AddrPort { return netip.AddrPort{} }

func (*Conn) queued() int { return 0 }

func (*Conn) over() bool { return true }

func (*Conn) arrived([]byte) (int, bool) { return 0, false }

// Dial needs Linux.
func Dial(context.Context, netip.AddrPort, netip.AddrPort, Config) (*Conn, error) {
	return nil, ErrUnsupported
}

// Listener needs Linux.
type Listener struct{ net.Listener }

// AcceptConn needs Linux.
func (*Listener) AcceptConn() (*Conn, error) { return nil, ErrUnsupported }

// AddrPort needs Linux.
func (*Listener) AddrPort() netip.AddrPort { return netip.AddrPort{} }

// SetDeadline needs Linux.
func (*Listener) SetDeadline(time.Time) error { return ErrUnsupported }

// Listen needs Linux.
func Listen(netip.AddrPort, Config) (*Listener, error) { return nil, ErrUnsupported }
