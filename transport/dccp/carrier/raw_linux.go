package carrier

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/wire"
	"ipfixsuite/transport/udp"
)

// Raw carries DCCP as protocol 33 of IP. It is a transport.DatagramConn for
// packets of one IP version.
type Raw struct {
	f      *os.File
	rc     syscall.RawConn
	six    bool
	local  netip.Addr // unspecified: the socket serves all of the host's
	remote netip.Addr // of a connected socket, else invalid
	marked bool
	routes routes
	gauge  gauge

	receiver receiver
	writing  sync.Mutex
	sender   sender
	loose    bool // the socket lets packets be fragmented at present

	short, checksum atomic.Uint64
	unreachable     atomic.Uint64
	closed          atomic.Bool
}

// ListenRaw opens a socket for many peers at a local address, or at all
// addresses of one IP version if it is unspecified.
func ListenRaw(local netip.Addr, cfg Config) (*Raw, error) {
	local = local.Unmap()
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
	}
	return openRaw(local, netip.Addr{}, cfg)
}

// ConnectRaw opens a socket for one peer. An invalid local address leaves the
// choice to the system.
func ConnectRaw(_ context.Context, local, peer netip.Addr, cfg Config) (*Raw, error) {
	return openRaw(local.Unmap(), peer.Unmap(), cfg)
}

func openRaw(local, peer netip.Addr, cfg Config) (*Raw, error) {
	what := "raw IP from " + local.String()
	r := &Raw{local: local, remote: peer}
	r.six = local.Is6()
	if peer.IsValid() {
		what, r.six = "raw IP to "+peer.String(), peer.Is6()
	}
	family := unix.AF_INET
	if r.six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, wire.Protocol)
	if err != nil {
		return nil, rawError(what, err)
	}
	r.routes.mtuLimit = cfg.MTU
	err = r.setUp(fd, cfg)
	if !peer.IsValid() {
		err = errors.Join(err, r.routes.open(!r.six, r.six, cfg.MTU))
	}
	if err != nil {
		_ = unix.Close(fd)
		r.routes.close()
		return nil, rawError(what, err)
	}
	// A file, as package net knows no raw socket without its own reading of
	// headers; the runtime polls it all the same.
	r.f = os.NewFile(uintptr(fd), what)
	if r.rc, err = r.f.SyscallConn(); err != nil {
		return nil, errors.Join(rawError(what, err), r.f.Close())
	}
	if !peer.IsValid() && KernelHasDCCP() {
		cfg.log().Warn("the kernel answers packets too", "why", AdviceKernel("IFACE", max(cfg.MarkInForce(), 1)))
	}
	r.gauge.open(r.rc)
	r.receiver.init()
	r.sender.init()
	return r, nil
}

func rawError(what string, err error) error {
	e := &Error{What: what, Err: err}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.hint = hintRaw
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ESOCKTNOSUPPORT):
		e.hint = hintNoRaw
	}
	return e
}

// setUp makes the socket what it is to be; r.local becomes known as far as it
// can be.
func (r *Raw) setUp(fd int, cfg Config) error {
	if mark := cfg.MarkInForce(); mark != 0 {
		r.marked = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark) == nil
		if !r.marked {
			cfg.log().Warn("packets are not marked", "why", AdviceMark)
		}
	}
	if cfg.Port != 0 {
		if err := attach(fd, filterPort(cfg.Port, r.six)); err != nil {
			return err
		}
	}
	if err := discover(fd, r.six, false); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	if r.six {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return err
		}
	}
	size := cfg.ReceiveBuffer
	if size == 0 && !r.remote.IsValid() {
		size = udp.DefaultReceiveBuffer
	}
	if size > 0 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	}
	if r.local.IsValid() && !r.local.IsUnspecified() {
		if err := unix.Bind(fd, sockaddr(r.local, 0)); err != nil {
			return err
		}
	}
	if !r.remote.IsValid() {
		return nil
	}
	if err := unix.Connect(fd, sockaddr(r.remote, 0)); err != nil {
		return err
	}
	var err error
	r.local, err = localAddr(fd)
	return err
}

// ReadBatch implements transport.DatagramConn for one reader. Packets that are
// too short or whose checksum is wrong are counted (Stats) and left out.
func (r *Raw) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { _ = r.f.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	for len(dst) > 0 {
		n, err := r.read(dst)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
		case r.closed.Load() || errors.Is(err, os.ErrClosed):
			return 0, net.ErrClosed
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = r.f.SetReadDeadline(time.Time{})
			return 0, ctx.Err()
		case !r.hint(err):
			return 0, err
		}
	}
	return 0, nil
}

