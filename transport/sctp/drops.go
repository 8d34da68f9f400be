package sctp

import "sync/atomic"

// drop is a reason for which something went no further.
type drop uint8

const (
	dropRecord    drop = iota // not authentic, not of RFC 6083's form, or of a type that has no place: the association ended
	dropHeartbeat             // a heartbeat against the rules of RFC 6520
	dropQueueFull             // no room while a barrier is under way
	dropSessions              // an association beyond MaxSessions
	dropPrefix                // an association beyond MaxSessionsPerPrefix
	dropHalfOpen              // an association beyond the limits of handshakes
	dropNoAuth                // a peer that does not authenticate its DATA
	dropOversized             // a message longer than any of IPFIX: the association ended
	dropReasons
)

// String is the reason as it stands in ListenerStats.Dropped.
func (d drop) String() string {
	switch d {
	case dropRecord:
		return "bad-record"
	case dropHeartbeat:
		return "heartbeat"
	case dropQueueFull:
		return "queue-full"
	case dropSessions:
		return "session-limit"
	case dropPrefix:
		return "prefix-limit"
	case dropHalfOpen:
		return "half-open-limit"
	case dropNoAuth:
		return "no-sctp-auth"
	case dropOversized:
		return "oversized"
	}
	return "unknown"
}

type dropCounters [dropReasons]atomic.Uint64

func (c *dropCounters) add(d drop) { c[d].Add(1) }

// into adds the counters that are not zero, by name.
func (c *dropCounters) into(m map[string]uint64) {
	for i := range c {
		if n := c[i].Load(); n > 0 {
			m[drop(i).String()] += n
		}
	}
}
