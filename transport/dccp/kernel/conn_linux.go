package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport/dccp/wire"
)

// Socket options of level SOL_DCCP.
const (
	optService       = 2
	optCurrentMPS    = 5
	optQueueMessages = 17
)

// Supported tells why this kernel cannot serve an IP version, nil if it can.
// A module that may be loaded on demand is loaded by this.
func Supported(six bool) error {
	fd, err := socket(six)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func socket(six bool) (int, error) {
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DCCP|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_DCCP)
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.ESOCKTNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EINVAL):
		return -1, ErrUnsupported
	}
	return -1, os.NewSyscallError("socket", err)
}

// open makes a socket with its options set.
func open(six bool, cfg Config) (int, error) {
	if err := cfg.validate(); err != nil {
		return -1, err
	}
	fd, err := socket(six)
	if err != nil {
		return -1, err
	}
	services := cfg.Services
	if len(services) == 0 {
		services = []wire.ServiceCode{0}
	}
	var b []byte
	for _, s := range services {
		b = binary.BigEndian.AppendUint32(b, uint32(s))
	}
	if err := unix.SetsockoptString(fd, unix.SOL_DCCP, optService, string(b)); err != nil {
		return -1, errors.Join(os.NewSyscallError("service code", err), unix.Close(fd))
	}
	queue := cfg.QueueMessages
	if queue == 0 {
		queue = defaultQueue
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_DCCP, optQueueMessages, queue)
	size := cfg.ReceiveBuffer
	if size == 0 {
		size = defaultReceiveBuffer
	}
	if size > 0 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	}
	return fd, nil
}

// Conn is a connection. One Write is one message, and one Read returns one.
// It implements net.Conn.
type Conn struct {
	f             *os.File
	rc            syscall.RawConn
	local, remote netip.AddrPort
	service       wire.ServiceCode
	limit         int         // Config.MTU
	secured       atomic.Bool // only Datagrams writes
	mps           atomic.Int64
	mpsUntil      atomic.Int64 // when mps has to be asked for again, in ns since start
}

// mpsMemory is how long the kernel's word on the MPS is believed: it is asked
// for with each message.
const mpsMemory = 100 * time.Millisecond

// start is what times are counted from.
var start = time.Now()

// Dial connects to a peer. An invalid local address leaves the choice to the
// system.
func Dial(ctx context.Context, local, peer netip.AddrPort, cfg Config) (*Conn, error) {
	c, err := dial(ctx, local, peer, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to dccp %v: %w", peer, err)
	}
	return c, nil
}

func dial(ctx context.Context, local, peer netip.AddrPort, cfg Config) (*Conn, error) {
	fd, err := open(!peer.Addr().Unmap().Is4(), cfg)
	if err != nil {
		return nil, err
	}
	if local.IsValid() {
		if err := unix.Bind(fd, sockaddr(local)); err != nil {
			return nil, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
		}
	}
	err = unix.Connect(fd, sockaddr(peer))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	c, err := newConn(fd, cfg)
	if err != nil {
		return nil, err
	}
	if err := c.await(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.local, c.remote = c.name(unix.Getsockname), c.name(unix.Getpeername)
	return c, nil
}

// newConn takes fd over.
func newConn(fd int, cfg Config) (*Conn, error) {
	c := &Conn{f: os.NewFile(uintptr(fd), "dccp"), limit: cfg.MTU}
	var err error
	if c.rc, err = c.f.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.f.Close())
	}
	v, err := c.option(optService)
	if err != nil {
		return nil, errors.Join(err, c.f.Close())
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(v))
	c.service = wire.ServiceCode(binary.BigEndian.Uint32(b[:]))
	return c, nil
}

// await waits for the connection to be made.
func (c *Conn) await(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.f.SetWriteDeadline(time.Unix(1, 0)) })
	var err error
	wait := c.rc.Write(func(fd uintptr) bool {
		var code int
		code, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = os.NewSyscallError("connect", syscall.Errno(code))
		}
		if err != nil {
			return true
		}
		_, peer := unix.Getpeername(int(fd))
		return peer == nil
	})
	if !stop() {
		return ctx.Err()
	}
	return errors.Join(err, wait)
}

