package shim

// Drop is a reason for which a packet or chunk went no further.
type Drop uint8

const (
	DropMalformed       Drop = iota // no packet of whole chunks, or a chunk against its form
	DropChecksum                    // wrong checksum
	DropTag                         // of no association known here
	DropAddress                     // an association's tag from another address or port
	DropUnexpected                  // a chunk that has no place in this state
	DropUnknown                     // a chunk type not known
	DropUnauthenticated             // a chunk that is taken only authenticated
	DropMAC                         // not authentic
	DropKey                         // authenticated under a key not known
	DropHMAC                        // authenticated by an algorithm not offered
	DropSACK                        // an acknowledgement of what was never sent
	DropStream                      // DATA on a stream that does not exist
	DropOversized                   // more than the engine takes
	DropInit                        // an INIT that cannot be answered
	DropCookie                      // a state cookie that is not ours, stale or used
	DropLimited                     // beyond the limits on handshakes
	DropQueue                       // no room
	DropSuppressed                  // an answer not given, to answer no faster
	dropReasons
)

// String is the reason as it stands in statistics.
func (d Drop) String() string {
	if int(d) < len(dropNames) {
		return dropNames[d]
	}
	return "unknown"
}

var dropNames = [dropReasons]string{
	"malformed", "checksum", "tag", "address", "unexpected", "unknown-chunk", "unauthenticated", "bad-mac",
	"unknown-key", "unknown-hmac", "bad-sack", "bad-stream", "oversized", "bad-init", "bad-cookie", "limited",
	"queue-full", "suppressed",
}

// Drops counts by reason.
type Drops [dropReasons]uint64

// Add adds other's counts.
func (d *Drops) Add(other *Drops) {
	for i := range d {
		d[i] += other[i]
	}
}

// Total is the sum.
func (d Drops) Total() (n uint64) {
	for _, v := range d {
		n += v
	}
	return n
}

// Map is the counters that are not zero, by name.
func (d Drops) Map() map[string]uint64 {
	m := make(map[string]uint64)
	for i, n := range d {
		if n > 0 {
			m[Drop(i).String()] = n
		}
	}
	return m
}
