package dccp

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/core"
)

// Policy says what becomes of a message that finds the send queue full.
type Policy = core.QueuePolicy

// Policies.
const (
	// Wait makes Write wait for room.
	Wait = core.Block
	// DropOldest makes room by dropping the message that waited longest.
	DropOldest = core.DropOldest
	// DropNewest drops the message itself.
	DropNewest = core.DropNewest
)

const (
	defaultReceiveBuffer = 256 << 10
	defaultBacklog       = 128

	defaultMaxConns          = 65536
	defaultMaxConnsPerPrefix = 4096
)

// Config sets up connections. The zero value works.
type Config struct {
	// CCIDs are the congestion controls to negotiate, in order of preference,
	// for both directions. Empty: CCID 2 (RFC 4341), then CCID 3 (RFC 4342).
	CCIDs []ccid.ID

	// QueueMessages and QueueBytes bound what waits for congestion control to
	// let it go. Zero: 256 messages, 1 MiB. Policy says what becomes of more.
	QueueMessages int
	QueueBytes    int
	Policy        Policy

	// ReceiveBuffer bounds what came and was not read yet, in octets. Zero:
	// 256 KiB. What finds no room is dropped, and the sender is told (RFC 4340,
	// Section 11.7).
	ReceiveBuffer int
	// Receive takes each message as it comes, in the goroutine that reads the
	// socket, instead of Read. The message is only valid during the call. It
	// may use the Conn, but not wait for it (TrySend, not Write): nothing is
	// read meanwhile.
	Receive func(c *Conn, message []byte)

	// Track collects what becomes of each message, for Conn.Fates.
	Track bool

	// Linger is how long Close waits for the queue to drain, and for the
	// peer's answer. Zero: 10 s. Negative: neither is waited for.
	Linger time.Duration
	// KeepAlive is how long the peer may be silent before it is asked for a
	// sign of life. Zero: 2 minutes. Negative: never.
	KeepAlive time.Duration

	// Socket sets up the socket that Dial and Listen open.
	Socket carrier.Config
	// Log takes what the operator should know. Nil: nothing is logged.
	Log *slog.Logger
}

// socket is how the carrier is set up.
func (c *Config) socket() carrier.Config {
	s := c.Socket
	if s.Log == nil {
		s.Log = c.Log
	}
	return s
}

// core is what the machine is told.
func (c *Config) core(mtu int) (core.Config, error) {
	k := core.Config{
		MTU: mtu, QueueMessages: c.QueueMessages, QueueBytes: c.QueueBytes, Policy: c.Policy,
		Linger: c.Linger, KeepAlive: c.KeepAlive,
	}
	ids := c.CCIDs
	if len(ids) == 0 {
		ids = []ccid.ID{ccid.TCPLike, ccid.TFRC}
	}
	for _, id := range ids {
		switch id {
		case ccid.TCPLike:
			k.CCIDs = append(k.CCIDs, ccid2.New())
		case ccid.TFRC:
			k.CCIDs = append(k.CCIDs, ccid3.New())
		default:
			return k, fmt.Errorf("dccp: CCID %d is not implemented", id)
		}
	}
	return k, k.Validate()
}

// linger is how long Close may take.
func (c *Config) linger() time.Duration {
	if c.Linger == 0 {
		return 10 * time.Second
	}
	return max(c.Linger, 0)
}

// random fills b.
func random(b []byte) { _, _ = rand.Read(b) } // never fails