func (c *Conn) name(get func(fd int) (unix.Sockaddr, error)) (a netip.AddrPort) {
	_ = c.rc.Control(func(fd uintptr) {
		if sa, err := get(int(fd)); err == nil {
			a = addrPort(sa)
		}
	})
	return a
}

func (c *Conn) option(opt int) (v int, err error) {
	ctl := c.rc.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), unix.SOL_DCCP, opt) })
	return v, errors.Join(ctl, err)
}

// Read returns one message, cut off where b ends, and io.EOF when the peer has
// closed. Empty messages are passed over.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		n, err := c.f.Read(b)
		// The kernel reports an empty message and the end alike.
		if !errors.Is(err, io.EOF) || c.over() {
			return n, err
		}
	}
}

// arrived is Read that does not wait, whatever the deadline; false: there is
// nothing, or no more.
func (c *Conn) arrived(b []byte) (n int, ok bool) {
	ctl := c.rc.Control(func(fd uintptr) {
		var err error
		n, err = unix.Read(int(fd), b)
		ok = err == nil && n > 0
	})
	return n, ok && ctl == nil
}

// over tells whether the peer has closed.
func (c *Conn) over() bool {
	gone := true
	_ = c.rc.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if _, err := unix.Poll(p, 0); err == nil {
			gone = p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
		}
	})
	return gone
}

// Write sends one message. It waits while the queue is full; what exceeds MPS
// is refused with ErrTooLarge, and everything with ErrSecured once the
// connection carries DTLS.
func (c *Conn) Write(b []byte) (int, error) {
	if c.secured.Load() {
		return 0, ErrSecured
	}
	return c.write(b)
}

func (c *Conn) write(b []byte) (int, error) {
	if c.limit > 0 && len(b) > c.MPS() {
		return 0, ErrTooLarge
	}
	n, err := c.f.Write(b)
	if errors.Is(err, unix.EMSGSIZE) {
		c.mpsUntil.Store(0)
		err = ErrTooLarge
	}
	return n, err
}

// MPS is the largest message in octets that goes now; 0 when the connection
// has ended.
func (c *Conn) MPS() int {
	now := time.Since(start)
	if now < time.Duration(c.mpsUntil.Load()) {
		return int(c.mps.Load())
	}
	v, err := c.option(optCurrentMPS)
	if err != nil {
		return 0
	}
	if c.limit > 0 {
		v = max(v-max(c.pathMTU()-c.limit, 0), 0)
	}
	c.mps.Store(int64(v))
	c.mpsUntil.Store(int64(now + mpsMemory))
	return v
}

// pathMTU is what the kernel knows of the path; 0: nothing.
func (c *Conn) pathMTU() (v int) {
	_ = c.rc.Control(func(fd uintptr) {
		if c.remote.Addr().Is4() {
			v, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU)
		} else {
			v, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU)
		}
	})
	return v
}

// queued are the octets that the kernel has taken and not yet sent.
func (c *Conn) queued() (n int) {
	_ = c.rc.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

// ServiceCode is what the connection was made for.
func (c *Conn) ServiceCode() wire.ServiceCode { return c.service }

// Close implements net.Conn. What is queued is lost, where congestion control
// does not let it go at once: see Shutdown.
func (c *Conn) Close() error { return c.f.Close() }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return addr(c.local) }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return addr(c.remote) }

// LocalAddrPort is our address and DCCP port.
func (c *Conn) LocalAddrPort() netip.AddrPort { return c.local }

// RemoteAddrPort is the peer's address and DCCP port.
func (c *Conn) RemoteAddrPort() netip.AddrPort { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.f.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.f.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.f.SetWriteDeadline(t) }

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
	if ifi, err := net.InterfaceByName(ip.Zone()); err == nil {
		sa.ZoneId = uint32(ifi.Index)
	}
	return sa
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
