//go:build !linux

package tcp

import (
	"net"
	"syscall"
	"time"
)

func tune(c *net.TCPConn, deadAfter time.Duration) {
	if deadAfter > 0 {
		every := max(deadAfter/3, time.Second)
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: every, Interval: every, Count: 2})
	}
}

// unacknowledged is not to be had: nothing is known of any message.
func unacknowledged(syscall.RawConn) (n int, ok bool) { return 0, false }

// broken cannot be told.
func broken(syscall.RawConn) bool { return false }
