package dtls

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls/record"
)

// HeartbeatPolicy says what this side offers of RFC 6520.
type HeartbeatPolicy uint8

const (
	// HeartbeatOn: the extension is offered and requests are answered.
	HeartbeatOn HeartbeatPolicy = iota
	// HeartbeatSendOnly: offered, but the peer may not send requests.
	HeartbeatSendOnly
	// HeartbeatOff: not offered.
	HeartbeatOff
)

// mode is the value of our hello extension, 0 for none.
func (p HeartbeatPolicy) mode() heartbeat.Mode {
	switch p {
	case HeartbeatOn:
		return heartbeat.PeerAllowed
	case HeartbeatSendOnly:
		return heartbeat.PeerNotAllowed
	}
	return 0
}

// Defaults of Config.
const (
	DefaultHandshakeTimeout = 15 * time.Second
	DefaultRetransmit       = time.Second // RFC 6347, Section 4.2.4.1
	DefaultIdleTimeout      = 30 * time.Minute
	DefaultMaxSessions      = 65536
	DefaultMaxHalfOpen      = 1024
	// DefaultMaxHalfOpenPerPrefix leaves room for a site's exporters that all
	// restart together, and for fifteen other sites.
	DefaultMaxHalfOpenPerPrefix = 64
	DefaultSessionTTL           = 8 * time.Hour
	DefaultMaxStored            = 16384
	DefaultReplayWindow         = 1024
)

// Config is for both sides; the zero value of each field but Credentials
// works. Negative durations and limits disable what they bound.
type Config struct {
	// Credentials prove this side and check the other. Required. When they
	// change, handshakes to come use the new ones; a Listener also asks them
	// about the sessions it has, and ends those that they would not let in.
	Credentials credentials.Source
	// ServerName is what a Dialer's peer must be certified for, a DNS name or
	// an address; a name in the Credentials goes before it. Required with
	// certificates.
	ServerName string
	// PSKIdentity makes a Dialer authenticate by the pre-shared key that
	// Credentials hold for this identity, instead of by certificate. Without a
	// certificate the Credentials' own identity is the default.
	PSKIdentity string
	// Scheme stands in Peer.Scheme; default dtls+udp.
	Scheme string

	// HandshakeTimeout bounds a whole handshake.
	HandshakeTimeout time.Duration
	// Retransmit is a handshake's first retransmission interval; it doubles. A
	// Dialer shortens it to what its quickest handshake took.
	Retransmit time.Duration
	// Probe spaces the transmissions of a Dialer's heartbeat requests. Reliable
	// is taken from the carrier.
	Probe heartbeat.TimerConfig
	// NoPathProbe stops a Dialer's session from padding a heartbeat request now
	// and then to the size the carrier promises, by which it learns of a path
	// that drops such datagrams without a word (RFC 6520, Section 5.1).
	NoPathProbe bool
	// Heartbeat says what is offered of RFC 6520.
	Heartbeat HeartbeatPolicy
	// ConnectionID offers (Dialer) or grants (Listener) a Connection ID to
	// put on the exporter's records. Only full handshakes negotiate one.
	ConnectionID bool
	// Suites restricts the cipher suites, in order of preference; default are
	// all this package knows.
	Suites []record.Suite
	// ReplayWindow is in records; negative switches replay detection off, as
	// DTLS over SCTP needs.
	ReplayWindow int

	// SessionTTL bounds how long after its full handshake a session may be
	// resumed. Negative: never.
	SessionTTL time.Duration
	// MaxStored bounds the sessions a Listener keeps for resumption.
	MaxStored int
	// Sessions are those a Listener can resume; nil: its own, bounded by
	// SessionTTL and MaxStored, which otherwise are those of Sessions.
	Sessions *Sessions

	// Resume are the sessions that several Dialers share: the first session of
	// each may resume one of another to the same collector. Nil: a Dialer
	// resumes its own alone.
	Resume *ClientSessions

	// IdleTimeout ends a Listener's session that brought no authentic record
	// for so long.
	IdleTimeout time.Duration
	// MaxSessions bounds a Listener's established sessions.
	MaxSessions int
	// MaxHalfOpen bounds a Listener's handshakes in progress,
	// MaxHalfOpenPerPrefix those of one source network (IPv4 /24, IPv6 /48).
	MaxHalfOpen, MaxHalfOpenPerPrefix int

	// Log defaults to slog.DiscardHandler.
	Log *slog.Logger
}

// WithDefaults fills in what is left out.
func (c Config) WithDefaults() Config {
	duration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	number := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	duration(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	duration(&c.Retransmit, DefaultRetransmit)
	duration(&c.SessionTTL, DefaultSessionTTL)
	duration(&c.IdleTimeout, DefaultIdleTimeout)
	number(&c.MaxStored, DefaultMaxStored)
	number(&c.MaxSessions, DefaultMaxSessions)
	number(&c.MaxHalfOpen, DefaultMaxHalfOpen)
	number(&c.MaxHalfOpenPerPrefix, DefaultMaxHalfOpenPerPrefix)
	number(&c.ReplayWindow, DefaultReplayWindow)
	c.ReplayWindow = max(c.ReplayWindow, 0)
	if c.Scheme == "" {
		c.Scheme = "dtls+udp"
	}
	if len(c.Suites) == 0 {
		c.Suites = allSuites()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate names every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Credentials == nil || c.Credentials.Current() == nil {
		faults = append(faults, errors.New("dtls: no credentials"))
	}
	known := map[record.Suite]bool{}
	for _, s := range allSuites() {
		known[s] = true
	}
	for _, s := range c.Suites {
		if !known[s] {
			faults = append(faults, fmt.Errorf("dtls: cipher suite %v is not offered", s))
		}
	}
	if c.Heartbeat > HeartbeatOff {
		faults = append(faults, fmt.Errorf("dtls: heartbeat policy %d", c.Heartbeat))
	}
	return errors.Join(faults...)
}

// allSuites are the suites offered, in order of preference: forward secrecy
// first, then what hardware helps (RFC 9325, Section 4.2).
func allSuites() []record.Suite {
	return []record.Suite{
		record.ECDHEECDSAAES128GCM, record.ECDHERSAAES128GCM,
		record.ECDHEECDSAAES256GCM, record.ECDHERSAAES256GCM,
		record.ECDHEECDSAChaCha20, record.ECDHERSAChaCha20,
		record.ECDHEPSKAES128GCM, record.ECDHEPSKChaCha20,
		record.PSKAES128GCM, record.PSKChaCha20,
	}
}
