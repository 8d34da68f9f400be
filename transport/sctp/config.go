package sctp

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"ipfixsuite/transport/dtls"
)

// Defaults of SessionConfig.
const (
	// DefaultIdleTimeout ends a Listener's session that sends nothing. SCTP's
	// own heartbeats tell of a dead peer long before.
	DefaultIdleTimeout = 31 * time.Minute
	// DefaultMaxSessions bounds the sessions of one Listener, each of which has
	// a goroutine and the kernel's buffers.
	DefaultMaxSessions = 4096
	// DefaultMaxSessionsPerPrefix bounds those of one source network, a /24 of
	// IPv4 or a /48 of IPv6.
	DefaultMaxSessionsPerPrefix = 1024
)

// SessionConfig is for both ends; the zero value works and is in the clear.
// Negative durations and limits disable what they bound.
type SessionConfig struct {
	// Scheme stands in Peer.Scheme; default sctp, or dtls+sctp with DTLS.
	Scheme string
	// DTLS puts RFC 6083 on the association; nil: in the clear. Of its fields
	// those of retransmission, replay, resumption and Connection IDs mean
	// nothing here; its limits and IdleTimeout hold instead of those below.
	DTLS *dtls.Config
	// Lifetime is after how long an Outgoing marked Unreliable may be given up
	// (RFC 7011, Section 10.2.6); 0: every message is reliable.
	Lifetime time.Duration

	// IdleTimeout ends a Listener's session that brought nothing for so long.
	IdleTimeout time.Duration
	// MaxSessions bounds a Listener's sessions, MaxSessionsPerPrefix those of
	// one source network.
	MaxSessions, MaxSessionsPerPrefix int
	// Log defaults to slog.DiscardHandler.
	Log *slog.Logger
}

func (c SessionConfig) withDefaults() SessionConfig {
	if c.DTLS != nil {
		c.Scheme = cmp.Or(c.Scheme, "dtls+sctp")
		c.IdleTimeout = cmp.Or(c.DTLS.IdleTimeout, c.IdleTimeout)
		c.MaxSessions = cmp.Or(c.DTLS.MaxSessions, c.MaxSessions)
		if c.Log == nil {
			c.Log = c.DTLS.Log
		}
	}
	c.Scheme = cmp.Or(c.Scheme, "sctp")
	c.IdleTimeout = cmp.Or(c.IdleTimeout, DefaultIdleTimeout)
	c.MaxSessions = cmp.Or(c.MaxSessions, DefaultMaxSessions)
	c.MaxSessionsPerPrefix = cmp.Or(c.MaxSessionsPerPrefix, DefaultMaxSessionsPerPrefix)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate names every fault of the configuration.
func (c SessionConfig) Validate() error {
	var faults []error
	if c.DTLS != nil {
		faults = append(faults, c.DTLS.Validate())
	}
	if c.Lifetime < 0 {
		faults = append(faults, errors.New("sctp: negative lifetime"))
	}
	return errors.Join(faults...)
}
