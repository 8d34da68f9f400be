package tcp

import (
	"log/slog"
	"time"

	"ipfixsuite/transport/credentials"
)

// Defaults of Config.
const (
	DefaultDeadAfter        = 3 * time.Second
	DefaultHandshakeTimeout = 15 * time.Second
	DefaultBuffer           = 256 << 10
	DefaultStallTimeout     = time.Minute
	DefaultMaxSessions      = 16384
	// DefaultMaxSessionsPerPrefix bounds what one source network can hold.
	DefaultMaxSessionsPerPrefix = 1024
	DefaultMaxHalfOpen          = 1024
	DefaultMaxHalfOpenPerPrefix = 64
)

// Config is for both sides; its zero value serves plain TCP. Negative
// durations and limits disable what they bound.
type Config struct {
	// Credentials make it TLS; nil: plain TCP.
	Credentials credentials.Source
	// ServerName is what a Dialer's peer must be certified for, a DNS name or
	// an address; a name in the Credentials goes before it. Required with
	// Credentials.
	ServerName string
	// Scheme stands in Peer.Scheme; default tcp or tls+tcp.
	Scheme string
	// NextProtos are the application protocols offered (ALPN, RFC 7301).
	NextProtos []string
	// Upgrade takes over a Listener's connections on which this application
	// protocol was agreed. It returns when the connection is done for; the
	// Listener closes it then.
	Upgrade map[string]Upgrade

	// DeadAfter is how long a peer's host may acknowledge nothing.
	DeadAfter time.Duration
	// HandshakeTimeout bounds a Listener's TLS handshakes.
	HandshakeTimeout time.Duration
	// Buffer bounds what a session holds that the kernel has not taken yet, in
	// octets.
	Buffer int
	// IdleTimeout ends a Listener's connection that brings nothing. 0: never,
	// as keepalives find dead peers.
	IdleTimeout time.Duration
	// StallTimeout ends a Listener's connection that leaves a message
	// unfinished.
	StallTimeout time.Duration
	// MaxSessions bounds a Listener's connections, MaxSessionsPerPrefix those
	// of one source network (IPv4 /24, IPv6 /56); MaxHalfOpen and
	// MaxHalfOpenPerPrefix those of them whose handshake is not over.
	MaxSessions, MaxSessionsPerPrefix int
	MaxHalfOpen, MaxHalfOpenPerPrefix int

	// Log takes what the operator should know; nil: nothing is logged.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		p   *time.Duration
		def time.Duration
	}{
		{&c.DeadAfter, DefaultDeadAfter},
		{&c.HandshakeTimeout, DefaultHandshakeTimeout},
		{&c.StallTimeout, DefaultStallTimeout},
	} {
		if *d.p == 0 {
			*d.p = d.def
		}
	}
	for _, n := range []struct {
		p   *int
		def int
	}{
		{&c.Buffer, DefaultBuffer},
		{&c.MaxSessions, DefaultMaxSessions},
		{&c.MaxSessionsPerPrefix, DefaultMaxSessionsPerPrefix},
		{&c.MaxHalfOpen, DefaultMaxHalfOpen},
		{&c.MaxHalfOpenPerPrefix, DefaultMaxHalfOpenPerPrefix},
	} {
		if *n.p == 0 {
			*n.p = n.def
		}
	}
	c.Buffer = max(c.Buffer, minBuffer)
	if c.Scheme == "" {
		c.Scheme = "tcp"
		if c.Credentials != nil {
			c.Scheme = "tls+tcp"
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
