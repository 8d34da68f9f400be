package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ipfixsuite/transport"
)

// Conn is a UDP socket, connected to one peer or open to many. It implements
// transport.DatagramConn.
type Conn struct {
	uc     descriptor
	sock   socket // the platform's way to read and write
	local  netip.AddrPort
	remote netip.AddrPort // invalid unless connected
	mtu    int            // Config.MTU
	// fragment and apart are Config's.
	fragment, apart bool

	reads, writes gate
	writing       sync.Mutex

	unreachable atomic.Uint64
	path        path
	closed      atomic.Bool
}

// descriptor is what a Conn needs of a socket beside reading and writing.
type descriptor interface {
	syscall.Conn
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Close() error
}

// Listen opens a socket for many peers at addr. The IPv6 unspecified address
// stands for all addresses of both families, as far as the host has them;
// port 0 for a port of the system's choice.
func Listen(addr netip.AddrPort, cfg Config) (*Conn, error) {
	network, ua := "udp", net.UDPAddrFromAddrPort(addr)
	switch a := addr.Addr(); {
	case !a.IsValid() || a == netip.IPv6Unspecified():
		ua.IP = nil
	case a.Unmap().Is4():
		network = "udp4"
	default:
		network = "udp6"
	}
	uc, err := net.ListenUDP(network, ua)
	if err != nil {
		return nil, listenError(addr, err)
	}
	size := cfg.ReceiveBuffer
	if size == 0 {
		size = DefaultReceiveBuffer
	}
	c, err := newConn(uc, netip.AddrPort{}, size, cfg)
	if err != nil {
		return nil, fmt.Errorf("listen on udp %v: %w", addr, err)
	}
	return c, nil
}

// listenError drops what net repeats: operation, network and address.
func listenError(addr netip.AddrPort, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if se, ok := errors.AsType[*os.SyscallError](err); ok {
		err = se.Err
	}
	return fmt.Errorf("listen on udp %v: %w", addr, err)
}

// Connect opens a socket for one peer. Nothing is sent: that the peer exists
// is not known afterwards. Packets are sent unfragmented (RFC 7011, Section
// 10.3.3), and MaxDatagram follows the path MTU as the system learns it.
func Connect(ctx context.Context, raddr netip.AddrPort, cfg Config) (*Conn, error) {
	raddr = netip.AddrPortFrom(raddr.Addr().Unmap(), raddr.Port())
	var d net.Dialer
	nc, err := d.DialContext(ctx, "udp", raddr.String())
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return nil, fmt.Errorf("connect to udp %v: %w", raddr, err)
	}
	c, err := newConn(nc.(*net.UDPConn), raddr, cfg.ReceiveBuffer, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to udp %v: %w", raddr, err)
	}
	return c, nil
}

// newConn takes uc over, and closes it on failure.
func newConn(uc *net.UDPConn, remote netip.AddrPort, receiveBuffer int, cfg Config) (*Conn, error) {
	c := &Conn{remote: remote, mtu: cfg.MTU, fragment: cfg.Fragment, apart: cfg.Apart}
	if ua, ok := uc.LocalAddr().(*net.UDPAddr); ok {
		c.local = unmapPort(ua.AddrPort())
	}
	var err error
	if c.uc, err = c.sock.open(c, uc); err != nil {
		_ = uc.Close()
		return nil, err
	}
	c.reads.set, c.writes.set = c.uc.SetReadDeadline, c.uc.SetWriteDeadline
	if receiveBuffer > 0 {
		if got := c.sock.setReceiveBuffer(receiveBuffer); got < receiveBuffer {
			cfg.log().Warn("receive buffer smaller than asked for; raise net.core.rmem_max", "asked", receiveBuffer, "got", got)
		}
	}
	return c, nil
}

// ReadBatch implements transport.DatagramConn. It costs least when it is
// called with the same context each time.
func (c *Conn) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	if err := c.reads.enter(ctx); err != nil {
		return 0, c.failed(ctx, err)
	}
	for {
		n, err := c.sock.read(dst)
		if err == nil {
			return n, nil
		}
		if !c.hint(err) {
			return 0, c.failed(ctx, err)
		}
	}
}

