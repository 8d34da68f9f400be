//go:build !linux

package carrier

import (
	"context"
	"net/netip"
	"syscall"

	"ipfixsuite/transport"
	"ipfixsuite/transport/udp"
)

func prepareUDP(*udp.Conn) error        { return nil }
func fragmentUDP(*udp.Conn, bool) error { return nil }

// gauge knows nothing of the receive buffer.
type gauge struct{}

func (*gauge) open(syscall.RawConn) {}
func (*gauge) pressed() bool        { return false }

// routes knows nothing of the ways to peers.
type routes struct{ mtuLimit int }

func (r *routes) open(_, _ bool, mtuLimit int) error {
	r.mtuLimit = mtuLimit
	return nil
}

func (*routes) close() {}

func (r *routes) mtu(netip.Addr) int {
	if r.mtuLimit > 0 {
		return r.mtuLimit
	}
	return minMTU
}

func (*routes) source(netip.Addr) (netip.Addr, error) { return netip.Addr{}, nil }

// Raw needs Linux.
type Raw struct{ transport.DatagramConn }

// Source needs Linux.
func (*Raw) Source(netip.Addr) (netip.Addr, error) { return netip.Addr{}, errNoRaw }

// Stats needs Linux.
func (*Raw) Stats() Stats { return Stats{} }

// Pressed needs Linux.
func (*Raw) Pressed() bool { return false }

// ListenRaw needs Linux.
func ListenRaw(netip.Addr, Config) (*Raw, error) { return nil, errNoRaw }

// ConnectRaw needs Linux.
func ConnectRaw(context.Context, netip.Addr, netip.Addr, Config) (*Raw, error) { return nil, errNoRaw }

var errNoRaw = &Error{What: "raw IP", Err: ErrUnsupported, hint: hintNoRaw}
