package core

import (
	"errors"
	"fmt"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// Bounds of RFC 4340 and of ours.
const (
	// MSL is the maximum segment lifetime (RFC 4340, Section 3.4).
	MSL = 2 * time.Minute

	// DefaultMTU is the packet size in force until the carrier knows better:
	// IPv6's minimum less its header and UDP's.
	DefaultMTU = 1280 - 40 - 8
	// MinMTU is the smallest size taken for true: RFC 1191's 68 octets less
	// an IP header would leave no room for options.
	MinMTU = 256

	// optionRoom is kept free beside a message for options (an Ack Vector, the
	// CCID's, negotiation): more travels on a packet of its own.
	optionRoom = 40

	defaultQueueMessages = 256
	defaultQueueBytes    = 1 << 20
	defaultWindow        = 1000 // packets: recovers from bursts of loss without Syncs
	defaultLinger        = 10 * time.Second
	defaultKeepAlive     = 2 * time.Minute
	defaultGiveUp        = 3 * time.Minute
)

// QueuePolicy says what becomes of a message that finds the queue full.
type QueuePolicy uint8

// Policies.
const (
	// Block refuses it: Send returns ErrQueueFull, EventWritable tells when to
	// try again.
	Block QueuePolicy = iota
	// DropOldest makes room at the queue's head, where the stalest are.
	DropOldest
	// DropNewest drops the message itself.
	DropNewest
)

// Config is what both roles are told. The zero value of each field works, but
// CCIDs must be given.
type Config struct {
	// CCIDs in order of preference, for both half-connections.
	CCIDs []ccid.CCID

	// MTU is the largest packet, from the DCCP header to the end of the data,
	// that the path is known to carry; 0: DefaultMTU. MaxMTU is how far to
	// probe upward with padded Syncs (RFC 4340, Section 14.1); 0 or less than
	// MTU: no probing.
	MTU    int
	MaxMTU int

	// The queue of messages that congestion control does not yet let go:
	// bounds in messages and octets, 0 for 256 and 1 MiB, and the policy.
	QueueMessages int
	QueueBytes    int
	Policy        QueuePolicy

	// SequenceWindow in packets is where negotiation starts, and the least that
	// it comes back to; 0: 1000.
	SequenceWindow uint64

	// Coverage of the checksum on our data: 0 all, n: the header and the first
	// (n-1)*4 octets (RFC 4340, Section 9.2). It is used once the peer has
	// agreed; MinCoverage is the least that we agree to. Natively over IP only.
	Coverage    uint8
	MinCoverage uint8
	// DataChecksum puts a CRC-32c on each data packet (RFC 4340, Section 9.3).
	// Those that come are always checked.
	DataChecksum bool

	// HoldTimeWait makes a server close with Close, and so hold TIMEWAIT
	// itself, where it would ask the client with CloseReq.
	HoldTimeWait bool

	// Linger is how long Close waits for the queue to drain; 0: 10 s,
	// negative: not at all.
	Linger time.Duration
	// KeepAlive is how long the peer may be silent before it is asked with a
	// Sync; eight unanswered ones end the connection. 0: 2 minutes, negative:
	// never.
	KeepAlive time.Duration
	// GiveUp is how long a client repeats its Request; 0: 3 minutes.
	GiveUp time.Duration
}

// ErrNoCCID is a Config without congestion control.
var ErrNoCCID = errors.New("dccp: no CCIDs configured")

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if len(c.CCIDs) == 0 {
		errs = append(errs, ErrNoCCID)
	}
	for i, d := range c.CCIDs {
		if d.NewSender == nil || d.NewReceiver == nil {
			errs = append(errs, fmt.Errorf("dccp: CCID %d has no halves", d.ID))
		}
		for _, e := range c.CCIDs[:i] {
			if e.ID == d.ID {
				errs = append(errs, fmt.Errorf("dccp: CCID %d given twice", d.ID))
			}
		}
	}
	if len(c.CCIDs) > maxPrefs {
		errs = append(errs, fmt.Errorf("dccp: more than %d CCIDs", maxPrefs))
	}
	if c.MTU != 0 && (c.MTU < MinMTU || c.MTU > wire.MaxPacket) || c.MaxMTU > wire.MaxPacket {
		errs = append(errs, fmt.Errorf("dccp: MTU %d, at most %d, is out of range", c.MTU, c.MaxMTU))
	}
	if c.Coverage > 15 || c.MinCoverage > 15 {
		errs = append(errs, errors.New("dccp: checksum coverage above 15"))
	}
	if w := c.SequenceWindow; w != 0 && (w < wire.MinSequenceWindow || w > wire.MaxSequenceWindow) {
		errs = append(errs, fmt.Errorf("dccp: sequence window %d is out of range", w))
	}
	if c.Policy > DropNewest {
		errs = append(errs, fmt.Errorf("dccp: unknown queue policy %d", c.Policy))
	}
	return errors.Join(errs...)
}

// withDefaults fills in the zero values.
func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	long := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.MTU, DefaultMTU)
	def(&c.QueueMessages, defaultQueueMessages)
	def(&c.QueueBytes, defaultQueueBytes)
	long(&c.Linger, defaultLinger)
	long(&c.KeepAlive, defaultKeepAlive)
	long(&c.GiveUp, defaultGiveUp)
	c.MaxMTU = max(c.MaxMTU, c.MTU)
	if c.SequenceWindow == 0 {
		c.SequenceWindow = defaultWindow
	}
	return c
}
