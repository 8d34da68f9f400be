package dccp

import (
	"net/netip"
	"strconv"

	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/wire"
)

// DefaultUDPPort is IANA's port for DCCP inside UDP (RFC 6773, Section 3.8).
const DefaultUDPPort = carrier.DefaultUDPPort

// ServiceCode names what a connection is for (RFC 4340, Section 8.1.2).
type ServiceCode = wire.ServiceCode

// Addr is where one end of a connection is. It implements net.Addr.
type Addr struct {
	IP   netip.Addr
	Port uint16 // of DCCP
	// UDP is the port of the UDP that carries the packets (RFC 6773); 0: they
	// are IP packets of protocol 33.
	UDP uint16
}

// Network implements net.Addr.
func (a Addr) Network() string {
	if a.UDP != 0 {
		return "dccp+udp"
	}
	return "dccp"
}

// String is address and DCCP port, and the UDP port where there is one:
// "192.0.2.1:4739", "[2001:db8::1]:4739 udp 6511".
func (a Addr) String() string {
	s := a.AddrPort().String()
	if a.UDP != 0 {
		s += " udp " + strconv.Itoa(int(a.UDP))
	}
	return s
}

// AddrPort is the address and the DCCP port.
func (a Addr) AddrPort() netip.AddrPort { return netip.AddrPortFrom(a.IP, a.Port) }
