package carrier

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"ipfixsuite/transport"
	"ipfixsuite/transport/udp"
)

// UDP carries DCCP inside UDP (RFC 6773). It is a transport.DatagramConn.
type UDP struct {
	*udp.Conn

	routes  routes
	gauge   gauge
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
	u := &UDP{Conn: c}
	err = prepareUDP(c)
	if rc, rawErr := c.SyscallConn(); rawErr == nil {
		u.gauge.open(rc)
	}
	if !c.RemoteAddr().IsValid() {
		local := c.LocalAddr().Addr()
		six := local.Is6() // the unspecified one serves both
		err = errors.Join(err, u.routes.open(!six || local.IsUnspecified(), six, cfg.MTU))
	}
	if err != nil {
		_ = u.Close()
		return nil, &Error{What: "dccp over udp", Err: err}
	}
	return u, nil
}

// Source is the address that packets for a peer leave from; invalid if the
// system does not tell.
func (u *UDP) Source(peer netip.Addr) (netip.Addr, error) { return u.routes.source(peer) }

// Pressed tells that packets stand in the receive buffer faster than they are
// read. It is for who calls ReadBatch.
func (u *UDP) Pressed() bool { return u.gauge.pressed() }

// Stats are the counts so far: the kernel keeps them for itself.
func (u *UDP) Stats() Stats { return Stats{} }

// Close implements transport.DatagramConn.
func (u *UDP) Close() error {
	u.routes.close()
	return u.Conn.Close()
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
	return room(u.routes.mtu(peer.Addr()), peer.Addr(), udpOctets)
}
