//go:build !linux

package udp

import (
	"net"
	"net/netip"
	"syscall"

	"ipfixsuite/transport"
)

// socket is the portable side of a Conn: one datagram a system call, no path
// MTU, no counts from the kernel.
type socket struct {
	uc     *net.UDPConn
	remote netip.AddrPort
	buffer []byte
	got    int // receive buffer asked for
}

func (s *socket) open(c *Conn, uc *net.UDPConn) (descriptor, error) {
	s.uc, s.remote = uc, c.remote
	s.buffer = make([]byte, 64<<10)
	return uc, nil
}

func (s *socket) read(dst []transport.Datagram) (int, error) {
	n, peer, err := s.uc.ReadFromUDPAddrPort(s.buffer)
	if err != nil {
		return 0, err
	}
	dst[0] = transport.Datagram{Peer: unmapPort(peer), Data: s.buffer[:n:n]}
	return 1, nil
}

func (s *socket) write(batch []transport.Datagram) (int, error) {
	for i := range batch {
		var err error
		if s.remote.IsValid() {
			_, err = s.uc.Write(batch[i].Data)
		} else {
			_, err = s.uc.WriteToUDPAddrPort(batch[i].Data, batch[i].Peer)
		}
		if err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

func (s *socket) setReceiveBuffer(size int) int {
	if s.uc.SetReadBuffer(size) == nil {
		s.got = size
	}
	return s.got
}

func (s *socket) receiveBuffer() int  { return s.got }
func (s *socket) pathMTU() int        { return 0 }
func (s *socket) socketDrops() uint64 { return 0 }

func unreachable(e syscall.Errno) bool {
	switch e {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN,
		syscall.ECONNRESET, syscall.EACCES, syscall.EPERM, syscall.EMSGSIZE, syscall.ENOBUFS, syscall.EADDRNOTAVAIL:
		return true
	}
	return false
}
