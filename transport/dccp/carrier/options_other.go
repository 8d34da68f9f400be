//go:build !linux

package carrier

import (
	"context"
	"net/netip"

	"ipfixsuite/transport"
	"ipfixsuite/transport/udp"
)

func prepareUDP(*udp.Conn) error        { return nil }
func fragmentUDP(*udp.Conn, bool) error { return nil }

func pathMTU(_ netip.Addr, limit int) int {
	if limit > 0 {
		return limit
	}
	return minMTU
}

// Source is the address that packets for a peer leave from, if it is not said;
// invalid if this system does not tell.
func Source(netip.Addr) (netip.Addr, error) { return netip.Addr{}, nil }

// Raw needs Linux.
type Raw struct{ transport.DatagramConn }

// ListenRaw needs Linux.
func ListenRaw(netip.Addr, Config) (*Raw, error) { return nil, errNoRaw }

// ConnectRaw needs Linux.
func ConnectRaw(context.Context, netip.Addr, netip.Addr, Config) (*Raw, error) { return nil, errNoRaw }

var errNoRaw = &Error{What: "raw IP", Err: ErrUnsupported, hint: hintNoRaw}
