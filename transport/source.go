package transport

import (
	"net/netip"
	"time"
)

// SourcePrefix is whom a limit per source holds for: the /24 of an IPv4
// address, the /56 of an IPv6 address.
func SourcePrefix(a netip.Addr) netip.Prefix {
	bits := 24
	if a = a.Unmap(); a.Is6() {
		bits = 56
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// A Sampler bounds how often something that peers can cause at will is logged.
// It is not safe for concurrent use.
type Sampler struct {
	Rate, Burst float64 // events a second, and at once

	tokens   float64
	last     time.Time
	unlogged int
}

// Take reports whether this event may be logged, and how many were not since
// the last that was.
func (s *Sampler) Take(now time.Time) (ok bool, unlogged int) {
	if s.last.IsZero() {
		s.tokens = s.Burst
	} else {
		s.tokens = min(s.Burst, s.tokens+s.Rate*now.Sub(s.last).Seconds())
	}
	s.last = now
	if s.tokens < 1 {
		s.unlogged++
		return false, 0
	}
	s.tokens--
	unlogged, s.unlogged = s.unlogged, 0
	return true, unlogged
}