// WriteBatch implements transport.DatagramConn. It fills in the packets'
// checksums; see UDP.WriteBatch for their size.
func (r *Raw) WriteBatch(batch []transport.Datagram) (n int, err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	for hints := 0; n < len(batch); {
		run := alike(batch[n:])
		if loose := fragmentable(batch[n].Data); loose != r.loose {
			if err := control(r.f, func(fd int) error { return discover(fd, r.six, loose) }); err != nil {
				return n, err
			}
			r.loose = loose
		}
		m, err := r.write(batch[n : n+run])
		if n += m; m > 0 {
			hints = 0
		}
		switch {
		case err == nil:
		case r.closed.Load() || errors.Is(err, os.ErrClosed):
			return n, net.ErrClosed
		case errors.Is(err, unix.EMSGSIZE):
			// May be left over from an earlier packet, as all hints may.
			if hints++; hints == hintsInARow || len(batch[n].Data) > r.MaxDatagram(batch[n].Peer) {
				return n, transport.ErrTooLarge
			}
		case r.hint(err):
			if hints++; hints == hintsInARow {
				return n, err
			}
		default:
			return n, err
		}
	}
	return n, nil
}

// hintsInARow ends the resending of one packet.
const hintsInARow = 3

// hint counts what says something of a peer or the way to it, not of the
// socket, and tells whether err does. Anybody can send an ICMP message: it is
// never a verdict (RFC 4340, Section 14.1).
func (r *Raw) hint(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return false
	}
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENONET, unix.ENOPROTOOPT,
		unix.EPROTO, unix.EOPNOTSUPP, unix.EACCES, unix.EPERM, unix.EMSGSIZE, unix.ENOBUFS, unix.EADDRNOTAVAIL, unix.ECONNRESET:
		r.unreachable.Add(1)
		return true
	}
	return false
}

// MaxDatagram implements transport.DatagramConn.
func (r *Raw) MaxDatagram(peer netip.AddrPort) int {
	if !r.remote.IsValid() {
		return room(r.routes.mtu(peer.Addr()), peer.Addr(), 0)
	}
	mtu := 0
	_ = control(r.f, func(fd int) error { mtu = socketMTU(fd, r.six); return nil })
	return room(r.routes.limit(mtu), r.remote, 0)
}

// Source is the address that packets for a peer leave from.
func (r *Raw) Source(peer netip.Addr) (netip.Addr, error) { return r.routes.source(peer) }

// LocalAddr implements transport.DatagramConn. The port is 0.
func (r *Raw) LocalAddr() netip.AddrPort { return netip.AddrPortFrom(r.local, 0) }

// RemoteAddr is the peer of a connected socket, else invalid.
func (r *Raw) RemoteAddr() netip.AddrPort {
	if !r.remote.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(r.remote, 0)
}

// Marked tells whether packets leave with the mark asked for.
func (r *Raw) Marked() bool { return r.marked }

// Stats are the counts so far.
func (r *Raw) Stats() Stats { return Stats{Short: r.short.Load(), Checksum: r.checksum.Load()} }

// Pressed tells that packets stand in the receive buffer faster than they are
// read. It is for who calls ReadBatch.
func (r *Raw) Pressed() bool { return r.gauge.pressed() }

// SocketDrops implements transport.DatagramConn.
func (r *Raw) SocketDrops() uint64 { return r.receiver.drops.Load() }

// Unreachable implements transport.DatagramConn.
func (r *Raw) Unreachable() uint64 { return r.unreachable.Load() }

// SyscallConn gives the socket, for options that Config does not know.
func (r *Raw) SyscallConn() (syscall.RawConn, error) { return r.rc, nil }

// Close implements transport.DatagramConn.
func (r *Raw) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.routes.close()
	return r.f.Close()
}

// sockaddr is an address as the socket functions want it.
func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a = a.Unmap(); a.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
	if zone := a.Zone(); zone != "" {
		sa.ZoneId = scope(zone)
	}
	return sa
}

// scope is the index of the interface that a zone names.
func scope(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

func localAddr(fd int) (netip.Addr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr), nil
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			a = a.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
		return a, nil
	}
	return netip.Addr{}, unix.EAFNOSUPPORT
}

// rawName reads the address in a raw sockaddr.
func rawName(sa *unix.RawSockaddrInet6, zones *zones) netip.Addr {
	switch sa.Family {
	case unix.AF_INET:
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], sa.Flowinfo) // where sin_addr is
		return netip.AddrFrom4(b)
	case unix.AF_INET6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.Scope_id != 0 {
			a = a.WithZone(zones.name(sa.Scope_id))
		}
		return a
	}
	return netip.Addr{}
}

// zones turns scope ids into zones, by number: an interface's name may change.
type zones struct {
	id   uint32
	zone string
}

func (z *zones) name(id uint32) string {
	if z.id != id {
		z.id, z.zone = id, strconv.FormatUint(uint64(id), 10)
	}
	return z.zone
}
