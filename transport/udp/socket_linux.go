package udp

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is the Linux side of a Conn. The one reader owns receiver, who holds
// Conn.writing owns sender.
type socket struct {
	rc        syscall.RawConn
	detached  *detached // a listening socket; else nil
	buffer    int       // the kernel's for datagrams not yet read, octets
	connected bool
	fragment  bool // Config.Fragment
	six       bool // an AF_INET6 socket, maybe with IPv4 peers mapped into it
	single    bool // no recvmmsg and sendmmsg: one datagram a call
	receiver
	sender
	drops dropCounter
}

// open returns what the socket is to be known by from then on.
func (s *socket) open(c *Conn, uc *net.UDPConn) (descriptor, error) {
	rc, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	s.rc, s.connected, s.fragment = rc, c.remote.IsValid(), c.fragment
	var optErr error
	err = rc.Control(func(fd uintptr) { optErr = s.setOptions(int(fd), c.local) })
	if err = errors.Join(err, optErr); err != nil {
		return nil, err
	}
	s.gso = s.gso && !c.apart
	s.receiver.init(c.remote)
	s.sender.init()
	if s.connected {
		return uc, nil
	}
	if s.detached, err = detach(uc); err != nil {
		return nil, err
	}
	s.rc, s.buffer = s.detached, s.receiveBuffer()
	return s.detached, nil
}

// setOptions turns on what the kernel has to offer; only what the socket
// cannot do without is an error.
func (s *socket) setOptions(fd int, local netip.AddrPort) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	s.six = domain == unix.AF_INET6
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1)
	// A kernel that knows the option can cut datagrams (Linux 4.18).
	_, err = unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	s.gso = err == nil
	switch {
	case s.connected:
		// Don't fragment, and obey the path MTU. An IPv6 socket may be
		// connected to a mapped IPv4 peer, so both are set.
		discover4, discover6 := unix.IP_PMTUDISC_DO, unix.IPV6_PMTUDISC_DO
		if s.fragment {
			discover4, discover6 = unix.IP_PMTUDISC_WANT, unix.IPV6_PMTUDISC_WANT
		}
		if s.six {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, discover6)
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover4)
	case local.Addr().IsUnspecified() && s.six:
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	case local.Addr().IsUnspecified():
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	return nil
}

// setReceiveBuffer goes beyond the system's limit where privileges allow it
// and returns what was got, without the half that the kernel sets aside for
// its own overhead (socket(7)).
func (s *socket) setReceiveBuffer(size int) int {
	_ = s.rc.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
	})
	s.buffer = s.receiveBuffer()
	return s.buffer / 2
}

func (s *socket) receiveBuffer() (size int) {
	_ = s.rc.Control(func(fd uintptr) {
		size, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
	return size
}

// pathMTU is the system's knowledge of a connected socket's path, in octets
// of IP packet; 0 if it has none.
func (s *socket) pathMTU() (mtu int) {
	_ = s.rc.Control(func(fd uintptr) {
		if s.six {
			mtu, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU)
		}
		if !s.six || mtu <= 0 {
			mtu, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU)
		}
	})
	return mtu
}

// socketDrops asks the kernel, whose word with a datagram (SO_RXQ_OVFL) is as
// old as that datagram.
func (s *socket) socketDrops() uint64 {
	const dropsIndex = 8 // SK_MEMINFO_DROPS
	var info [16]uint32
	_ = s.rc.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 && size > dropsIndex*4 {
			s.drops.observe(info[dropsIndex])
		}
	})
	return s.drops.total()
}

// dropCounter widens the kernel's 32-bit count of drops; observations may
// come late and from several goroutines.
type dropCounter struct{ v atomic.Uint64 }

func (d *dropCounter) observe(count uint32) {
	for {
		old := d.v.Load()
		ahead := int32(count - uint32(old))
		if ahead <= 0 || d.v.CompareAndSwap(old, old+uint64(ahead)) {
			return
		}
	}
}

func (d *dropCounter) total() uint64 { return d.v.Load() }

// unreachable tells errors about a peer or the way to it, which come and go
// (ICMP, routes, links, packet filters), from those of the socket.
func unreachable(e syscall.Errno) bool {
	switch e {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENONET,
		unix.ENOPROTOOPT, unix.EPROTO, unix.EOPNOTSUPP, unix.EACCES, unix.EPERM, unix.EMSGSIZE,
		unix.ENOBUFS, unix.EADDRNOTAVAIL, unix.ECONNRESET:
		return true
	}
	return false
}
