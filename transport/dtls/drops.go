package dtls

import "sync/atomic"

// drop is a reason for which a datagram or record went no further.
type drop uint8

const (
	dropPlaintext  drop = iota // unprotected, outside a handshake
	dropMAC                    // not authentic
	dropReplayed               // seen before, or too old to tell
	dropStale                  // of no association known here
	dropMalformed              // no record, or none of this association's form
	dropEpoch                  // of an epoch that never was
	dropQueueFull              // no room while a handshake or a barrier is under way
	dropUnexpected             // authentic, but nothing this protocol has
	dropHeartbeat              // a heartbeat against the rules of RFC 6520
	dropHello                  // a ClientHello in fragments, repeated, or with a wrong cookie
	dropLimited                // a ClientHello beyond the limits
	dropForeign                // on a connected carrier, from another address
	dropReasons
)

// String is the reason as it stands in ListenerStats.Dropped.
func (d drop) String() string {
	switch d {
	case dropPlaintext:
		return "plaintext"
	case dropMAC:
		return "bad-mac"
	case dropReplayed:
		return "replayed"
	case dropStale:
		return "stale"
	case dropMalformed:
		return "malformed"
	case dropEpoch:
		return "epoch"
	case dropQueueFull:
		return "queue-full"
	case dropUnexpected:
		return "unexpected"
	case dropHeartbeat:
		return "heartbeat"
	case dropHello:
		return "hello"
	case dropLimited:
		return "limited"
	case dropForeign:
		return "foreign"
	}
	return "unknown"
}

type dropCounters [dropReasons]atomic.Uint64

func (c *dropCounters) add(d drop) { c[d].Add(1) }

func (c *dropCounters) total() (n uint64) {
	for i := range c {
		n += c[i].Load()
	}
	return n
}

// reasons are the counters that are not zero, by name.
func (c *dropCounters) reasons() map[string]uint64 {
	m := make(map[string]uint64)
	for i := range c {
		if n := c[i].Load(); n > 0 {
			m[drop(i).String()] = n
		}
	}
	return m
}
