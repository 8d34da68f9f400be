package tlsmux

import (
	"net/netip"
	"sync"

	"ipfixsuite/transport/tlsmux/core"
)

const (
	// DefaultMaxWindows bounds the windows of all channels of a Listener
	// together, in octets, DefaultMaxWindowsPerPrefix those of one source
	// network (IPv4 /24, IPv6 /56).
	DefaultMaxWindows          = 4 << 30
	DefaultMaxWindowsPerPrefix = 1 << 30
	// leastWindow has room for a message of the greatest length behind one that
	// waits for its barrier.
	leastWindow = 2 * (maxMessage + 1)
	// What is left goes to so many channels at least: windows become smaller
	// the more has been granted.
	sharesPerPrefix, shares = 1 << 10, 1 << 12
)

// A quota bounds what may wait in the channels of all sessions of a Listener:
// a session is no bound, as a peer can have many.
type quota struct {
	most, mostPerPrefix int64 // octets; negative: no bound

	mu       sync.Mutex
	all      int64
	byPrefix map[netip.Prefix]int64
}

// take is the window, no larger than want, of one more channel from a network.
func (q *quota) take(from netip.Prefix, want uint32) (window uint32, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	window = want
	for _, b := range []struct{ most, used, shares int64 }{
		{q.mostPerPrefix, q.byPrefix[from], sharesPerPrefix}, {q.most, q.all, shares},
	} {
		if b.most < 0 {
			continue
		}
		left := b.most - b.used
		if left < leastWindow {
			return 0, core.ErrFull
		}
		window = min(window, uint32(min(max(left/b.shares, leastWindow), int64(want))))
	}
	if q.byPrefix == nil {
		q.byPrefix = map[netip.Prefix]int64{}
	}
	q.all += int64(window)
	q.byPrefix[from] += int64(window)
	return window, nil
}

// give takes a channel's window back.
func (q *quota) give(from netip.Prefix, window uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all -= int64(window)
	if q.byPrefix[from] -= int64(window); q.byPrefix[from] <= 0 {
		delete(q.byPrefix, from)
	}
}
