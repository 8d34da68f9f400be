package udp

import (
	"log/slog"
	"net/netip"
	"time"
)

const (
	// DefaultReceiveBuffer is what a listening socket asks of the kernel, in
	// octets: at 1.5 million small records a second some 30 ms of traffic.
	DefaultReceiveBuffer = 4 << 20
	// DefaultIdleTimeout ends a session that sends nothing. It exceeds three
	// times the usual template refresh of 600 s, so that no living exporter's
	// templates are forgotten (RFC 7011, Section 8.4).
	DefaultIdleTimeout = 31 * time.Minute
	// DefaultMaxSessions bounds the sessions of one listener.
	DefaultMaxSessions = 65536
	// DefaultMaxSessionsPerPrefix bounds those of one source prefix, a /24
	// of IPv4 or a /56 of IPv6.
	DefaultMaxSessionsPerPrefix = 4096

	// minMTU is the least path MTU IPv6 promises; what is sent to a peer
	// whose path is not known keeps to it.
	minMTU = 1280
	// maxPayload4 and maxPayload6 are what fits into the length fields.
	maxPayload4 = 65535 - headers4
	maxPayload6 = 65535 - 8
	headers4    = 20 + 8
	headers6    = 40 + 8
)

// Config sets up sockets, listeners and dialers. The zero value works.
type Config struct {
	// MTU is the size of the largest IP packet to send, headers included, in
	// octets. Zero: what the system knows of the path. A path with a smaller
	// MTU than this is still obeyed.
	MTU int
	// Fragment has the system cut packets that have become too large for the
	// path of a connected socket, where what is in them cannot be cut smaller
	// any more. Otherwise they are refused.
	Fragment bool
	// Apart hands every datagram to the system by itself, where equal ones
	// would be cut out of one by UDP_SEGMENT: Linux 6.1 panics when such come,
	// uncut, to its own SCTP over UDP (RFC 6951) on the same host.
	Apart bool
	// ReceiveBuffer is the kernel's buffer for datagrams not yet read, in
	// octets. Zero: DefaultReceiveBuffer for listeners, the system's default
	// for connected sockets. Negative: the system's default.
	ReceiveBuffer int
	// IdleTimeout ends a listener's session that sends nothing. Zero:
	// DefaultIdleTimeout. Negative: never.
	IdleTimeout time.Duration
	// MaxSessions bounds a listener's sessions. Zero: DefaultMaxSessions.
	MaxSessions int
	// MaxSessionsPerPrefix bounds a listener's sessions from one /24 of IPv4
	// or /56 of IPv6. Zero: DefaultMaxSessionsPerPrefix.
	MaxSessionsPerPrefix int
	// Log takes what the operator should know. Nil: nothing is logged.
	Log *slog.Logger
}

func (c Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// payload is what an IP packet of mtu octets carries for UDP to or from addr.
func payload(mtu int, addr netip.Addr) int {
	if addr.Unmap().Is4() {
		return min(max(mtu-headers4, 0), maxPayload4)
	}
	return min(max(mtu-headers6, 0), maxPayload6)
}
