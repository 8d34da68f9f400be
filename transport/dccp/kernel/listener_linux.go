package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listener accepts connections. It implements net.Listener.
type Listener struct {
	f     *os.File
	rc    syscall.RawConn
	local netip.AddrPort
	cfg   Config
}

// Listen accepts connections for the service codes of cfg at addr; port 0 is
// one of the system's choice.
func Listen(at netip.AddrPort, cfg Config) (*Listener, error) {
	l, err := listen(at, cfg)
	if err != nil {
		return nil, fmt.Errorf("listen on dccp %v: %w", at, err)
	}
	return l, nil
}

func listen(at netip.AddrPort, cfg Config) (*Listener, error) {
	fd, err := open(!at.Addr().Unmap().Is4(), cfg)
	if err != nil {
		return nil, err
	}
	backlog := cfg.Backlog
	if backlog == 0 {
		backlog = defaultBacklog
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, errors.Join(os.NewSyscallError("listen", err), unix.Close(fd))
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("getsockname", err), unix.Close(fd))
	}
	l := &Listener{f: os.NewFile(uintptr(fd), "dccp"), local: addrPort(sa), cfg: cfg}
	if l.rc, err = l.f.SyscallConn(); err != nil {
		return nil, errors.Join(err, l.f.Close())
	}
	return l, nil
}

// AcceptConn waits for the next connection.
func (l *Listener) AcceptConn() (*Conn, error) {
	var fd int
	var err error
	wait := l.rc.Read(func(at uintptr) bool {
		for {
			fd, _, err = unix.Accept4(int(at), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			// One that has gone meanwhile is no fault of the listener.
			if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	switch {
	case errors.Is(wait, os.ErrDeadlineExceeded):
		return nil, wait
	case wait != nil: // the socket is closed
		return nil, net.ErrClosed
	case err != nil:
		return nil, os.NewSyscallError("accept", err)
	}
	c, err := newConn(fd, l.cfg)
	if err != nil {
		return nil, err
	}
	c.local, c.remote = c.name(unix.Getsockname), c.name(unix.Getpeername)
	return c, nil
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return addr(l.local) }

// AddrPort is the address and DCCP port listened on.
func (l *Listener) AddrPort() netip.AddrPort { return l.local }

// SetDeadline ends waits for connections then.
func (l *Listener) SetDeadline(t time.Time) error { return l.f.SetReadDeadline(t) }

// Close implements net.Listener.
func (l *Listener) Close() error { return l.f.Close() }
