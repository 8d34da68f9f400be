//go:build linux && !386

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	lib "github.com/ishidawataru/sctp"
	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// maxInitTimeout bounds the timer of a repeated INIT.
const maxInitTimeout = 2 * time.Second

// adopt makes the socket that the library is about to bind or connect ours as
// well: a descriptor of our own, which lives on when the library closes its.
// Both share the socket's state, so that connecting will not block.
func adopt(cfg sctp.Config, fd *int) func(network, address string, rc syscall.RawConn) error {
	return func(_, _ string, rc syscall.RawConn) error {
		var err error
		cerr := rc.Control(func(s uintptr) {
			if *fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0); err != nil {
				*fd = -1
				return
			}
			if err = unix.SetNonblock(*fd, true); err == nil {
				err = prepare(*fd, cfg)
			}
		})
		return errors.Join(cerr, err)
	}
}

// release closes the library's descriptor without what its own Close does to
// the socket.
func release(c interface {
	SyscallConn() (syscall.RawConn, error)
}) {
	if rc, err := c.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { _ = unix.Close(int(fd)) })
	}
}

func initMsg(cfg sctp.Config) lib.InitMsg {
	return lib.InitMsg{
		NumOstreams: cfg.OutStreams, MaxInstreams: cfg.InStreams,
		MaxAttempts: uint16(min(cfg.MaxRetransmits, 0xFFFF)), MaxInitTimeout: uint16(maxInitTimeout.Milliseconds()),
	}
}

// address makes the library's form of an end: one port, any number of
// addresses. nil for none.
func address(ends []netip.AddrPort) (*lib.SCTPAddr, error) {
	if len(ends) == 0 {
		return nil, nil
	}
	a := &lib.SCTPAddr{Port: int(ends[0].Port())}
	for _, e := range ends {
		if e.Port() != ends[0].Port() {
			return nil, fmt.Errorf("an SCTP end has one port, not %d and %d", ends[0].Port(), e.Port())
		}
		addr := e.Addr().Unmap()
		a.IPAddrs = append(a.IPAddrs, net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()})
	}
	return a, nil
}

// unsupported finds out whether the kernel lacks SCTP.
func unsupported(err error) error {
	for _, errno := range []error{unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT, unix.EAFNOSUPPORT, unix.EPFNOSUPPORT} {
		if errors.Is(err, errno) {
			return &UnsupportedError{err}
		}
	}
	return err
}

// Dial opens an association to a peer with these addresses, of which the first
// is tried first, from these of ours; none leaves the choice to the system. All
// addresses of one end have the same port.
func Dial(ctx context.Context, local, remote []netip.AddrPort, cfg sctp.Config) (sctp.Association, error) {
	from, err := address(local)
	if err != nil {
		return nil, err
	}
	to, err := address(remote)
	if err != nil {
		return nil, err
	}
	if to == nil {
		return nil, errors.New("sctp: no address to connect to")
	}
	cfg = cfg.WithDefaults()
	fd := -1
	socket := lib.SocketConfig{Control: adopt(cfg, &fd), InitMsg: initMsg(cfg)}
	conn, err := socket.Dial("sctp", from, to)
	if err == nil {
		release(conn)
	} else if !errors.Is(err, unix.EINPROGRESS) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, dialErr(remote[0], unsupported(err))
	}
	file := os.NewFile(uintptr(fd), "sctp "+remote[0].String())
	if err := connected(ctx, file); err != nil {
		_ = file.Close()
		return nil, dialErr(remote[0], err)
	}
	a, err := newAssociation(file, netip.AddrPort{})
	if err != nil {
		_ = file.Close()
		return nil, dialErr(remote[0], err)
	}
	return a, nil
}

func dialErr(remote netip.AddrPort, err error) error {
	return fmt.Errorf("sctp %v: %w", remote, err)
}

// connected waits for the association to be established.
func connected(ctx context.Context, file *os.File) error {
	rc, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	// The state is looked at each time, the first included: on a quick path the
	// association is up before the poller was asked, which then would not tell.
	look := func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			failure = os.NewSyscallError("getsockopt SO_ERROR", err)
			return true
		}
		if errno != 0 {
			failure = os.NewSyscallError("connect", syscall.Errno(errno))
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return !errors.Is(err, unix.ENOTCONN)
	}
	err = interruptible(ctx, file.SetWriteDeadline, func() error { return rc.Write(look) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return failure
}

// Listen binds an endpoint: all of these addresses of ours, with one port.
func Listen(local []netip.AddrPort, cfg sctp.Config) (sctp.Acceptor, error) {
	at, err := address(local)
	if err != nil {
		return nil, err
	}
	if at == nil {
		return nil, errors.New("sctp: no address to listen on")
	}
	cfg = cfg.WithDefaults()
	fd := -1
	socket := lib.SocketConfig{Control: adopt(cfg, &fd), InitMsg: initMsg(cfg)}
	l, err := socket.Listen("sctp", at)
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("sctp listen on %v: %w", local[0], unsupported(err))
	}
	release(l)
	sa, err := unix.Getsockname(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("getsockname", err)
	}
	file := os.NewFile(uintptr(fd), "sctp listener")
	rc, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &acceptor{file: file, rc: rc, addr: netip.AddrPortFrom(local[0].Addr(), addrPort(sa).Port())}, nil
}

// acceptor is one listening socket.
type acceptor struct {
	file *os.File
	rc   syscall.RawConn
	addr netip.AddrPort

	accepted, refused atomic.Uint64
}

// acceptPause is how long to wait when the process has no descriptor to spare.
const acceptPause = 50 * time.Millisecond

// Accept implements sctp.Acceptor.
func (l *acceptor) Accept(ctx context.Context) (sctp.Association, error) {
	for {
		var fd int
		var peer unix.Sockaddr
		var errno error
		err := interruptible(ctx, l.file.SetReadDeadline, func() (err error) { fd, peer, errno, err = l.accept(); return err })
		if ctx.Err() != nil {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, transport.ErrClosed
		}
		if errno == nil {
			file := os.NewFile(uintptr(fd), "sctp")
			a, err := newAssociation(file, addrPort(peer))
			if err == nil {
				l.accepted.Add(1)
				return a, nil
			}
			_ = file.Close()
		}
		l.refused.Add(1)
		if errors.Is(errno, unix.EMFILE) || errors.Is(errno, unix.ENFILE) || errors.Is(errno, unix.ENOMEM) || errors.Is(errno, unix.ENOBUFS) {
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		if errors.Is(errno, unix.EBADF) || errors.Is(errno, unix.EINVAL) {
			return nil, fmt.Errorf("sctp listener on %v: %w", l.addr, errno)
		}
	}
}

func (l *acceptor) accept() (fd int, peer unix.Sockaddr, errno, err error) {
	fd = -1
	err = l.rc.Read(func(s uintptr) bool {
		fd, peer, errno = unix.Accept4(int(s), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return !errors.Is(errno, unix.EAGAIN)
	})
	return fd, peer, errno, err
}

// Addr implements sctp.Acceptor.
func (l *acceptor) Addr() netip.AddrPort { return l.addr }

// Stats implements sctp.Acceptor.
func (l *acceptor) Stats() sctp.AcceptorStats {
	return sctp.AcceptorStats{Accepted: l.accepted.Load(), Refused: l.refused.Load()}
}

// Close implements sctp.Acceptor.
func (l *acceptor) Close() error { return l.file.Close() }
