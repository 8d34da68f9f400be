package carrier

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport/udp"
)

// Filters of received packets, run by the kernel. They are classic BPF.
var (
	// A UDP datagram's checksum must not be zero (RFC 6773, Section 3.3,
	// MUST): inside UDP nothing else guards DCCP's header. The filter sees
	// the UDP header first.
	filterChecksum = []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff_ffff},
	}
)

// filterPort lets DCCP packets for one port in. A raw IPv4 socket's filter
// sees the IP header first, that of IPv6 the DCCP header.
func filterPort(port uint16, six bool) []unix.SockFilter {
	load := []unix.SockFilter{
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},
	}
	if six {
		load = []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 2}}
	}
	return append(load,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: uint32(port)},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff_ffff},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	)
}

func attach(fd int, filter []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// discover says what becomes of packets larger than their path takes: they
// are refused, or, loose, fragmented. An IPv6 socket may have peers of both
// families.
func discover(fd int, six, loose bool) error {
	v4, v6 := unix.IP_PMTUDISC_DO, unix.IPV6_PMTUDISC_DO
	if loose {
		v4, v6 = unix.IP_PMTUDISC_DONT, unix.IPV6_PMTUDISC_DONT
	}
	if !six {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, v4)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, v4)
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, v6)
}

func prepareUDP(c *udp.Conn) error {
	return control(c, func(fd int) error {
		if err := attach(fd, filterChecksum); err != nil {
			return err
		}
		return discover(fd, isSix(fd), false)
	})
}

func fragmentUDP(c *udp.Conn, loose bool) error {
	return control(c, func(fd int) error { return discover(fd, isSix(fd), loose) })
}

func isSix(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_INET6
}

func control(c syscall.Conn, f func(fd int) error) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(rc.Control(func(fd uintptr) { inner = f(int(fd)) }), inner)
}