// WriteBatch implements transport.DatagramConn. On a connected socket the
// peers in batch are not looked at. It waits while the socket's buffer is
// full. A datagram larger than its path takes is refused with
// transport.ErrTooLarge, after which MaxDatagram tells what does fit.
func (c *Conn) WriteBatch(batch []transport.Datagram) (int, error) {
	return c.write(context.Background(), batch)
}

// hintsInARow ends the resending of one datagram: an error may be left over
// from an earlier one, and more than one may be waiting.
const hintsInARow = 3

// write is WriteBatch, whose wait ctx can end.
func (c *Conn) write(ctx context.Context, batch []transport.Datagram) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.writes.enter(ctx); err != nil {
		return 0, c.failed(ctx, err)
	}
	for hints := 0; n < len(batch); {
		m, err := c.sock.write(batch[n:])
		if n += m; m > 0 {
			hints = 0
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.EMSGSIZE):
			// May be left over from an earlier one, as hints may.
			if hints++; hints == hintsInARow || !c.fits(len(batch[n].Data)) {
				c.tooLarge(len(batch[n].Data))
				return n, transport.ErrTooLarge
			}
		case c.hint(err):
			if hints++; hints == hintsInARow {
				return n, err
			}
		default:
			return n, c.failed(ctx, err)
		}
	}
	return n, nil
}

// hint counts an error that says something about a peer, not about the
// socket, and tells whether it was one.
func (c *Conn) hint(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok || !unreachable(errno) {
		return false
	}
	c.unreachable.Add(1)
	if errno == syscall.EMSGSIZE {
		c.path.forget()
	}
	return true
}

// failed says why the socket gave up in the words of the contract.
func (c *Conn) failed(ctx context.Context, err error) error {
	switch {
	case c.closed.Load() || errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		// The deadline was that of ctx, which is about to end.
		return context.DeadlineExceeded
	}
	return err
}

// SyscallConn gives the socket, for options that Config does not know.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.uc.SyscallConn() }

// LocalAddr implements transport.DatagramConn.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// RemoteAddr is the peer of a connected socket, else invalid.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// SocketDrops implements transport.DatagramConn.
func (c *Conn) SocketDrops() uint64 { return c.sock.socketDrops() }

// Unreachable implements transport.DatagramConn.
func (c *Conn) Unreachable() uint64 { return c.unreachable.Load() }

// ReceiveBuffer is the kernel's buffer for datagrams not yet read, in octets,
// as far as is known. Linux reckons its own overhead in.
func (c *Conn) ReceiveBuffer() int { return c.sock.receiveBuffer() }

// Close implements transport.DatagramConn. Those who wait get net.ErrClosed.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.sock.socketDrops() // the last word on what was lost
	err := c.uc.Close()
	c.reads.close()
	c.writes.close()
	return err
}

// A path remembers what a connected socket's path takes.
type path struct {
	limit atomic.Int64 // payload, octets; 0 until asked
	until atomic.Int64 // Unix nanoseconds: ask the system again then
}

// pathMemory is how long the system's word on the path MTU is trusted; it is
// also told at once by the refusal of a datagram that has become too large.
const pathMemory = 5 * time.Second

func (p *path) forget() { p.until.Store(0) }

// MaxDatagram implements transport.DatagramConn.
func (c *Conn) MaxDatagram(peer netip.AddrPort) int {
	if !c.remote.IsValid() {
		// The path is not known: what every path of IPv6 takes.
		if c.mtu > 0 {
			return payload(c.mtu, peer.Addr())
		}
		return payload(minMTU, peer.Addr())
	}
	now := time.Now().UnixNano()
	if now < c.path.until.Load() {
		return int(c.path.limit.Load())
	}
	mtu := c.sock.pathMTU()
	if mtu <= 0 {
		mtu = minMTU
	}
	if c.mtu > 0 {
		mtu = min(mtu, c.mtu)
	}
	limit := payload(mtu, c.remote.Addr())
	c.path.limit.Store(int64(limit))
	c.path.until.Store(now + int64(pathMemory))
	return limit
}

// fits asks the system anew whether the path takes size octets.
func (c *Conn) fits(size int) bool {
	c.path.forget()
	return c.remote.IsValid() && size <= c.MaxDatagram(c.remote)
}

// tooLarge learns that a datagram of size octets was refused for its size: if
// the system says that it takes as much, its refusal is believed.
func (c *Conn) tooLarge(size int) {
	if c.fits(size) {
		c.path.limit.Store(int64(size - 1))
	}
}

func unmapPort(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
