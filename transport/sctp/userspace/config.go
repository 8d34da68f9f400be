package userspace

import (
	"cmp"
	"errors"
	"net/netip"
	"time"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
)

// DefaultUDPPort is the port of SCTP over UDP (RFC 6951, Section 5.1).
const DefaultUDPPort = 9899

// Defaults of Limits.
const (
	// DefaultMaxAssociations bounds a Socket's associations.
	DefaultMaxAssociations = 4096
	// DefaultMaxPerPrefix bounds those from one /24 of IPv4 or /56 of IPv6.
	DefaultMaxPerPrefix = 512
	// DefaultMemory bounds what a Socket's associations have received and
	// nobody has read yet, in octets.
	DefaultMemory = 256 << 20
	// DefaultHandshakes is how many INITs are answered in a second, which takes
	// some microseconds each: not so few that forged ones of all the world leave
	// none for others. DefaultHandshakesPerPrefix is how many of one prefix, to
	// which the answers to forged ones go.
	DefaultHandshakes          = 20_000
	DefaultHandshakesPerPrefix = 200
	// DefaultStrays is how many packets of no association are answered in a
	// second, and a tenth as many of one prefix.
	DefaultStrays = 1000
)

// Config sets up sockets and what runs over them. The zero value works.
type Config struct {
	sctp.Config
	// UDPPort is the peer's UDP port for Dial. 0: DefaultUDPPort.
	UDPPort uint16
	// Local is the local UDP address: for Dial the zero value leaves it to the
	// system; for Listen it means the address listened on and DefaultUDPPort.
	Local netip.AddrPort
	// LocalPort is the SCTP port to dial from. 0: a random one.
	LocalPort uint16

	// What a Socket takes of others; 0: the defaults above.
	MaxAssociations, MaxPerPrefix   int
	Memory                          int
	Handshakes, HandshakesPerPrefix int
	Strays                          int
}

const (
	// maxMessage is the longest user message: an IPFIX Message's limit, and
	// beyond a DTLS record's.
	maxMessage = 65535
	// minWindow is the least receive window that may be told (RFC 9260,
	// Section 3.3.2).
	minWindow = 1500
)

// errTimers: the bounds of the retransmission timer make no sense.
var errTimers = errors.New("RTOMin, RTOInitial and RTOMax out of order, or below a millisecond")

// withDefaults fills in what is left out.
func (c Config) withDefaults() Config {
	c.Config = c.WithDefaults()
	c.ReceiveBuffer = max(c.ReceiveBuffer, minWindow)
	c.UDPPort = cmp.Or(c.UDPPort, DefaultUDPPort)
	c.MaxAssociations = cmp.Or(c.MaxAssociations, DefaultMaxAssociations)
	c.MaxPerPrefix = cmp.Or(c.MaxPerPrefix, DefaultMaxPerPrefix)
	c.Memory = cmp.Or(c.Memory, DefaultMemory)
	c.Handshakes = cmp.Or(c.Handshakes, DefaultHandshakes)
	c.HandshakesPerPrefix = cmp.Or(c.HandshakesPerPrefix, DefaultHandshakesPerPrefix)
	c.Strays = cmp.Or(c.Strays, DefaultStrays)
	return c
}

func (c *Config) validate() error {
	if c.RTOMin < time.Millisecond || c.RTOMax < c.RTOMin || c.RTOInitial < c.RTOMin || c.RTOInitial > c.RTOMax {
		return errTimers
	}
	return nil
}

func (c *Config) offer() shim.Offer {
	return shim.Offer{
		Out: c.OutStreams, In: c.InStreams,
		Window: uint32(min(c.ReceiveBuffer, 1<<30)),
		Auth:   c.Auth,
	}
}

func (c *Config) timers() shim.Timers {
	return shim.Timers{
		RTOInitial: c.RTOInitial, RTOMin: c.RTOMin, RTOMax: c.RTOMax,
		Heartbeat:      c.Heartbeat,
		MaxRetransmits: c.MaxRetransmits, PathRetransmits: c.PathRetransmits,
	}
}
