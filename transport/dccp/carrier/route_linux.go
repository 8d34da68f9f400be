package carrier

import (
	"errors"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// routes asks the system for the ways to peers: a socket for many of them
// knows none. It is connected to one after the other, and sends nothing.
type routes struct {
	mu       sync.Mutex
	fds      [2]int // for IPv4 and IPv6; 0: there is none
	mtuLimit int    // 0: none
}

// open is called where the socket it serves is opened: network namespaces
// belong to threads.
func (r *routes) open(four, six bool, mtuLimit int) error {
	r.mtuLimit = mtuLimit
	var last error
	for i, want := range [...]bool{four, six} {
		if want {
			fd, err := unix.Socket([...]int{unix.AF_INET, unix.AF_INET6}[i], unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				last = err
				continue
			}
			r.fds[i] = fd
		}
	}
	if r.fds == [2]int{} {
		return last
	}
	return nil
}

func (r *routes) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, fd := range r.fds {
		if fd > 0 {
			_ = unix.Close(fd)
		}
		r.fds[i] = 0
	}
}

var errNoRoute = errors.New("no route to the peer is known")

// connect points a socket at a peer; r.mu is held. The port means nothing, but
// must be one.
func (r *routes) connect(peer netip.Addr) (fd int, six bool, err error) {
	six = !peer.Unmap().Is4()
	fd = r.fds[0]
	if six {
		fd = r.fds[1]
	}
	if fd == 0 {
		return 0, six, errNoRoute
	}
	return fd, six, unix.Connect(fd, sockaddr(peer, 9))
}

// mtu is that of the path to a peer, as far as the system knows.
func (r *routes) mtu(peer netip.Addr) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	mtu := 0
	if fd, six, err := r.connect(peer); err == nil {
		mtu = socketMTU(fd, six)
	}
	return r.limit(mtu)
}

// limit is what is believed of the system's word.
func (r *routes) limit(mtu int) int {
	if mtu <= 0 {
		mtu = minMTU
	}
	if r.mtuLimit > 0 {
		mtu = min(mtu, r.mtuLimit)
	}
	return mtu
}

// source is the address that packets for a peer leave from.
func (r *routes) source(peer netip.Addr) (netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd, _, err := r.connect(peer)
	if err != nil {
		return netip.Addr{}, err
	}
	return localAddr(fd)
}

func socketMTU(fd int, six bool) (mtu int) {
	if six {
		mtu, _ = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
	} else {
		mtu, _ = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
	}
	return mtu
}
