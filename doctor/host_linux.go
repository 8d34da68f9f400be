package doctor

import (
	"net"

	"golang.org/x/sys/unix"
)

// openFiles is how many a process may have open.
func openFiles() (uint64, bool) {
	var r unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r)
	return r.Cur, err == nil
}

// disciplined asks the kernel whether somebody keeps its clock right.
func disciplined() (synchronized, known bool) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, false
	}
	return t.Status&unix.STA_UNSYNC == 0, true
}

// mayForce tells whether we may have a larger buffer than rmem_max.
func mayForce() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20) == nil
}

// kernelSCTP tells why there are no SCTP sockets.
func kernelSCTP(six bool) error {
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// pathMTU is what the kernel knows of the path of a connected socket; 0:
// nothing.
func pathMTU(c *net.UDPConn, four bool) (mtu int) {
	rc, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = rc.Control(func(fd uintptr) {
		if four {
			mtu, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU)
		} else {
			mtu, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU)
		}
	})
	return mtu
}

// space is what a file system has for us: free octets and files, the latter -1
// where it does not count them.
func space(dir string) (octets uint64, files int64, ok bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, 0, false
	}
	files = -1
	if st.Files > 0 {
		files = int64(st.Ffree)
	}
	return st.Bavail * uint64(st.Bsize), files, true
}
