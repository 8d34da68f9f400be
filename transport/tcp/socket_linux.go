package tcp

import (
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tune makes the kernel give up a peer that acknowledges nothing for
// deadAfter, whether data is under way (RFC 5482's user timeout) or not, and
// keeps what it has not sent yet short: it waits better where it can still be
// sent elsewhere.
func tune(c *net.TCPConn, deadAfter time.Duration) {
	if deadAfter > 0 {
		// Two keepalives that are not answered make three intervals of silence.
		every := max(deadAfter/3, time.Second)
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: every, Interval: every, Count: 2})
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return // it is closed: whoever uses it will see
	}
	// What an old kernel does not know it does without.
	_ = rc.Control(func(fd uintptr) {
		if deadAfter > 0 {
			ms := min(deadAfter.Milliseconds(), math.MaxInt32)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ms))
		}
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
	})
}

// unacknowledged is how many octets of what was written the peer's host has
// not acknowledged; ok is false when the socket is closed.
func unacknowledged(rc syscall.RawConn) (n int, ok bool) {
	err := rc.Control(func(fd uintptr) {
		var e error
		n, e = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		ok = e == nil
	})
	return n, ok && err == nil
}

// broken tells a connection that the kernel gave up, or that was reset, from
// one whose peer has sent its FIN: both read as the end once the error itself
// was told to a writer.
func broken(rc syscall.RawConn) bool {
	gone := false
	err := rc.Control(func(fd uintptr) {
		info, e := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		gone = e == nil && info.State == unix.BPF_TCP_CLOSE
	})
	return gone && err == nil
}
