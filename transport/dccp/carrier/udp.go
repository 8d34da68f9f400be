package carrier

import (
	"context"
	"net/netip"
	"sync"

	"ipfixsuite/transport"
	"ipfixsuite/transport/udp"
)

// UDP carries DCCP inside UDP (RFC 6773). It is a transport.DatagramConn.
type UDP struct {
	*udp.Conn

	mtu     int
	writing sync.Mutex
	loose   bool // the socket lets packets be fragmented at present
}

// ListenUDP opens a UDP socket for many peers at addr; port 0 is one of the
// system's choice. The IPv6 unspecified address stands for both families.
func ListenUDP(addr netip.AddrPort, cfg Config) (*UDP, error) {
	c, err := udp.Listen(addr, cfg.udp())
	return newUDP(c, cfg, err)
}

// ConnectUDP opens a UDP socket for one peer, with a port of its own (RFC
// 6773, Section 3.8: a client's connections differ in their UDP ports, SHOULD).
func ConnectUDP(ctx context.Context, peer netip.AddrPort, cfg Config) (*UDP, error) {
	c, err := udp.Connect(ctx, peer, cfg.udp())
	return newUDP(c, cfg, err)
}

func (c Config) udp() udp.Config {
	return udp.Config{MTU: c.MTU, ReceiveBuffer: c.ReceiveBuffer, Log: c.Log}
}

func newUDP(c *udp.Conn, cfg Config, err error) (*UDP, error) {
	if err != nil {
		return nil, err
	}
	u := &UDP{Conn: c, mtu: cfg.MTU}
	if err := prepareUDP(c); err != nil {
		_ = c.Close()
		return nil, &Error{What: "dccp over udp", Err: err}
	}
	return u, nil
}

// WriteBatch sends DCCP packets; see transport.DatagramConn. One that exceeds
// MaxDatagram and may not be fragmented is refused with transport.ErrTooLarge.
func (u *UDP) WriteBatch(batch []transport.Datagram) (n int, err error) {
	u.writing.Lock()
	defer u.writing.Unlock()
	for n < len(batch) {
		run := alike(batch[n:])
		if loose := fragmentable(batch[n].Data); loose != u.loose {
			if err := fragmentUDP(u.Conn, loose); err != nil {
				return n, err
			}
			u.loose = loose
		}
		m, err := u.Conn.WriteBatch(batch[n : n+run])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// alike counts the packets at the front that are to be treated alike.
func alike(batch []transport.Datagram) int {
	loose, n := fragmentable(batch[0].Data), 1
	for n < len(batch) && fragmentable(batch[n].Data) == loose {
		n++
	}
	return n
}

// MaxDatagram is the largest DCCP packet for a peer that its path takes
// unfragmented, as far as the system knows.
func (u *UDP) MaxDatagram(peer netip.AddrPort) int {
	if u.RemoteAddr().IsValid() {
		return u.Conn.MaxDatagram(peer)
	}
	return room(pathMTU(peer.Addr(), u.mtu), peer.Addr(), udpOctets)
}
