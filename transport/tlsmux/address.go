package tlsmux

import (
	"net"
	"net/netip"
	"strconv"

	"ipfixsuite/transport/tlsmux/wire"
)

// addr is an end of a channel.
type addr wire.Address

// Network implements net.Addr.
func (addr) Network() string { return Protocol }

// String implements net.Addr.
func (a addr) String() string {
	return net.JoinHostPort(printable(a.Host), strconv.Itoa(int(a.Port)))
}

func clone(a wire.Address) wire.Address {
	return wire.Address{Host: append([]byte(nil), a.Host...), Port: a.Port}
}

// Address makes an address of the draft.
func Address(a netip.AddrPort) wire.Address {
	return wire.Address{Host: []byte(a.Addr().WithZone("").String()), Port: a.Port()}
}
